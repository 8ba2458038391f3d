"""The rows of a CSV file of any size, one at a time, each with the number of its first line."""

import csv
from collections.abc import Iterator, Sequence

from chatladder.chat.source import LONGEST_LINE, Source
from chatladder.io.console import DataError


def csv_rows(source: Source, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Yield (line, cells) of each row, the header first; the cells of a blank row are empty.

    Raises:
        DataError: If it is not CSV, a row is longer than 4 MiB, or the text is not UTF-8.
    """
    start = 1
    lines = _Lines(source)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            yield start, cells
            start = reader.line_num + 1  # a quoted cell may span lines
            lines.gathered = 0
    except csv.Error as error:
        raise DataError(f"{source.where(start)}: expected CSV: {error}.") from error


def named_rows(source: Source, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str] | None]]:
    """Yield (line, cells by their column) of each row after the header, None for a blank row.

    Args:
        source: The file.
        needed: The columns that the header must have.

    Raises:
        DataError: As for ``csv_rows``, or if a column is missing, or a row has another number of cells than the header.
    """
    names: list[str] = []
    for line, cells in csv_rows(source):
        if not names:
            names = [cell.strip() for cell in cells]
            if missing := [name for name in needed if name not in names]:
                raise DataError(
                    f"{source.where(line)}: expected the columns {', '.join(needed)}; missing {', '.join(missing)}. "
                    "Is it another export?"
                )
        elif not any(cells):  # Excel writes empty rows as delimiters
            yield line, None
        else:
            check_width(cells, names, source.where(line))
            yield line, dict(zip(names, cells, strict=True))


def check_width(cells: list[str], names: list[str], where: str) -> None:
    """Refuse a row that has another number of cells than the header.

    Raises:
        DataError: With the line.
    """
    if len(cells) != len(names):
        raise DataError(
            f"{where}: expected {len(names)} cells, got {len(cells)}. Put cells that hold the delimiter in quotes."
        )


def header_cells(line: str, delimiter: str = ",") -> list[str]:
    """Return the names in the first line of a table; none if it is not CSV."""
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


def has_columns(head: bytes, *wanted: str) -> bool:
    """Return True if the first line of a file is the header of a comma-separated table with all of these columns."""
    line = head.lstrip().partition(b"\n")[0].decode("utf-8", "replace")
    return set(wanted) <= set(header_cells(line))


class _Lines:
    """Lines for a CSV reader, which gathers them until a row is complete; in a damaged file it may never be."""

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
