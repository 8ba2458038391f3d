"""Read the alpaca rows that models are trained on."""

from pathlib import Path
from typing import Any

from chatladder.io.console import DataError
from chatladder.io.files import read_json

#: Fields of an alpaca row of ours; ``options`` holds the full text of each answer.
FIELDS = ("item_id", "instruction", "output", "options")


def read_alpaca(path: Path) -> list[dict[str, Any]]:
    """Rows that ``stages.to_alpaca`` wrote.

    Raises:
        DataError: If the file is no list of such rows.
    """
    rows = read_json(path)
    if not isinstance(rows, list):
        raise DataError(f"{path}: expected a list of alpaca rows, got {type(rows).__name__}.")
    for number, row in enumerate(rows, start=1):
        missing = [name for name in FIELDS if not isinstance(row, dict) or name not in row]
        if missing:
            raise DataError(f"{path}: row {number}: expected {', '.join(FIELDS)}; missing {', '.join(missing)}.")
        if row["output"] not in row["options"].values():
            raise DataError(f"{path}: row {number}: expected the output to be one of the row's options.")
    return rows
