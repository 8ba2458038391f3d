"""The people in a project's exports, and the removal of a member from exports.

Text files are rewritten without the member's records, and with <name> for their name. A record extends from its first
line to the first line of the next. The new file is parsed before it replaces the export: the messages of others must be
the same, in everything but their texts. If a record has no lines of its own, or the new file parses differently, the
file is left as it is and named.
"""

import gzip
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from chatladder.chat.exports import find_exports, listed_names
from chatladder.chat.file_names import KEEP
from chatladder.chat.formats import Format, find_format, irc, qq, table, wechat, whatsapp, with_formats
from chatladder.chat.message import Context, Message, Skipped
from chatladder.chat.options import ExportOptions
from chatladder.chat.source import BYTE_ORDER_MARK, COMPRESSIONS, Source
from chatladder.io.console import DataError
from chatladder.io.files import whole_file
from chatladder.io.params import read_settings
from chatladder.privacy.folding import tidy
from chatladder.privacy.names import Names
from chatladder.privacy.pseudonyms import PLACEHOLDER, Pseudonyms

#: An export, its format, and the number of messages of each person in it.
Export = tuple[Source, Format, Counter[str]]
#: Formats whose records are lines, and those of them whose records may be JSON objects.
LINES: tuple[Format, ...] = (irc, qq, table, wechat, whatsapp)
JSON: tuple[Format, ...] = (table, wechat)
#: The characters between a sender and the text, for formats that have both on a line.
_LEAD = re.compile(r"[\s>\]:)\t\"',;|]*")
#: A JSON string, and the colon after it if it is a key.
_STRING = re.compile(r'("(?:[^"\\]|\\.)*"?)(\s*:)?', re.DOTALL)


@dataclass
class Exports:
    """The exports of a folder and everybody in them.

    Attributes:
        raw: The folder.
        context: The context to parse them with, as in ingest.
        format: Name of their format, or auto.
        met: Identities with their other names, in the order in which ingest meets them.
        files: The exports, with the senders in each.
    """

    raw: Path
    context: Context
    format: str
    met: dict[tuple[str, ...], None]
    files: list[Export] = field(default_factory=list)

    @cached_property
    def aliases(self) -> dict[str, set[str]]:
        """Identity -> its names."""
        aliases: dict[str, set[str]] = {}
        for identity, *names in self.met:
            aliases.setdefault(identity, {identity}).update(filter(None, names))
        return aliases

    def person(self, identity: str) -> str:
        """Return somebody's pseudonym, forgotten or not."""
        return self.context.pseudonyms.person(identity)

    def files_of(self, identity: str) -> list[str]:
        """Return the exports that somebody wrote in, sorted."""
        return sorted({str(source) for source, _, written in self.files if written[identity]})

    def messages_of(self, identity: str) -> int:
        """Return the number of messages that somebody wrote."""
        return sum(written[identity] for _, _, written in self.files)

    def called(self, name: str) -> list[str]:
        """Return the identities that have a name, however it is spelt, or have it as their pseudonym."""
        wanted = tidy(name)
        return [
            identity
            for identity, names in self.aliases.items()
            if self.person(identity) == name or wanted in map(tidy, names)
        ]

    def names(self, pseudonyms: Pseudonyms, deny: Iterable[str] = ()) -> Names:
        """Return the names of everybody, with further words, for finding them in texts."""
        names = Names(pseudonyms, deny, listed_names(self.raw, KEEP))
        for known in self.met:
            names.know(*known)
        return names


def read_exports(raw: Path, params: Path | None, pseudonyms: Pseudonyms, may_be_empty: bool = False) -> Exports:
    """Read all exports to find the people in them.

    Args:
        raw: The folder of the exports.
        params: The file of ingest's settings; None for its defaults.
        pseudonyms: Pseudonyms that have forgotten nobody.
        may_be_empty: True if the folder may hold none.

    Raises:
        DataError: If one cannot be read.
    """
    met: dict[tuple[str, ...], None] = {}
    options = read_settings(ExportOptions, params, "ingest") if params else ExportOptions()
    context = options.context(pseudonyms, lambda *known: met.setdefault(known))
    exports = Exports(raw, context, options.format, met)
    try:
        sources = find_exports(raw, Counter())
    except DataError:
        if not may_be_empty:
            raise
        sources = []
    bar = tqdm(sources, desc="exports", unit=" files", disable=None)
    for source, format_ in with_formats(bar, options.format, Counter()):
        written: Counter[str] = Counter()
        for item in source.counted(format_.parse(source, context)):
            if isinstance(item, Message):
                if item.sender not in written:
                    pseudonyms.person(item.sender)  # in ingest's order: of two that collide, the later one is longer
                    context.know(item.sender)
                written[item.sender] += 1
        exports.files.append((source, format_, written))
    return exports


class UnsafeError(Exception):
    """A file that cannot be rewritten without changing its meaning."""


class _SameError(Exception):
    """Nothing is to be changed, so nothing is written."""


class Removal:
    """Removes some people from exports."""

    def __init__(self, exports: Exports, people: Collection[str], hidden: Pseudonyms) -> None:
        """Take the exports as they were read, the people's identities, and pseudonyms that have forgotten them."""
        self._exports = exports
        self._people = people
        self._context = exports.context._replace(pseudonyms=hidden, know=lambda *_: None)
        self._replace = exports.names(hidden).replacer(only=people)
        self._names = {name for person in people for name in exports.aliases.get(person, ())}

    def run(self) -> tuple[list[Path], list[str]]:
        """Rewrite every export that holds records of the people, or names them.

        Returns:
            The files that were rewritten, and what is left to be done by hand, one line per file.
        """
        done: list[Path] = []
        left: dict[str, None] = {}
        for export in self._exports.files:
            source, format_, _ = export
            if self._is_named_in(re.sub("[/_]", " ", source.name)):
                left[f"{source}: its file name contains their name. Rename it, or delete it"] = None
            try:
                if source.archive is None and format_ in LINES and not source.head().startswith(table.PARQUET):
                    with suppress(_SameError):
                        self._rewrite(source, format_)
                        done.append(source.path)
                elif self._is_told_of_in(export):
                    raise UnsafeError("it mentions them, and this format cannot be rewritten")
            except UnsafeError as error:
                left[f"{source.path}: {error}. Export it again without them, or delete it"] = None
        return done, list(left)

    def _is_named_in(self, text: str) -> bool:
        return self._without(text, "") != text

    def _is_told_of_in(self, export: Export) -> bool:
        """Return True if an export has messages of the people, or names them."""
        source, format_, written = export
        known = set(written)
        mentions = [f"@{self._exports.person(person)}" for person in self._people]
        context = self._exports.context._replace(know=lambda identity, *_: known.add(identity))
        texts = (item.text for item in format_.parse(source, context) if isinstance(item, Message))
        told = any(self._is_named_in(text) or any(each in text for each in mentions) for text in texts)
        return told or not known.isdisjoint(self._people)

    def _rewrite(self, source: Source, format_: Format) -> None:
        """Rewrite one export.

        Raises:
            UnsafeError: If that is not possible.
            _SameError: If nothing in it changes.
        """
        mode = source.path.stat().st_mode
        changed = False
        others = 0
        digest = blake2b()
        with whole_file(source.path) as temporary:
            with temporary.open("wb") as bare, _packed_as(source, bare) as out:
                for record, item in self._records(source, format_):
                    if isinstance(item, Message):
                        if item.sender in self._people:
                            changed = True
                            continue
                        others += 1
                        digest.update(_facts(item))
                    sender = item.sender if isinstance(item, Message) else ""
                    cleaned = self._cleaned(record, sender, format_ in JSON)
                    changed |= cleaned != record
                    out.write(cleaned)
            if not changed:
                raise _SameError
            if others and self._digest(Source(temporary, source.inner), format_) != digest.digest():
                raise UnsafeError("without their records it would read differently")
        if others:
            source.path.chmod(mode)
        else:
            source.path.unlink()  # it held nothing else

    def _records(self, source: Source, format_: Format) -> Iterator[tuple[bytes, Message | Skipped | None]]:
        """Yield the bytes and the content of each record; None for the content before the first.

        Raises:
            UnsafeError: If records do not come in the order of their lines.
        """
        items = iter(format_.parse(source, self._context))
        item: Message | Skipped | None = None
        following = next(items, None)
        gathered: list[bytes] = []
        for number, line in source.lines():
            if following is not None and number == following.line:
                if gathered:
                    yield b"".join(gathered), item
                gathered, item, following = [], following, next(items, None)
                if following is not None and following.line <= number:
                    raise UnsafeError("several of its records start on one line")
            gathered.append(line)
        if following is not None:
            raise UnsafeError("its records do not come in the order of its lines")
        if gathered:
            yield b"".join(gathered), item

    def _digest(self, source: Source, format_: Format) -> bytes:
        """Return the digest of all messages of a file; empty if it parses as another format, or not at all."""
        digest = blake2b()
        try:
            if find_format(source, self._exports.format) is not format_:
                return b""
            for item in format_.parse(source, self._context):
                if isinstance(item, Message):
                    digest.update(_facts(item))
        except DataError:
            return b""
        return digest.digest()

    def _cleaned(self, record: bytes, sender: str, is_json: bool) -> bytes:
        """Return the bytes of somebody's record without the names; the same bytes if there are none."""
        text = record.decode("utf-8", "surrogateescape")
        if is_json and text.lstrip().startswith("{"):
            text = _STRING.sub(lambda each: each[0] if each[2] else self._cleaned_string(each[1], sender), text)
        else:
            text = self._without(text, sender)
        return text.encode("utf-8", "surrogateescape")

    def _cleaned_string(self, literal: str, sender: str) -> str:
        try:
            value = str(json.loads(literal, strict=False))
        except ValueError:
            return self._without(literal, sender)
        cleaned = self._without(value, sender)
        return literal if cleaned == value else json.dumps(cleaned, ensure_ascii="\\u" in literal or literal.isascii())

    def _without(self, text: str, sender: str) -> str:
        """Return a text with ``<name>`` for names, except for its sender's."""
        if text in self._names and text != sender:
            return PLACEHOLDER
        # WeChat stores the sender and the text of a quoted message.
        before, mark, quoted = text.partition("<refermsg>")
        if mark and any(name in quoted for name in self._names):
            start, content, rest = quoted.partition("<content>")
            text = before + mark + start + content + "".join(rest.partition("</content>")[1:])
        pieces = re.split(rf"((?<!\w){re.escape(sender)}(?!\w))", text, flags=re.IGNORECASE) if sender else [text]
        return "".join(piece if number % 2 else self._without_names(piece) for number, piece in enumerate(pieces))

    def _without_names(self, piece: str) -> str:
        lead = _LEAD.match(piece)
        start = lead.end() if lead else 0
        return piece[:start] + self._replace(piece[start:], Counter())


def _packed_as(source: Source, out: IO[bytes]) -> Any:
    """Return a writer with a source's compression and byte order mark; closing it leaves the file open."""
    with source.path.open("rb") as stored, source.open() as opened:
        magic, is_marked = stored.read(6), opened.read(3) == BYTE_ORDER_MARK
    opener = next((opener for start, _, opener in COMPRESSIONS if magic.startswith(start)), None)
    if opener is gzip.open:
        writer: Any = gzip.GzipFile("", "wb", fileobj=out, mtime=0)
    else:
        writer = opener(out, "wb") if opener else nullcontext(out)
    (writer if opener else out).write(BYTE_ORDER_MARK if is_marked else b"")
    return writer


def _facts(message: Message) -> bytes:
    """Return the fields of a message that must stay the same."""
    return repr((message.group, message.sender, message.timestamp, message.kind, message.own_id)).encode()
