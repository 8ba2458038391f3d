"""Text turns that workers read: each a part of the file, the very parts that one process reads.

A judge that sums up by part, as punctuation does, so comes to the same bits.
"""

from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from chatladder.distributed import Workers
from chatladder.distributed.ranges import Range, RowRange, cut_evenly
from chatladder.io.rows import PART_ROWS, TURNS, Rows
from chatladder.judges.turns import TextTurns, is_text


class SpreadTurns(TextTurns):
    """Turns of kind text, read by workers."""

    def __init__(self, rows: Rows, pool: Workers) -> None:
        """Take the file of ``TURNS`` and count its text turns."""
        super().__init__(rows)
        self._path = rows.path.resolve()
        self._pool = pool
        self._parts = cut_evenly(rows.num_rows, PART_ROWS)
        self._starts = [0, *accumulate(self._counts)][: len(self._parts)]

    def map(self, function: Callable[..., Any], *shared: Any) -> Iterator[Any]:
        """As of ``TextTurns``, by workers."""
        items = zip(self._parts, self._starts, strict=True)
        return self._pool.map(on_texts, items, self._path, function, *shared)

    def take(self, positions: np.ndarray) -> list[str]:
        """As of ``TextTurns``, by workers."""
        ends = np.searchsorted(positions, [*self._starts, self.num_rows])
        own = (positions[ends[n] : ends[n + 1]] - start for n, start in enumerate(self._starts))
        items = [(part, inside) for part, inside in zip(self._parts, own, strict=True) if len(inside)]
        return [text for texts in self._pool.map(texts_at, items, self._path) for text in texts]


def on_texts(item: tuple[Range, int], path: Path, function: Callable[..., Any], *shared: Any) -> Any:
    """``function(texts, start, *shared)`` of the texts in a range of turns; see ``TextTurns.map``."""
    part, start = item
    return function(_texts(path, part).to_pylist(), start, *shared)


def texts_at(item: tuple[Range, np.ndarray], path: Path) -> list[str]:
    """Some of the texts in a range of turns, by their positions among these."""
    part, inside = item
    taken: list[str] = _texts(path, part).take(pa.array(inside)).to_pylist()
    return taken


def _texts(path: Path, part: Range) -> pa.ChunkedArray:
    rows = RowRange(path, TURNS, *part).table(["text", "kind"])
    return rows.filter(is_text(rows))["text"]
