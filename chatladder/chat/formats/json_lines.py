"""The objects of a file that has one on each line."""

import json
from collections.abc import Iterator
from typing import Any

from chatladder.chat.source import Source
from chatladder.io.console import DataError


def json_lines(source: Source, comment: str | None = None) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Yield (line, object) of each line, None for a blank one.

    Args:
        source: The file.
        comment: The sign that starts a comment, which counts as a blank line.

    Raises:
        DataError: If a line is not an object, or the text is not UTF-8.
    """
    for number, data in source.lines():
        text = source.decode(data, number).strip()
        if not text or (comment and text.startswith(comment)):
            yield number, None
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            what = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
            message = f"{source.where(number)}: expected one whole JSON object on the line: {what}."
            raise DataError(message) from error
        if not isinstance(row, dict):
            raise DataError(f"{source.where(number)}: expected a JSON object, got {type(row).__name__}.")
        yield number, row
