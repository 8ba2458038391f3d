"""The judges' scores beside the turns they are of, joined into one verdict, and how far the judges agree.

A judge's scores are in the folder ``data/scores/<judge>``, its threshold among the params of ``questions``.
"""

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from chatladder.distributed.ranges import RowRange
from chatladder.io.console import DataError
from chatladder.io.rows import SCORES
from chatladder.judges import SCORES_FILE
from chatladder.judges.texts import is_text

JOINS = ("all", "majority", "mean")
#: Turns that the metrics name for each pair of judges, those they differ on most.
LISTED = 20


class Judge(NamedTuple):
    """A judge, and the score from which a turn passes."""

    name: str
    threshold: float  # 0-10


class Tally:
    """How many turns each judge passes, and how far the judges agree.

    Attributes:
        passed: Turns by judge.
        pairs: Turns by whether the one and the other judge pass them, for each two judges.
        differ: Gap, position among the text turns, and id of the turns that each two judges differ on most.
    """

    def __init__(self, judges: Sequence[Judge]) -> None:
        self.passed: Counter[str] = Counter({judge.name: 0 for judge in judges})
        names = [judge.name for judge in judges]
        self.pairs: dict[tuple[str, str], Counter[tuple[bool, bool]]] = {
            pair: Counter() for pair in combinations(names, 2)
        }
        self.differ: dict[tuple[str, str], list[tuple[float, int, str]]] = {pair: [] for pair in self.pairs}

    def count(
        self, ids: pa.ChunkedArray, start: int, scores: dict[str, np.ndarray], passed: dict[str, np.ndarray]
    ) -> None:
        """Count some text turns.

        Args:
            ids: Their ids.
            start: The number of text turns before them.
            scores: Scores by judge.
            passed: Whether the judge passes the turn, by judge.
        """
        for name, values in passed.items():
            self.passed[name] += int(values.sum())
        for (one, other), counts in self.pairs.items():
            for mine, others in ((True, True), (True, False), (False, True), (False, False)):
                counts[mine, others] += int(((passed[one] == mine) & (passed[other] == others)).sum())
            rows = np.flatnonzero(passed[one] != passed[other])
            gaps = np.abs(scores[one][rows].astype(float) - scores[other][rows])
            widest = np.argsort(-gaps, kind="stable")[:LISTED]
            names = ids.take(pa.array(rows[widest])).to_pylist()
            candidates = zip(gaps[widest].tolist(), (start + rows[widest]).tolist(), names, strict=True)
            self.differ[one, other] = _most([*self.differ[one, other], *candidates])

    def add(self, other: "Tally") -> None:
        """Take over what was counted elsewhere, in whatever order."""
        self.passed.update(other.passed)
        for pair, counts in other.pairs.items():
            self.pairs[pair].update(counts)
            self.differ[pair] = _most(self.differ[pair] + other.differ[pair])

    def summary(self) -> dict[str, Any]:
        """Return ``{judge: {"passed": turns}}``, and how far two judges or more agree.

        That is ``kappa`` (mean of Cohen's kappa over pairs; a pair that agrees by never differing at all has 1) and,
        for each pair, ``<one>_<other>`` with its kappa, how many turns only the one or the other passed, and the ids of
        those they differ on most.
        """
        summary: dict[str, Any] = {name: {"passed": turns} for name, turns in self.passed.items()}
        kappas = []
        for (one, other), counts in self.pairs.items():
            kappas.append(_kappa(counts))
            differ = self.differ[one, other]
            summary[f"{one}_{other}"] = {
                "kappa": round(kappas[-1], 5),
                f"only_{one}": counts[True, False],
                f"only_{other}": counts[False, True],
                "differ_most": [turn for _, turn in sorted((-round(gap, 5), turn) for gap, _, turn in differ)],
            }
        if kappas:
            summary["kappa"] = round(float(np.mean(kappas)), 5)
        return summary


class Verdicts:
    """Reads every judge's scores along with the turns, part by part.

    Attributes:
        tally: Counts of the turns so far.
    """

    def __init__(self, folder: Path, judges: Sequence[Judge], join: str, start: int = 0) -> None:
        """Open the scores.

        Args:
            folder: The folder with a folder of each judge.
            judges: At least one.
            join: all: every judge must pass a turn; majority: more than half of them; mean: their mean score must
                reach the mean of their thresholds.
            start: The number of scores to skip: those of the text turns before the first that is looked at.
        """
        self.tally = Tally(judges)
        self._start = start
        self._judges, self._join = judges, join
        self._scores = {judge.name: _Scores(judge.name, folder / judge.name / SCORES_FILE, start) for judge in judges}

    def below(self, turns: pa.Table) -> dict[str, np.ndarray]:
        """Return why each of the next turns is not picked, bool of shape ``(turns,)`` by reason.

        Turns that are not text have no score and no such reason.

        Raises:
            DataError: If a judge's scores are not those of these turns.
        """
        text = is_text(turns).to_numpy()
        ids = turns["turn_id"].filter(pa.array(text))
        scores = {name: each.take(ids) for name, each in self._scores.items()}
        passed = {judge.name: scores[judge.name] >= judge.threshold for judge in self._judges}
        self.tally.count(ids, self._start, scores, passed)
        self._start += len(ids)
        below = {}
        for reason, values in self._below(scores, passed).items():
            below[reason] = np.zeros(len(text), bool)
            below[reason][text] = values
        return below

    def check_end(self) -> None:
        """Check that the judges have scored no other turns.

        Raises:
            DataError: If one has.
        """
        for scores in self._scores.values():
            scores.check_end()

    def _below(self, scores: dict[str, np.ndarray], passed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if self._join == "all":
            return {f"below_{name}": ~values for name, values in passed.items()}
        if self._join == "majority":
            return {"below_majority": 2 * np.sum(list(passed.values()), axis=0) <= len(passed)}
        needed = float(np.mean([judge.threshold for judge in self._judges]))
        return {"below_mean": np.mean(list(scores.values()), axis=0) < needed}


class _Scores:
    """One judge's scores, read in step with the turns."""

    def __init__(self, judge: str, path: Path, start: int) -> None:
        self._judge, self._path = judge, path
        self._parts: Iterator[pa.Table] = RowRange(path, SCORES, start).parts()
        self._waiting = SCORES.empty_table()

    def take(self, ids: pa.ChunkedArray) -> np.ndarray:
        """The scores of the next turns, shape ``(len(ids),)``."""
        while self._waiting.num_rows < len(ids):
            part = next(self._parts, None)
            if part is None:
                raise self._error()
            self._waiting = pa.concat_tables([self._waiting, part])
        taken, self._waiting = self._waiting.slice(0, len(ids)), self._waiting.slice(len(ids))
        if not taken["turn_id"].combine_chunks().equals(ids.combine_chunks()):
            raise self._error()
        scores: np.ndarray = taken["score"].to_numpy()
        return scores

    def check_end(self) -> None:
        """Check that nothing is left."""
        if self._waiting.num_rows or next(self._parts, None) is not None:
            raise self._error()

    def _error(self) -> DataError:
        return DataError(
            f"{self._path}: expected a score of {self._judge} for each text turn, in their order; got those "
            "of other turns. Score these turns again."
        )


def _most(candidates: list[tuple[float, int, str]]) -> list[tuple[float, int, str]]:
    return heapq.nsmallest(LISTED, candidates, key=lambda item: (-item[0], item[1]))


def _kappa(counts: Counter[tuple[bool, bool]]) -> float:
    total = counts.total()
    if not total:
        return 1.0
    agreed = (counts[True, True] + counts[False, False]) / total
    one = (counts[True, True] + counts[True, False]) / total
    other = (counts[True, True] + counts[False, True]) / total
    by_chance = one * other + (1 - one) * (1 - other)
    return 1.0 if by_chance == 1 else (agreed - by_chance) / (1 - by_chance)
