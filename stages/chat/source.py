"""One file of an export, alone or inside a zip, read as a stream of lines; gzip, bzip2 and xz are opened on the way.

Nothing is ever unpacked to disk, and nothing is held but one line: a line longer than 16 MiB, and data that
unpacks to more than 250 times its size, are refused.
"""

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, cast

from stages.cli import DataError, printable

#: First bytes of a compressed file, its usual suffix, and what opens it.
COMPRESSIONS: tuple[tuple[bytes, str, Any], ...] = (
    (b"\x1f\x8b", ".gz", gzip.open),
    (b"BZh", ".bz2", bz2.open),
    (b"\xfd7zXZ\x00", ".xz", lzma.open),
)
HEAD_BYTES = 65_536
LONGEST_LINE = 16 * 2**20
#: Text compresses to a hundredth at best; zeros to a thousandth and far less.
MOST_EXPANSION, USUAL_EXPANSION = 250, 10
#: Up to here nothing is checked: small files may well be all alike.
FREE_BYTES = 64 * 2**20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
#: What a damaged compressed file raises, of every kind that is read here.
UNREADABLE = (EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError, RuntimeError)


class Archive(NamedTuple):
    """An open zip and the names of what lies in it."""

    path: Path
    file: zipfile.ZipFile
    members: frozenset[str]


class Source:
    """A file that can be read from its start more than once, and that names its lines in errors."""

    def __init__(self, path: Path, name: str | None = None, archive: Archive | None = None) -> None:
        """Take a file on disk, or the member ``name`` of an archive.

        Args:
            path: The file, or the archive that it lies in.
            name: Its path below the folder of exports, or inside the archive, with slashes.
            archive: The archive.
        """
        self.path = path
        self.archive = archive
        inner = PurePosixPath(name or path.name)
        #: The path below the folder of exports, an archive's own name among its parts.
        self.name = printable(str(inner) if archive is None else f"{path.name}/{inner}")
        self._inner = inner
        suffixes = tuple(suffix for _, suffix, _ in COMPRESSIONS)
        #: The file's name without folders and without a compression suffix.
        self.plain_name = inner.stem if inner.name.lower().endswith(suffixes) else inner.name
        #: Name of the folder that the file lies in; empty at the top.
        self.folder = inner.parent.name
        self._place = str(path) if archive is None else f"{path}/{printable(str(inner))}"

    def __str__(self) -> str:
        return self._place

    @property
    def inner(self) -> str:
        """The path below the folder of exports, or inside the archive."""
        return str(self._inner)

    @property
    def size(self) -> int:
        """About how many bytes the file holds; where it is compressed, ten times those that it takes."""
        packed = self._inner.name.lower().endswith(tuple(suffix for _, suffix, _ in COMPRESSIONS))
        member = self.archive and self.archive.file.getinfo(self.inner)
        stored = member.file_size if member else self.path.stat().st_size
        return stored * USUAL_EXPANSION if packed else stored

    def where(self, line: int) -> str:
        """The place as ``file:line``."""
        return f"{self._place}:{line}"

    def beside(self, relative: str) -> "Source | None":
        """Another file of the same export, by its path from this one's folder; None if there is none."""
        parts: list[str] = list(self._inner.parent.parts)
        for part in PurePosixPath(relative).parts:
            if part != "..":
                parts.append(part)
            elif parts:
                parts.pop()
            else:
                return None  # never above the folder of exports
        inner = "/".join(parts)
        if self.archive is not None:
            return Source(self.path, inner, self.archive) if inner in self.archive.members else None
        root = self.path
        for _ in self._inner.parts:
            root = root.parent
        path = root / inner
        return Source(path, inner) if path.is_file() and not path.is_symlink() else None

    def head(self) -> bytes:
        """The first 64 kB, decompressed, without a byte order mark.

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
            DataError: If a line is longer than 16 MiB, or the compressed file is damaged or ends too early.
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

    def decode(self, data: bytes, line: int) -> str:
        """Bytes that start at ``line`` as text.

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
        """The file's bytes, decompressed; reading them raises DataError where they unpack beyond all measure."""
        stream, packed = self._packed()
        magic = stream.peek(6)[:6] if isinstance(stream, io.BufferedReader) else b""
        for start, _, opener in COMPRESSIONS:
            if magic.startswith(start):
                # The buffer makes lines fast: gzip and xz files yield them through Python otherwise.
                opened = opener(stream, "rb")
                return io.BufferedReader(_Bounded(opened, packed, str(self), stream), HEAD_BYTES)
        if self.archive is not None:
            return io.BufferedReader(_Bounded(stream, packed, str(self)), HEAD_BYTES)
        return stream

    def _packed(self) -> tuple[IO[bytes], int]:
        """The file's bytes as they are stored, and how many those are."""
        if self.archive is None:
            return self.path.open("rb"), self.path.stat().st_size
        info = self.archive.file.getinfo(self.inner)
        member = cast("io.RawIOBase", self.archive.file.open(info))
        return io.BufferedReader(member, HEAD_BYTES), info.compress_size


class _Bounded(io.RawIOBase):
    """Reads on from a decompressor until it has given far more than it was given."""

    def __init__(self, stream: Any, packed: int, place: str, beneath: IO[bytes] | None = None) -> None:
        self._stream = stream
        self._beneath = beneath  # what the decompressor reads, and does not close
        self._left = max(FREE_BYTES, packed * MOST_EXPANSION)
        self._place = place

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise DataError(
                f"{self._place}: expected text, got a file that unpacks to more than {MOST_EXPANSION} times its size. "
                "No chat does; it may be made to fill the machine. Unpack it yourself if you trust it."
            )
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        if self._beneath is not None:
            self._beneath.close()
        super().close()


def _reason(error: BaseException) -> str:
    """What a library says is wrong with a file; never a piece of the file itself."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).partition("\n")[0][:120] or type(error).__name__
