"""The text turns of a file as judges read them; whom a text addresses, and its sentences."""

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
from chatladder.io.rows import PART_ROWS, TURNS, Rows

#: The people a line is addressed to ("@u1a2b3c4d how do I ..."): not part of what is said. Valid in RE2 too.
ADDRESSED = r"(?m)^[ \t]*(?:@\S+[ \t,，:：]*)+"
#: Only ASCII, since Chinese text follows an address without a space.
LINK = r"(?:https?|ftp)://[!-~]+|\bwww\.[!-~]+"
#: Who is spoken of, which a judge must not see: the key of the pseudonyms would move scores.
PSEUDONYM = r"@?\bu[0-9a-f]{8}(?:[0-9a-f]{8})?\b"
MARKS = "?？"

_ADDRESSED = re.compile(ADDRESSED)
#: A line that begins with one name or more: with its sign, or with a pseudonym alone, as "nick : text" leaves it.
_WHOM = re.compile(rf"(?m)^[ \t]*((?:@\S+[ \t,，:：]*)+|{PSEUDONYM})", re.ASCII)
_NAME = re.compile(r"@?([^\s,，:：@]+)")
_LINK = re.compile(LINK, re.IGNORECASE)
_PSEUDONYM = re.compile(PSEUDONYM, re.ASCII)
# A dot ends a sentence only before white space: "12.04" and "a.py" do not. A mark inside a word
# ("a?b", a pattern or a query) ends none either.
_SENTENCE_END = re.compile(
    r"\n+|[。！？；]+[。！？；?!]*|[?!]+[?!？！]*(?=[\s)）\"'”’」』：:,，]|[^\x00-\x7f]|$)|[.;]+(?=\s|$)"
)


class TextTurns:
    """Turns of kind text, in the order of the chat, read by workers part by part.

    Parts are those of the file, whoever reads them, so a judge that sums up by part comes to the same bits.
    """

    def __init__(self, rows: Rows, pool: Workers) -> None:
        """Take the file of ``TURNS`` and count its text turns."""
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
        """Return whether each turn answers a message, as the export says; bool of shape ``(turns,)``."""
        parts = [part.filter(is_text(part))["reply_to"].is_valid() for part in self._rows.parts(["reply_to", "kind"])]
        return np.concatenate([np.zeros(0, bool), *(part.to_numpy() for part in parts)])

    def map(self, function: Callable[..., Any], *shared: Any) -> Iterator[Any]:
        """Yield ``function(texts, start, *shared)`` of each part, in order; ``start`` text turns come before it.

        The function is pure and of a module, so that it can run anywhere. A bar shows how far it is.
        """
        items = zip(self._parts, self._starts, strict=True)
        results = self._pool.map(on_texts, items, self._path, function, *shared)
        with bar("scoring", total=self.num_rows, unit=" turns") as progress:
            for result, count in zip(results, self._counts, strict=True):
                yield result
                progress.update(count)

    def take(self, positions: np.ndarray) -> list[str]:
        """Return the texts at some positions, which ascend; shape ``(n,)``."""
        taken: list[str] = []
        for texts, start in zip(self.texts(), self._starts, strict=True):
            inside = positions[slice(*np.searchsorted(positions, [start, start + len(texts)]))]
            taken += [texts[position] for position in (inside - start).tolist()]
        return taken


def on_texts(item: tuple[Range, int], path: Path, function: Callable[..., Any], *shared: Any) -> Any:
    """Return ``function(texts, start, *shared)`` of the texts in a range of turns; see ``TextTurns.map``."""
    part, start = item
    rows = RowRange(path, TURNS, *part).table(["text", "kind"])
    return function(rows.filter(is_text(rows))["text"].to_pylist(), start, *shared)


def is_text(part: pa.Table) -> pa.ChunkedArray:
    """Return whether each turn is of kind text."""
    return pc.equal(part["kind"], "text")


def whom(text: str) -> list[str]:
    """Return the names that lines of the text begin with, to whom it goes; none where it is addressed to nobody."""
    return [name for names in _WHOM.findall(text) for name in _NAME.findall(names)]


def spoken(text: str) -> str:
    """Return the text without the names it is addressed to; each address of a page, and each person, is one word."""
    return _PSEUDONYM.sub(" somebody ", _LINK.sub(" link ", _ADDRESSED.sub("", text)))


def sentences(text: str) -> list[tuple[str, str]]:
    """Split into (words, end) pairs; ``end`` is the punctuation that closed the sentence, if any did."""
    pairs: list[tuple[str, str]] = []
    start = 0
    for end in _SENTENCE_END.finditer(text):
        words = text[start : end.start()].strip()
        if words:
            pairs.append((words, end.group()))
        elif pairs:
            # "really? ?": a mark that stands alone belongs to the sentence before it.
            pairs[-1] = (pairs[-1][0], pairs[-1][1] + end.group())
        start = end.end()
    rest = text[start:].strip()
    return [*pairs, (rest, "")] if rest else pairs


def asked(end: str) -> bool:
    """Return whether the punctuation that closed a sentence holds a question mark."""
    return any(mark in end for mark in MARKS)
