"""The text turns of a file as judges read them: a part at a time, as often as they like."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chatladder.io.rows import Rows


class TextTurns:
    """Turns of kind text, in the order of the chat; nothing but the current part is held."""

    def __init__(self, rows: Rows) -> None:
        """Take the file of ``TURNS`` and count its text turns."""
        self._rows = rows
        #: Text turns in each part of the file.
        self._counts = [int(pc.sum(is_text(part)).as_py() or 0) for part in rows.parts(["kind"])]
        self.num_rows = sum(self._counts)

    def ids(self) -> Iterator[pa.ChunkedArray]:
        """Turn ids, part by part."""
        for part in self._rows.parts(["turn_id", "kind"]):
            yield part.filter(is_text(part))["turn_id"]

    def texts(self) -> Iterator[list[str]]:
        """Texts, part by part."""
        for part in self._rows.parts(["text", "kind"]):
            yield part.filter(is_text(part))["text"].to_pylist()

    def map(self, function: Callable[..., Any], *shared: Any) -> Iterator[Any]:
        """``function(texts, start, *shared)`` of each part, in order; ``start`` text turns come before it.

        The function is pure and of a module, so that it can run anywhere (``chatladder.judges.spread``).
        """
        start = 0
        for texts in self.texts():
            yield function(texts, start, *shared)
            start += len(texts)

    def take(self, positions: np.ndarray) -> list[str]:
        """The texts at some positions, which ascend; shape ``(n,)``."""
        taken: list[str] = []
        start = 0
        for part in self._rows.parts(["text", "kind"]):
            texts = part.filter(is_text(part))["text"]
            inside = positions[(positions >= start) & (positions < start + len(texts))]
            taken += texts.take(pa.array(inside - start)).to_pylist()
            start += len(texts)
        return taken


def is_text(part: pa.Table) -> pa.ChunkedArray:
    """Whether each turn is of kind text."""
    return pc.equal(part["kind"], "text")
