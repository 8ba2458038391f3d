"""Exports without a member: text files are written again without their records, and with <name> for their name.

A record is what lies between the lines at which two records start. What is written is read again first: the messages
of the others must be the same, in everything but their texts. Where a record has no lines of its own, or reading it
again tells something else, the file is left as it is and named.
"""

import gzip
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import nullcontext
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

from chatladder.chat.formats import Format, find_format, irc, qq, table, wechat, whatsapp
from chatladder.chat.message import Context, Message, Skipped
from chatladder.chat.source import BYTE_ORDER_MARK, COMPRESSIONS, Source
from chatladder.cli.forget.members import Exports
from chatladder.io.console import DataError
from chatladder.io.files import whole_file
from chatladder.privacy.pseudonyms import Pseudonyms
from chatladder.privacy.replacing import PLACEHOLDER, Replacer

#: Formats whose records are lines.
LINES: tuple[Format, ...] = (irc, qq, table, wechat, whatsapp)
#: What stands between a sender and the text, for formats that have both on a line.
_LEAD = re.compile(r"[\s>\]:)\t\"',;|]*")


class UnsafeError(Exception):
    """A file that cannot be rewritten without another meaning."""


def remove_member(exports: Exports, people: Collection[str], pseudonyms: Pseudonyms) -> tuple[list[Path], list[str]]:
    """Rewrite every export that holds records of some people, or names them.

    Args:
        exports: As they were read.
        people: Identities.
        pseudonyms: That have forgotten them.

    Returns:
        The files that were rewritten, and what is left to be done by hand, a line a file.
    """
    own_names = {name for person in people for name in exports.aliases.get(person, ())}
    clean = _Cleaner(exports.names(pseudonyms).replacer(only=people), own_names)
    context = exports.context(lambda *_: None, pseudonyms)
    done: list[Path] = []
    left: dict[str, None] = {}
    for source, format_ in exports.files:
        if clean.names_in(re.sub("[/_]", " ", source.name)):
            left[f"{source}: its name tells theirs. Rename it, or delete it"] = None
        try:
            if source.archive is None and format_ in LINES and not source.head().startswith(table.PARQUET):
                if _rewrite(source, format_, context, people, clean, exports.options.format):
                    done.append(source.path)
            elif _tells(source, format_, exports, people, clean):
                raise UnsafeError("it tells of them, and cannot be rewritten in this format")
        except UnsafeError as error:
            left[f"{source.path}: {error}. Export it again without them, or delete it"] = None
    return done, list(left)


class _Cleaner:
    """Takes names of people out of records."""

    def __init__(self, replace: Replacer, names: Collection[str]) -> None:
        self._replace = replace
        self._names = frozenset(names)

    def names_in(self, text: str) -> bool:
        return self.text(text, "") != text

    def text(self, text: str, sender: str) -> str:
        """A text with ``<name>`` for names, but where its sender is written."""
        if text in self._names and text != sender:
            return PLACEHOLDER
        # WeChat writes whose message another one quotes, and its text.
        before, mark, quoted = text.partition("<refermsg>")
        if mark and any(name in quoted for name in self._names):
            start, content, rest = quoted.partition("<content>")
            text = before + mark + start + content + "".join(rest.partition("</content>")[1:])
        pieces = re.split(rf"((?<!\w){re.escape(sender)}(?!\w))", text, flags=re.IGNORECASE) if sender else [text]
        return "".join(piece if number % 2 else self._piece(piece) for number, piece in enumerate(pieces))

    def _piece(self, piece: str) -> str:
        lead = _LEAD.match(piece)
        start = lead.end() if lead else 0
        return piece[:start] + self._replace(piece[start:], Counter())

    def record(self, record: bytes, sender: str, is_json: bool) -> bytes:
        """The bytes of somebody's record without the names; the same bytes where there are none."""
        text = record.decode("utf-8", "surrogateescape")
        if not is_json or not text.lstrip().startswith("{"):
            return self.text(text, sender).encode("utf-8", "surrogateescape")
        try:
            row = json.loads(text)
            cleaned = _mapped(row, lambda value: self.text(value, sender))
        except RecursionError as error:
            raise UnsafeError("a record is nested too deep") from error
        if cleaned == row:
            return record
        indented = re.match(r"\s*\{\r?\n([ \t]+)", text)
        spaced = '": ' in text
        written = json.dumps(
            cleaned,
            ensure_ascii=text.isascii(),
            indent=indented[1] if indented else None,
            separators=None if spaced else (",", ":"),
        )
        return (written + text[len(text.rstrip()) :]).encode("utf-8", "surrogatepass")


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_mapped(each, change) for each in value]
    return {key: _mapped(each, change) for key, each in value.items()} if isinstance(value, dict) else value


def _rewrite(
    source: Source, format_: Format, context: Context, people: Collection[str], clean: _Cleaner, wanted: str
) -> bool:
    """Write one export again, if anything in it is to change.

    Raises:
        UnsafeError: If that is not possible.
    """
    mode = source.path.stat().st_mode
    with source.path.open("rb") as stored:
        magic = stored.read(6)
    changed = others = False
    try:
        with whole_file(source.path) as temporary:
            with temporary.open("wb") as bare, _packed(bare, magic) as out:
                with source.open() as opened:
                    out.write(BYTE_ORDER_MARK if opened.read(3) == BYTE_ORDER_MARK else b"")
                for record, item in _records(source, format_, context):
                    if isinstance(item, Message) and item.sender in people:
                        changed = True
                        continue
                    sender = item.sender if isinstance(item, Message) else ""
                    cleaned = clean.record(record, sender, format_ in (table, wechat))
                    changed |= cleaned != record
                    others |= isinstance(item, Message)
                    out.write(cleaned)
            if not changed:
                raise _SameError
            if others:
                _check(source, Source(temporary, source.inner), format_, context, people, wanted)
    except _SameError:
        return False
    if others:
        source.path.chmod(mode)
    else:
        source.path.unlink()  # it held nothing else
    return True


def _packed(out: IO[bytes], magic: bytes) -> Any:
    """A writer that packs a file as one is packed that starts so; closing it leaves the file open."""
    if magic.startswith(b"\x1f\x8b"):
        return gzip.GzipFile("", "wb", fileobj=out, mtime=0)
    opener = next((opener for start, _, opener in COMPRESSIONS if magic.startswith(start)), None)
    return opener(out, "wb") if opener else nullcontext(out)


class _SameError(Exception):
    """Nothing is to be changed, so nothing is written."""


def _records(source: Source, format_: Format, context: Context) -> Iterator[tuple[bytes, Message | Skipped | None]]:
    """The bytes of each record and what it is; None for what comes before the first.

    Raises:
        UnsafeError: If records do not come in the order of their lines.
    """
    items = iter(format_.parse(source, context))
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


def _tells(source: Source, format_: Format, exports: Exports, people: Collection[str], clean: _Cleaner) -> bool:
    """Whether an export has messages of some people, or names them."""
    known: set[str] = set()
    mentions = [f"@{exports.pseudonyms.person(person)}" for person in people]
    for item in format_.parse(source, exports.context(lambda identity, *_: known.add(identity))):
        if isinstance(item, Message) and (
            item.sender in people or any(each in item.text for each in mentions) or clean.names_in(item.text)
        ):
            return True
    return not known.isdisjoint(people)


def _check(old: Source, new: Source, format_: Format, context: Context, people: Collection[str], wanted: str) -> None:
    """See that all other messages are what they were.

    Raises:
        UnsafeError: If one has another group, sender, time or kind, or is gone.
    """
    try:
        same = find_format(new, wanted) is format_ and _digest(old, format_, context, people) == _digest(
            new, format_, context, people
        )
    except DataError:
        same = False
    if not same:
        raise UnsafeError("without their records it would read differently")


def _digest(source: Source, format_: Format, context: Context, people: Collection[str]) -> bytes:
    digest = blake2b()
    for item in format_.parse(source, context):
        if isinstance(item, Message) and item.sender not in people:
            digest.update(repr((item.group, item.sender, item.timestamp, item.kind, item.own_id)).encode())
    return digest.digest()
