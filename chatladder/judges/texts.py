"""The text turns of a file for judges, and the addressees and sentences of a text."""

import re
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chatladder.distributed import Range, RowRange, Workers, cut_evenly
from chatladder.io.console import bar
from chatladder.io.rows import PART_ROWS, PSEUDONYM, TURNS, Rows

#: The people to whom a line is addressed ("@u1a2b3c4d how do I ..."), not part of the text itself. Valid in RE2 too.
ADDRESSED = r"(?m)^[ \t]*(?:@\S+[ \t,，:：]*)+"
#: Only ASCII, since Chinese text may follow an address without a space.
LINK = r"(?:https?|ftp)://[!-~]+|\bwww\.[!-~]+"
#: People mentioned in a text, which judges must not see: the pseudonyms' key would change scores.
_MENTION = rf"@?\b{PSEUDONYM}\b"
MARKS = "?？"

_ADDRESSED = re.compile(ADDRESSED)
#: A line that starts with one name or more: with a sign, or as a pseudonym alone, as "nick : text" becomes.
_WHOM = re.compile(rf"(?m)^[ \t]*((?:@\S+[ \t,，:：]*)+|{_MENTION})", re.ASCII)
_NAME = re.compile(r"@?([^\s,，:：@]+)")
_LINK = re.compile(LINK, re.IGNORECASE)
_MENTIONED = re.compile(_MENTION, re.ASCII)
# A dot ends a sentence only before white space: "12.04" and "a.py" have none. Nor does a mark inside a word ("a?b", a
# pattern or a query) end one.
_SENTENCE_END = re.compile(
    r"\n+|[。！？；]+[。！？；?!]*|[?!]+[?!？！]*(?=[\s)）\"'”’」』：:,，]|[^\x00-\x7f]|$)|[.;]+(?=\s|$)"
)


class TextTurns:
    """Turns of kind text, in the order of the chat, read by workers part by part.

    The parts do not depend on the workers, so a judge that sums by part gets the same bits.
    """

    def __init__(self, rows: Rows, pool: Workers) -> None:
        """Open the file of ``TURNS`` and count its text turns."""
        self._rows, self._pool = rows, pool
        self._path = rows.path.resolve()
        self._counts = [int(pc.sum(is_text(part)).as_py() or 0) for part in rows.parts(["kind"])]
        self._parts = cut_evenly(rows.num_rows, PART_ROWS)
        self._starts = [0, *accumulate(self._counts)][: len(self._parts)]
        self.num_rows = sum(self._counts)

    def ids(self) -> Iterator[pa.ChunkedArray]:
        """Read the turn ids in this process, part by part."""
        for part in self._rows.parts(["turn_id", "kind"]):
            yield part.filter(is_text(part))["turn_id"]

    def texts(self) -> Iterator[list[str]]:
        """Read the texts in this process, part by part."""
        for part in self._rows.parts(["text", "kind"]):
            yield part.filter(is_text(part))["text"].to_pylist()

    def replies(self) -> np.ndarray:
        """Return which turns answer a message, according to the export; bool of shape ``(turns,)``."""
        parts = [part.filter(is_text(part))["reply_to"].is_valid() for part in self._rows.parts(["reply_to", "kind"])]
        return np.concatenate([np.zeros(0, bool), *(part.to_numpy() for part in parts)])

    def map(self, function: Callable[..., Any], *shared: Any) -> Iterator[Any]:
        """Yield ``function(texts, start, *shared)`` for each part, in order; ``start`` text turns precede it.

        The function is a pure module-level function, so that it can run on any worker. A bar shows the progress.
        """
        items = zip(self._parts, self._starts, strict=True)
        results = self._pool.map(on_texts, items, self._path, function, *shared)
        with bar("scoring", total=self.num_rows, unit=" turns") as progress:
            for result, count in zip(results, self._counts, strict=True):
                yield result
                progress.update(count)

    def take(self, positions: np.ndarray) -> list[str]:
        """Return the texts at some ascending positions; shape ``(n,)``."""
        taken: list[str] = []
        for texts, start in zip(self.texts(), self._starts, strict=True):
            inside = positions[slice(*np.searchsorted(positions, [start, start + len(texts)]))]
            taken += [texts[position] for position in (inside - start).tolist()]
        return taken


def on_texts(item: tuple[Range, int], path: Path, function: Callable[..., Any], *shared: Any) -> Any:
    """Return ``function(texts, start, *shared)`` for the texts in a range of turns; see ``TextTurns.map``."""
    part, start = item
    rows = RowRange(path, TURNS, *part).table(["text", "kind"])
    return function(rows.filter(is_text(rows))["text"].to_pylist(), start, *shared)


def is_text(part: pa.Table) -> pa.ChunkedArray:
    """Return which turns are of kind text."""
    return pc.equal(part["kind"], "text")


def whom(text: str) -> list[str]:
    """Return the names of the addressees at the start of the text's lines; none if it is addressed to nobody."""
    return [name for names in _WHOM.findall(text) for name in _NAME.findall(names)]


def spoken(text: str) -> str:
    """Return the text without its addressees; each URL, and each person, becomes one word."""
    return _MENTIONED.sub(" somebody ", _LINK.sub(" link ", _ADDRESSED.sub("", text)))


def sentences(text: str) -> list[tuple[str, str]]:
    """Split a text into (words, end) pairs; ``end`` is the punctuation that closed the sentence, if any."""
    pairs: list[tuple[str, str]] = []
    start = 0
    for end in _SENTENCE_END.finditer(text):
        words = text[start : end.start()].strip()
        if words:
            pairs.append((words, end.group()))
        elif pairs:
            # "really? ?": a separate mark belongs to the sentence before it.
            pairs[-1] = (pairs[-1][0], pairs[-1][1] + end.group())
        start = end.end()
    rest = text[start:].strip()
    return [*pairs, (rest, "")] if rest else pairs


def asked(end: str) -> bool:
    """Return True if the punctuation that closed a sentence contains a question mark."""
    return any(mark in end for mark in MARKS)
