r"""The records of a JSON document of any size, one at a time, each with the number of its first line.

Only a window of decoded text and one record are in memory. ``json`` decodes each record in place in the window, at the
speed of C. ijson, which streams JSON too, has no line numbers and quotes the text in its errors, so it is not used.

If an object has a name twice, the last one counts, as everywhere in Python: Telegram Desktop writes ``text`` twice in
some service messages. It also writes control characters as ``\x1f``, which is not JSON; they are read as intended.
"""

import codecs
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from chatladder.chat.source import LONGEST_LINE, UNREADABLE, Source
from chatladder.io.console import DataError

#: Bytes read at a time, at least.
CHUNK = 2**20
#: Characters of the longest record.
LONGEST_RECORD = LONGEST_LINE
#: Only a string can be longer, so an error this near to the window's end may only mean that the text goes on.
LONGEST_TOKEN = 16
#: The depth to which an unwanted value is skipped piece by piece; deeper values are decoded whole, so must not be long.
SKIP_DEPTH = 3

#: After this many fields and elements, their number is compared with the file's size again.
CHECKED = 1024

ENDS = "the file ends before it does"
SPACE = re.compile(r"[ \t\n\r]*")
ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|.)", re.DOTALL)


class Record(NamedTuple):
    """A value that a path leads to."""

    line: int  # its first line, from 1
    path: str  # the path that leads to it
    value: Any
    beside: Mapping[str, Any]  # fields of the object that holds it, or that holds its array


def records(source: Source, paths: Sequence[str], fields: Sequence[str] = ()) -> Iterator[Record]:
    """Yield the values that paths lead to, in the order of the file.

    Args:
        source: A file that holds one JSON document.
        paths: Paths such as ``messages.*`` or ``chats.list.*.messages.*``: names of fields, ``*`` for each element of
            an array. Values of another shape are skipped.
        fields: Fields for ``beside``, if they precede the array; the first must not follow it.

    Raises:
        DataError: If the file is not one whole JSON document in UTF-8, a record is longer than 4 MiB, or none of
            the paths leads to an array.
    """
    walk = _Walk(source, paths, fields)
    yield from walk.records()
    if not walk.found:
        wanted = " or ".join(f'"{path}"' for path in paths)
        raise DataError(f"{source}: expected a JSON document with {wanted}, got one without. Is it another export?")


def values(source: Source) -> Iterator[tuple[int, Any]]:
    """Yield each of the successive JSON values of a file, with the number of its first line.

    Raises:
        DataError: If a value is damaged or longer than 4 MiB, or the text is not UTF-8.
    """
    window = _Window(source)
    while window.peek():
        yield window.line(), window.value()


def elements(source: Source) -> Iterator[tuple[int, Any]]:
    """Yield each element of a file that is one array, or else as ``values``."""
    if source.head().lstrip().startswith(b"["):
        yield from ((record.line, record.value) for record in records(source, ["*"]))
    else:
        yield from values(source)


def text_of(value: Any) -> str:
    """Return a field that should be text; an empty text for anything else."""
    return value if isinstance(value, str) else ""


def id_of(value: Any) -> str | None:
    """Return an id as text: of a whole number or a text that is not empty."""
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def objects_of(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a field that should be an array of them."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def object_of(value: Any) -> dict[str, Any]:
    """Return a field that should be an object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def keys_of(head: bytes) -> set[str]:
    """Return the field names in the first bytes of a JSON document; no text can forge one: its quotes are escaped."""
    return {name.decode() for name in re.findall(rb'"([A-Za-z_]{1,40})"[ \t\r\n]{0,100}:', head)}


class _Walk:
    """One pass through a document along the paths."""

    def __init__(self, source: Source, paths: Sequence[str], fields: Sequence[str]) -> None:
        self.found = False  # True once a path has led to an array
        self._window = _Window(source)
        self._paths = {tuple(path.split(".")): path for path in paths}
        self._fields = fields

    def records(self) -> Iterator[Record]:
        yield from self._value(self._paths, {})
        if self._window.peek():
            raise self._window.damaged("something follows its end")

    def _value(self, paths: dict[tuple[str, ...], str], beside: dict[str, Any]) -> Iterator[Record]:
        """Yield the records in the value that starts here, following the rest of the paths."""
        window = self._window
        start = window.peek()
        if () in paths:
            yield Record(window.line(), paths[()], window.value(), beside)
        elif start == "[" and (rest := _after("*", paths)):
            self.found = True
            for _ in window.elements():
                yield from self._value(rest, beside)
        elif start == "{":
            fields: dict[str, Any] = {}
            walked = False
            for name in window.members():
                if rest := _after(name, paths):
                    walked = True
                    yield from self._value(rest, fields)
                elif walked and name in self._fields[:1]:
                    raise window.damaged(f'"{name}" stands after what it belongs to')
                elif name in self._fields:
                    fields[name] = window.value()
                else:
                    window.skip()
        else:
            window.skip()


def _after(name: str, paths: dict[tuple[str, ...], str]) -> dict[tuple[str, ...], str]:
    """Return the rest of the paths that start with a name."""
    return {path[1:]: whole for path, whole in paths.items() if path and path[0] == name}


class _Window:
    """The part of the text that is in memory."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._chunks = _chunks(source)
        self._scan = json.JSONDecoder(parse_constant=_refuse).raw_decode
        self._text = ""
        self._at = 0
        self._line = 1  # of the character at _counted
        self._counted = 0
        self._ended = False
        self._passed = 0  # number of fields and elements

    def line(self, position: int | None = None) -> int:
        """Return the line number of the next character, or of a later position."""
        position = self._at if position is None else position
        self._line += self._text.count("\n", self._counted, position)
        self._counted = position
        return self._line

    def peek(self) -> str:
        """Return the next character other than white space, empty at the end, without consuming it."""
        while True:
            self._at = SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]  # it also matches nothing
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self, *wanted: str) -> str:
        """Consume the next character, which must be one of ``wanted``."""
        character = self.peek()
        if character not in wanted:
            raise self.damaged(f"there is no {' or '.join(wanted)}" if character else ENDS)
        self._at += 1
        return character

    def members(self) -> Iterator[str]:
        """Yield the field names of the object that starts here; consume each value before asking for the next name."""
        for _ in self.elements("{", "}"):
            if self.peek() != '"':
                self.take('"')
            name = self.value()
            self.take(":")
            yield name

    def elements(self, opening: str = "[", closing: str = "]") -> Iterator[None]:
        """Yield one None for each element of the array that starts here; consume it before asking for the next."""
        self.take(opening)
        if self.peek() == closing:
            self.take(closing)
            return
        while True:
            self._passed += 1
            if not self._passed % CHECKED:  # they take time even if they are unwanted
                self._source.spend("lines", self._passed)
            yield
            if self.take(",", closing) == closing:
                return

    def skip(self, depth: int = SKIP_DEPTH) -> None:
        """Skip the value that starts here."""
        start = self.peek()
        if not depth or start not in ("[", "{"):
            self.value()
            return
        for _ in self.members() if start == "{" else self.elements():
            self.skip(depth - 1)

    def value(self) -> Any:
        """Consume and return the value that starts here.

        Raises:
            DataError: If it is damaged or longer than ``LONGEST_RECORD``.
        """
        self.peek()
        while True:
            try:
                value, end = self._scan(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._repair(error):
                    continue
                cut = error.msg.startswith("Unterminated") or error.pos >= len(self._text) - LONGEST_TOKEN
                if not cut or not self._longer():
                    ends = cut and (error.pos >= len(self._text) or error.msg.startswith("Unterminated"))
                    raise self.damaged(ENDS if ends else error.msg, error.pos) from None
            except (ValueError, RecursionError) as error:  # not-a-number, a number without end, brackets without end
                what = "its brackets are too deep" if isinstance(error, RecursionError) else "JSON has no such number"
                raise self.damaged(what) from None
            else:
                # 1 at the window's end may be 10, and 1e+ may be 1e+9; all other values have an explicit end.
                whole = end < len(self._text) - LONGEST_TOKEN or not isinstance(value, int | float)
                if whole or not self._longer():
                    self._check_length(end)
                    self._at = end
                    return value

    def damaged(self, what: str, position: int | None = None) -> DataError:
        """Return the error for damage at a position, or else at the next character."""
        return DataError(
            f"{self._source.where(self.line(position))}: expected whole JSON, but {what}. Remove what is damaged, or "
            "export the chat again."
        )

    def _longer(self) -> bool:
        """Read more, unless the value that starts here is too long already; return False at the end of the file."""
        self._check_length(len(self._text))
        return self._more()

    def _check_length(self, end: int) -> None:
        if end - self._at > LONGEST_RECORD:
            raise DataError(
                f"{self._source.where(self.line())}: expected records of at most {LONGEST_RECORD // 2**20} MiB, got a "
                "longer one. This is no chat export; move it out of the folder."
            )

    def _more(self) -> bool:
        """Drop the text before the next character and read on; as much again as is left, so that few reads suffice."""
        left = len(self._text) - self._at
        wanted = min(left, LONGEST_RECORD + 1 - left) or 1
        pieces: list[str] = []
        while wanted > 0 and not self._ended:
            piece = next(self._chunks, "")
            self._ended = not piece
            pieces.append(piece)
            wanted -= len(piece)
        if not any(pieces):
            return False
        self.line()
        self._text = "".join((self._text[self._at :], *pieces))
        self._at = self._counted = 0
        return True

    def _repair(self, error: json.JSONDecodeError) -> bool:
        r"""Turn every ``\x1f`` into JSON, from the position where the decoder stopped."""
        if error.msg != "Invalid \\escape" or self._text[error.pos : error.pos + 2] != "\\x":
            return False
        rest = self._text[error.pos :]
        fixed = ESCAPE.sub(lambda match: f"\\u00{match[1]}" if match[1] else match[0], rest)
        self._text = self._text[: error.pos] + fixed
        return not fixed.startswith("\\x")


def _chunks(source: Source) -> Iterator[str]:
    """Yield the text of a file, in pieces that are not empty.

    Raises:
        DataError: If the file is damaged or not UTF-8.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    line = 1
    try:
        with source.open() as stream:
            while True:
                data = stream.read(CHUNK)
                try:
                    text = decoder.decode(data, final=not data)
                except UnicodeDecodeError as error:
                    source.decode(error.object, line)  # raises an error with the line
                    raise
                line += data.count(b"\n")
                if text:
                    yield text
                if not data:
                    return
    except UNREADABLE as error:
        what = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise DataError(f"{source.where(line)}: expected a whole file, but reading stopped here: {what}.") from error


def _refuse(constant: str) -> None:
    raise ValueError(constant)
