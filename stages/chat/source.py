"""One file of an export, read as a stream of lines; gzip, bzip2 and xz are opened on the way."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from stages.cli import DataError

#: First bytes of a compressed file, its usual suffix, and what opens it.
COMPRESSIONS: tuple[tuple[bytes, str, Any], ...] = (
    (b"\x1f\x8b", ".gz", gzip.open),
    (b"BZh", ".bz2", bz2.open),
    (b"\xfd7zXZ\x00", ".xz", lzma.open),
)
HEAD_BYTES = 65_536
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class Source:
    """A file that can be read from its start more than once, and that names its lines in errors."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        suffixes = tuple(suffix for _, suffix, _ in COMPRESSIONS)
        #: The name without a compression suffix.
        self.plain_name = path.stem if path.name.lower().endswith(suffixes) else path.name

    def where(self, line: int) -> str:
        """The place as ``file:line``."""
        return f"{self.path}:{line}"

    def head(self) -> bytes:
        """The first 64 kB, decompressed, without a byte order mark.

        Raises:
            DataError: If the compressed file is damaged, or the text is UTF-16.
        """
        try:
            with self._open() as stream:
                head = stream.read(HEAD_BYTES)
        except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            raise DataError(f"{self.path}: cannot be read: {error}.") from error
        if head.startswith(UTF_16_MARKS):
            raise DataError(f"{self.where(1)}: expected UTF-8, got UTF-16. Convert it: iconv -f UTF-16 -t UTF-8")
        return head.removeprefix(BYTE_ORDER_MARK)

    def lines(self) -> Iterator[tuple[int, bytes]]:
        r"""Yield (line number from 1, bytes with their line end); only ``\n`` ends a line.

        Raises:
            DataError: If the compressed file is damaged or ends too early.
        """
        number = 0
        try:
            with self._open() as stream:
                for line in stream:
                    number += 1
                    yield number, line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line
        except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            message = f"{self.where(number + 1)}: expected a whole file, but reading stopped here: {error}."
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

    def _open(self) -> IO[bytes]:
        with self.path.open("rb") as file:
            magic = file.read(6)
        for start, _, opener in COMPRESSIONS:
            if magic.startswith(start):
                # The buffer makes lines fast: gzip and xz files yield them through Python otherwise.
                return cast("IO[bytes]", io.BufferedReader(opener(self.path, "rb"), HEAD_BYTES))
        return self.path.open("rb")
