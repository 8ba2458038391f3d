"""The exports in a folder: files, nested folders and zips, each as a Source; media and similar files are skipped.

Exports come from other people. Links are not followed, except DVC's own, whose target lies in a DVC cache. A zip is
read in place and never unpacked. A zip is refused if it has a member whose path leads outside, a link or an encrypted
member, or too many members.

Apps put the files that people sent next to the messages: notes, tables, zips, anything. Such attachments are
recognised by their location and name:

=========================================  ============================================================
WhatsApp's own zip                         everything next to its one chat
next to ``_chat.txt`` or a WhatsApp chat   ``00000012-notes.txt``, ``DOC-20240101-WA0001.csv``
next to Telegram's ``result.json``         everything in ``files/``, ``chats/chat_001/`` and the like
``<export>.json_Files/``                   everything: DiscordChatExporter's downloads
``resources/``, ``media/``                 ``files/notes.txt``, ``images/`` and the like: qq-chat-exporter's, WeFlow's
next to signal-export's ``data.json``      everything in ``media/``
next to Google Chat's ``messages.json``    ``File-notes.txt``
next to Zulip's ``realm.json``             everything in ``uploads/`` and the like
=========================================  ============================================================

An attachment that looks like an export is read all the same: people put exports of several chats into one folder.
"""

import re
import stat
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath, PurePosixPath
from typing import TypeVar

from chatladder.chat.file_names import DENY, FORGOTTEN, KEEP, MEDIA, is_note
from chatladder.chat.formats import FORMATS
from chatladder.chat.source import UNREADABLE, Archive, Budget, Source
from chatladder.io.console import DataError
from chatladder.privacy.names import Names
from chatladder.privacy.pseudonyms import Pseudonyms

Name = TypeVar("Name", bound=PurePath)

MOST_MEMBERS = 200_000
#: No system allows a longer path. The limit bounds the regular expressions, which are slow on 60,000 blanks.
LONGEST_PATH = 4_096
ZIP_MARKS = (b"PK\x03\x04", b"PK\x05\x06")


def find_exports(folder: Path, counts: Counter[str]) -> list[Source]:
    """Return every file below a folder that may hold messages, in the order of their paths.

    Hidden files, README.md, ``*.dvc``, ``*.deny``, ``*.keep`` and ``*.forgotten`` are not exports; media are counted as
    ``files_passed_over``.

    Raises:
        DataError: If no file is found, or one is refused.
    """
    sources = list(_find(folder, counts))
    if not sources:
        passed = counts["files_passed_over"]
        what = (
            f"only {passed} files of kinds that are passed over (media, documents, web pages, databases)"
            if passed
            else "none"
        )
        raise DataError(
            f"{folder}: expected at least one chat export, got {what}. Put one there; what an app saved as web pages "
            "or as a database, export again as JSON, CSV or text."
        )
    return sources


def listed_names(folder: Path, suffix: str) -> list[str]:
    """Return the names in all lists of one kind in a folder of exports: one name a line, # starts a comment.

    Raises:
        DataError: If a list is not UTF-8.
    """
    paths = sorted(path for path in folder.rglob(f"*{suffix}") if path.is_file())
    return [name for path in paths for name in read_names(path)]


def listed(folder: Path | None, pseudonyms: Pseudonyms) -> Names:
    """Return ``Names`` without people, with the folder's lists of names to remove from every text and to keep."""
    deny, keep = (listed_names(folder, suffix) if folder else [] for suffix in (DENY, KEEP))
    return Names(pseudonyms, deny, keep)


def read_names(path: Path) -> list[str]:
    """Return names and phrases, one a line; # starts a comment.

    Raises:
        DataError: If the file is not UTF-8.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8, got byte 0x{error.object[error.start]:02x}.") from error
    return [name for line in lines if (name := line.partition("#")[0].strip())]


def forgotten_marks(folder: Path, pseudonyms: Pseudonyms) -> set[str]:
    """Return the marks of forgotten members from the lists in a folder: a line has the key's checksum and a mark.

    Raises:
        DataError: If a list was made with another key, so that its marks identify nobody.
    """
    lines = listed_names(folder, FORGOTTEN)
    if any(line.partition(" ")[0] != pseudonyms.check for line in lines):
        raise DataError(
            f"{folder}/*{FORGOTTEN}: expected lists of the key that is in use, got one of another: who is forgotten "
            "would come back. Bring the old key back, or remove the lists and run chatladder forget again."
        )
    return {line.partition(" ")[2] for line in lines}


def _find(folder: Path, counts: Counter[str]) -> Iterator[Source]:
    budget = Budget()
    files = {path.relative_to(folder): path for path in _files(folder)}
    sources = {name: Source(path, name.as_posix(), budget=budget) for name, path in files.items()}
    for source in _without_attachments(sources, counts):
        if not _is_zip(source.path):
            yield source
            continue
        archive = open_archive(source.path)
        inside = {PurePosixPath(name): Source(source.path, name, archive, budget) for name in archive.members}
        for member in _without_attachments(inside, counts, source.path.name):
            if member.head()[:4] in ZIP_MARKS:
                raise DataError(f"{member}: expected a chat export, got a zip inside a zip. Unpack the outer one.")
            yield member


def _without_attachments(sources: Mapping[Name, Source], counts: Counter[str], zip_name: str = "") -> Iterator[Source]:
    """Yield the files of a folder or a zip that may hold messages, by name."""
    places = attachments(list(sources), zip_name)
    for name in sorted(sources, key=lambda name: name.parts):
        if MEDIA.fullmatch(name.suffix) or (name in places and not looks_like_export(sources[name])):
            counts["files_passed_over"] += 1
        else:
            yield sources[name]


def _files(folder: Path) -> Iterator[Path]:
    """Yield regular files that are neither hidden nor notes.

    Raises:
        DataError: If a path is a link that DVC did not make, or not a regular file.
    """
    for path in folder.iterdir():
        if is_note(path.name):
            continue
        if path.is_symlink() and not _made_by_dvc(path):
            raise DataError(f"{path}: expected a file, got a link. Links are not followed; copy the export here.")
        if path.is_dir():
            yield from _files(path)
        elif path.is_file():
            yield path
        else:
            raise DataError(f"{path}: expected a file, got something else. Move it out of the folder.")


def _made_by_dvc(path: Path) -> bool:
    """Return True if a link leads into a DVC cache, as links do with cache.type symlink."""
    target = path.resolve()
    return "/files/md5/" in target.as_posix() and target.exists()


def _is_zip(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) in ZIP_MARKS
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error


def open_archive(path: Path) -> Archive:
    """Open a zip and list its files that may hold messages; it stays open as long as its sources exist.

    Raises:
        DataError: If the zip cannot be read, or has members that no exporter writes.
    """
    try:
        file = zipfile.ZipFile(path)
        infos = file.infolist()
    except UNREADABLE as error:
        raise DataError(f"{path}: expected a whole zip; it cannot be read. Export or download it again.") from error
    if len(infos) > MOST_MEMBERS:
        raise DataError(f"{path}: expected at most {MOST_MEMBERS:,} files in a zip, got {len(infos):,}.")
    if sum(info.compress_size for info in infos) > path.stat().st_size:
        raise DataError(f"{path}: expected files that lie apart in the zip, got some over others. Do not trust it.")
    seen: set[str] = set()
    kept = []
    for info in infos:
        _check_member(path, info, seen)
        parts = PurePosixPath(info.filename).parts
        if not info.is_dir() and not any(is_note(part) for part in parts):
            kept.append(str(PurePosixPath(info.filename)))
    return Archive(path, file, frozenset(kept))


def _check_member(path: Path, info: zipfile.ZipInfo, seen: set[str]) -> None:
    """Refuse a member that no exporter writes.

    Raises:
        DataError: If the name leads out of the zip or occurs twice, or the member is a link, a device or encrypted.
    """
    name = info.filename
    place = f"{path}/{name[:100]}"
    parts = name.rstrip("/").split("/")
    leads_out = "\\" in name or ":" in parts[0] or not {"", ".", ".."}.isdisjoint(parts)
    mode = stat.S_IFMT(info.external_attr >> 16)
    refused = {
        "a name inside the zip, got one that leads out of it": leads_out,
        f"a name of at most {LONGEST_PATH:,} characters, got {len(name):,}": len(name) > LONGEST_PATH,
        "each file once in a zip, got it twice": name in seen,
        "files in the zip, got a link or a device": mode not in (0, stat.S_IFREG, stat.S_IFDIR),
    }
    for expected, is_so in refused.items():
        if is_so:
            raise DataError(f"{place}: expected {expected}. Do not trust this zip.")
    if info.flag_bits & 1:
        raise DataError(f"{place}: expected an open zip, got an encrypted file. Unpack it with its password first.")
    seen.add(name)


WHATSAPP_CHAT = re.compile(r"(?:_chat|.*whatsapp.*)\.txt", re.IGNORECASE)
WHATSAPP_FILE = re.compile(r"\d{8}-.+|(?:IMG|VID|AUD|PTT|STK|DOC)-\d{8}-WA\d{4,}\..+", re.IGNORECASE)
IOS_CHAT = "_chat.txt"
TELEGRAM_CHAT = "result.json"
TELEGRAM_FILE = re.compile(
    r"(?:chats/chat_\d+|files|images|photos|profile_pictures|round_video_messages|stickers|stories|video_files"
    r"|voice_messages)/.+"
)
SAVED_FOLDER = re.compile(r"(?:.*/)?(?:resources|media)/(?:[^/]+/){0,2}(?:files|images|videos|voices|audios|emojis)/.+")
SIGNAL_CHAT, SIGNAL_FOLDER = "data.json", "media"
GOOGLE_CHAT, GOOGLE_FILE = "messages.json", "File-"
ZULIP_CHAT, ZULIP_FOLDERS = "realm.json", ("uploads", "avatars", "emoji", "realm_icons")
DISCORD_FOLDER = re.compile(r".+\.(?:json|html|csv|txt)_Files")


def attachments(names: Sequence[PurePath], zip_name: str = "") -> set[PurePath]:
    """Return the files of a folder or a zip that lie where apps put attachments.

    Args:
        names: Paths below the folder or in the zip.
        zip_name: The name of the zip itself.
    """
    chats = [name for name in names if WHATSAPP_CHAT.fullmatch(name.name)]
    beside_chats = {name.parent for name in chats}
    app_made_it = len(chats) == 1 and (chats[0].name == IOS_CHAT or "whatsapp" in zip_name.lower())
    telegram, signal, google, zulip = (
        {name.parent for name in names if name.name == chat}
        for chat in (TELEGRAM_CHAT, SIGNAL_CHAT, GOOGLE_CHAT, ZULIP_CHAT)
    )
    return {
        name
        for name in names
        if (
            name.parent in beside_chats
            and not WHATSAPP_CHAT.fullmatch(name.name)
            and (WHATSAPP_FILE.fullmatch(name.name) or (zip_name and app_made_it))
        )
        or any(
            outer in telegram and TELEGRAM_FILE.fullmatch(name.relative_to(outer).as_posix()) for outer in name.parents
        )
        or SAVED_FOLDER.fullmatch(name.as_posix())
        or any(DISCORD_FOLDER.fullmatch(part) for part in name.parts[:-1])
        or (name.parent.name == SIGNAL_FOLDER and name.parent.parent in signal)
        or (name.name.startswith(GOOGLE_FILE) and name.parent in google)
        or any(outer.parent in zulip and outer.name in ZULIP_FOLDERS for outer in name.parents)
    }


def looks_like_export(source: Source) -> bool:
    """Return True if the start of a file matches one of the formats."""
    try:
        head = source.head()
    except DataError:  # another encoding, or damaged, as an attachment may be
        return False
    return any(each.detects(source.plain_name, head) for each in FORMATS)
