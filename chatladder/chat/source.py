"""One file of an export, alone or inside a zip, read as a stream of lines; gzip, bzip2 and xz are decompressed.

Nothing is ever unpacked to disk, and only one line, of at most 4 MiB, is in memory. ``LIMITS`` says how many bytes,
lines and records a packed file may unpack to for each of its own bytes. A folder has one ``Budget`` for what its files
unpack beyond that. So the size of a folder bounds the work that it causes, without a timeout. An unpacked file has at
most one line or record for each of its bytes, and never comes near a limit.
"""

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, TypeVar, cast

from chatladder.io.console import DataError, printable

#: The first bytes of a compressed file, its usual suffix, and the function that opens it.
COMPRESSIONS: tuple[tuple[bytes, str, Any], ...] = (
    (b"\x1f\x8b", ".gz", gzip.open),
    (b"BZh", ".bz2", bz2.open),
    (b"\xfd7zXZ\x00", ".xz", lzma.open),
)
HEAD_BYTES = 65_536
#: Longer than any message; a line decoded as JSON takes up to thirty times its size.
LONGEST_LINE = 4 * 2**20
#: The usual compression ratio of chats.
USUAL_EXPANSION = 10
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
#: The errors of damaged compressed files, of every kind read here; MemoryError: a file may demand a 4 GiB window.
UNREADABLE = (
    EOFError,
    OSError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    MemoryError,
)


Item = TypeVar("Item")


class Limit(NamedTuple):
    """The most that packed files may hold of one unit."""

    per_byte: int  # for each byte of a file's own size
    free: int  # beyond that, shared by all files of a folder, because small files may well repeat themselves
    unit: str


#: Chats unpack to 3 to 30 times their size, those of a bot that repeats itself every second to 130 times, and zeros to
#: 1,000 times and far more. For each byte, chats have a tenth of a message and one line, such a bot 3 of each.
LIMITS: Mapping[str, Limit] = {
    "bytes": Limit(250, 16 * 2**20, "bytes"),
    "lines": Limit(8, 2**19, "lines or values"),
    "records": Limit(4, 100_000, "messages"),
}


class BudgetError(DataError):
    """Raised if packed files hold more than their sizes allow."""


class Budget:
    """The amounts by which the packed files of a folder exceed what each may hold for its size.

    Attributes:
        drawn: The excess by the file's path and the kind of limit; a file that is read several times counts once.
    """

    def __init__(self) -> None:
        self.drawn: dict[tuple[str, str], int] = {}
        self._totals: Counter[str] = Counter()

    def draw(self, place: str, kind: str, amount: int) -> None:
        """Record how far a file exceeds what it may hold of one kind for its size.

        Raises:
            BudgetError: If that exceeds the folder's budget.
        """
        if not self.take({(place, kind): amount}):
            limit = LIMITS[kind]
            raise BudgetError(
                f"{place}: expected a chat, got a file that unpacks to more than {limit.per_byte} {limit.unit} for "
                f"each of its bytes; what the files of a folder may hold beyond that, {limit.free:,} together, is used "
                "up. It may be made to fill the machine. If you trust it, put what it unpacks to in its place (of "
                "parquet, JSON lines): unpacked files have no such limit."
            )

    def take(self, drawn: Mapping[tuple[str, str], int]) -> bool:
        """Add the amounts of another budget of the folder; if that exceeds the limit, add none and return False."""
        more = {key: amount - self.drawn.get(key, 0) for key, amount in drawn.items()}
        totals = self._totals.copy()
        for (_, kind), amount in more.items():
            totals[kind] += max(amount, 0)
        if any(totals[kind] > limit.free for kind, limit in LIMITS.items()):
            return False
        self.drawn.update((key, drawn[key]) for key, amount in more.items() if amount > 0)
        self._totals = totals
        return True


class Archive(NamedTuple):
    """An open zip and the names of its members."""

    path: Path
    file: zipfile.ZipFile
    members: frozenset[str]


class Source:
    """A file that can be read from its start repeatedly, and that names its lines in errors."""

    def __init__(
        self, path: Path, name: str | None = None, archive: Archive | None = None, budget: Budget | None = None
    ) -> None:
        """Take a file on disk, or the member ``name`` of an archive.

        Args:
            path: The file, or the archive that it lies in.
            name: Its path below the folder of exports, or inside the archive, with slashes.
            archive: The archive.
            budget: The budget of the folder that the file lies in; by default a new one.
        """
        self.path = path
        self.archive = archive
        self.budget = Budget() if budget is None else budget
        inner = PurePosixPath(name or path.name)
        #: The path below the folder of exports; an archive's name is its first part.
        self.name = printable(str(inner) if archive is None else f"{path.name}/{inner}")
        self._inner = inner
        suffixes = tuple(suffix for _, suffix, _ in COMPRESSIONS)
        #: The file's name without folders and without a compression suffix.
        self.plain_name = inner.stem if inner.name.lower().endswith(suffixes) else inner.name
        #: Name of the folder that the file lies in; empty at the top.
        self.folder = inner.parent.name
        self._place = str(path) if archive is None else f"{path}/{inner}"

    def __str__(self) -> str:
        return self._place

    @property
    def inner(self) -> str:
        """The path below the folder of exports, or inside the archive."""
        return str(self._inner)

    @property
    def size(self) -> int:
        """The approximate number of bytes in the file; for a compressed file, ten times its size."""
        packed = self._inner.name.lower().endswith(tuple(suffix for _, suffix, _ in COMPRESSIONS))
        member = self.archive and self.archive.file.getinfo(self.inner)
        stored = member.file_size if member else self.path.stat().st_size
        return stored * USUAL_EXPANSION if packed else stored

    @cached_property
    def packed(self) -> int:
        """The number of bytes on the disk, or in the zip."""
        member = self.archive and self.archive.file.getinfo(self.inner)
        return member.compress_size if member else self.path.stat().st_size

    def spend(self, kind: str, amount: int) -> None:
        """Compare the amount of one kind found so far in one pass over the file with ``LIMITS``.

        Raises:
            BudgetError: If that is too much for the file's size and for its folder's budget.
        """
        beyond = amount - LIMITS[kind].per_byte * self.packed
        if beyond > 0:
            self.budget.draw(str(self), kind, beyond)

    def counted(self, records: Iterable[Item]) -> Iterator[Item]:
        """Yield the records that a format finds in the file, as long as they are not too many for its size.

        Raises:
            BudgetError: If they are too many.
        """
        most = LIMITS["records"].per_byte * self.packed
        for number, record in enumerate(records, start=1):
            if number > most:
                self.spend("records", number)
            yield record

    def where(self, line: int) -> str:
        """Return the position as ``file:line``."""
        return f"{self._place}:{line}"

    def above(self, name: str) -> "Source | None":
        """Return the file ``name`` next to this one's folder; None if it does not exist or lies outside the export."""
        if len(self._inner.parts) < 2:
            return None
        inner = str(self._inner.parent.parent / name)
        if self.archive is not None:
            return Source(self.path, inner, self.archive, self.budget) if inner in self.archive.members else None
        path = self.path.parent.parent / name
        return Source(path, inner, budget=self.budget) if path.is_file() and not path.is_symlink() else None

    def head(self) -> bytes:
        """Return the first 64 kB, decompressed, without a byte order mark.

        Raises:
            DataError: If the compressed file is damaged, or the text is UTF-16.
        """
        try:
            with self.open() as stream:
                head = stream.read(HEAD_BYTES)
        except UNREADABLE as error:
            raise DataError(f"{self}: cannot be read: {_reason(error)}.") from error
        if head.startswith(UTF_16_MARKS):
            raise DataError(f"{self.where(1)}: expected UTF-8, got UTF-16. Convert it: iconv -f UTF-16 -t UTF-8")
        return head.removeprefix(BYTE_ORDER_MARK)

    def lines(self) -> Iterator[tuple[int, bytes]]:
        r"""Yield (line number from 1, bytes with their line end); only ``\n`` ends a line.

        Raises:
            DataError: If a line is longer than 4 MiB, or the compressed file is damaged or ends too early.
        """
        number = 0
        try:
            with self.open() as stream:
                while line := stream.readline(LONGEST_LINE + 1):
                    number += 1
                    if len(line) > LONGEST_LINE:
                        raise DataError(
                            f"{self.where(number)}: expected lines of at most {LONGEST_LINE // 2**20} MiB, got a "
                            "longer one. This is no chat export; move it out of the folder."
                        )
                    yield number, line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line
        except UNREADABLE as error:
            message = f"{self.where(number + 1)}: expected a whole file, but reading stopped here: {_reason(error)}."
            raise DataError(message) from error

    def texts(self) -> Iterator[tuple[int, str]]:
        """Yield the lines as ``lines`` does, decoded and without line ends."""
        for number, data in self.lines():
            yield number, self.decode(data, number).rstrip("\r\n")

    def decode(self, data: bytes, line: int) -> str:
        """Return bytes that start at ``line`` as text.

        Raises:
            DataError: At the line of the first byte that is not UTF-8.
        """
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            line += data.count(b"\n", 0, error.start)
            raise DataError(
                f"{self.where(line)}: expected UTF-8, got byte 0x{data[error.start]:02x}. "
                "Convert the file, for example: iconv -f GB18030 -t UTF-8"
            ) from error

    def open(self) -> IO[bytes]:
        """Open the file's bytes, decompressed; reading them raises BudgetError if they unpack to too much."""
        stream = self._stored()
        magic = stream.peek(6)[:6] if isinstance(stream, io.BufferedReader) else b""
        for start, _, opener in COMPRESSIONS:
            if magic.startswith(start):
                self._check_packed_once()
                # The buffer makes lines fast: gzip and xz files yield them through Python otherwise.
                return io.BufferedReader(_Bounded(opener(stream, "rb"), self, stream), HEAD_BYTES)
        if self.archive is not None:
            return io.BufferedReader(_Bounded(stream, self), HEAD_BYTES)
        return stream

    def _stored(self) -> IO[bytes]:
        """Open the file's bytes as they are stored."""
        if self.archive is None:
            return self.path.open("rb")
        member = cast("io.RawIOBase", self.archive.file.open(self.inner))
        return io.BufferedReader(member, HEAD_BYTES)

    def _check_packed_once(self) -> None:
        """Refuse a compressed file that its zip compresses far again: it may unpack for hours and yield nothing.

        Raises:
            DataError: If the zip compresses it so.
        """
        member = self.archive and self.archive.file.getinfo(self.inner)
        if member and member.file_size > USUAL_EXPANSION * max(member.compress_size, HEAD_BYTES):
            raise DataError(
                f"{self}: expected a chat, got a compressed file that its zip holds at a small part of its size. No "
                "chat can be packed twice; it may be made to fill the machine. Unpack the zip yourself if you trust it."
            )


class _Bounded(io.RawIOBase):
    """Reads from a decompressor until it has yielded more than the file's size allows."""

    def __init__(self, stream: Any, source: Source, beneath: IO[bytes] | None = None) -> None:
        self._stream = stream
        self._source = source
        self._beneath = beneath  # the decompressor's input, which the decompressor does not close
        self._bytes = self._lines = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        self._bytes += len(data)
        self._lines += data.count(b"\n")
        self._source.spend("bytes", self._bytes)
        self._source.spend("lines", self._lines)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        if self._beneath is not None:
            self._beneath.close()
        super().close()


def _reason(error: BaseException) -> str:
    """Return a library's reason for refusing a file, without any of the file's content."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).partition("\n")[0][:120] or type(error).__name__
