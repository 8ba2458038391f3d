"""The rows of a CSV file of any size, one at a time, each with the line that it starts on."""

import csv
from collections.abc import Callable, Iterator

from chatladder.chat.source import LONGEST_LINE, Source
from chatladder.io.console import DataError


def csv_rows(
    source: Source, delimiter: str, check: Callable[[list[str], str], None]
) -> Iterator[tuple[int, dict[str, str] | None]]:
    """Yield (line, cells by the header's names); None for a row of nothing but delimiters, as Excel writes them.

    Args:
        source: The file; its first row is the header.
        delimiter: One character.
        check: Refuses a header, given its names and its place.

    Raises:
        DataError: If a row is damaged, longer than 4 MiB, or has not the header's number of cells.
    """
    names: list[str] = []
    start = 1
    lines = _Lines(source)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if not names:
                names = [cell.strip() for cell in cells]
                check(names, source.where(start))
            elif not any(cells):
                yield start, None
            elif len(cells) != len(names):
                raise DataError(
                    f"{source.where(start)}: expected {len(names)} cells, got {len(cells)}. "
                    "Put cells that hold the delimiter in quotes."
                )
            else:
                yield start, dict(zip(names, cells, strict=True))
            start = reader.line_num + 1  # a quoted cell may span lines
            lines.gathered = 0
    except csv.Error as error:
        raise DataError(f"{source.where(start)}: expected CSV: {error}.") from error


def header_cells(head: bytes, delimiter: str = ",") -> list[str]:
    """The names in the first line of a file; empty if it is no CSV."""
    line = head.partition(b"\n")[0].decode("utf-8", "replace")
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


class _Lines:
    """Lines for a reader that gathers them until a row is whole, which may be never."""

    def __init__(self, source: Source) -> None:
        self.gathered = 0  # bytes since the last row
        self._source = source
        self._lines = source.lines()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        number, data = next(self._lines)
        where = self._source.where(number)
        if b"\0" in data:
            raise DataError(f"{where}: expected text, got a byte that is zero. Is this UTF-16, or no CSV?")
        self.gathered += len(data)
        if self.gathered > LONGEST_LINE:
            raise DataError(
                f"{where}: expected rows of at most {LONGEST_LINE // 2**20} MiB, got a longer one. Close its quotes."
            )
        return self._source.decode(data, number)
