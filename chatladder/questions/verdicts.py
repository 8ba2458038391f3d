"""The judges' scores beside the turns they are of, joined into one verdict, and how far the judges agree."""

import heapq
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chatladder.distributed.ranges import RowRange
from chatladder.io.console import DataError
from chatladder.io.rows import SCORES, Rows

JOINS = ("all", "majority", "mean")
#: Turns that the metrics name for each pair of judges, those they differ on most.
LISTED = 20


class Judge(NamedTuple):
    """A judge's scores, and the score from which a turn passes."""

    name: str
    path: Path
    threshold: float  # 0-10


class Verdict(NamedTuple):
    """What the judges say of some turns."""

    picked: np.ndarray  # bool, shape (turns,)
    below: dict[str, np.ndarray]  # reason -> bool, shape (turns,): why a turn is not picked


class Tally(NamedTuple):
    """What ``Verdicts`` has counted."""

    passed: Counter[str]  # judge -> turns
    pairs: dict[tuple[str, str], Counter[tuple[bool, bool]]]  # two judges -> whether each passes -> turns
    differ: dict[tuple[str, str], list[tuple[float, str]]]  # two judges -> gap and id of the turns they differ on most


class Verdicts:
    """Reads every judge's scores along with the turns, part by part."""

    def __init__(self, judges: list[Judge], join: str, start: int = 0) -> None:
        """Open the scores.

        Args:
            judges: At least one.
            join: all: every judge must pass a turn; majority: more than half of them; mean: their mean score must
                reach the mean of their thresholds.
            start: How many scores to pass over: those of the text turns before the first that is looked at.
        """
        self.judges = judges
        self.join = join
        self._scores = {judge.name: _Scores(judge, start) for judge in judges}
        self._passed: Counter[str] = Counter()
        self._pairs: dict[tuple[str, str], Counter[tuple[bool, bool]]] = {}
        self._differ: dict[tuple[str, str], list[tuple[float, str]]] = {}
        for one, other in combinations(judges, 2):
            self._pairs[one.name, other.name] = Counter()
            self._differ[one.name, other.name] = []

    def of(self, turns: pa.Table) -> Verdict:
        """The verdict on the next turns; those that are not text have no score and are not picked.

        Raises:
            DataError: If a judge's scores are not those of these turns.
        """
        text = pc.equal(turns["kind"], "text").to_numpy()
        ids = turns["turn_id"].filter(pa.array(text))
        scores = {name: each.take(ids) for name, each in self._scores.items()}
        passed = {judge.name: scores[judge.name] >= judge.threshold for judge in self.judges}
        for name, values in passed.items():
            self._passed[name] += int(values.sum())
        self._compare(ids, scores, passed)
        below = {}
        for reason, values in self._below(scores, passed).items():
            below[reason] = np.zeros(len(text), bool)
            below[reason][text] = values
        picked = text & ~np.logical_or.reduce(list(below.values()))
        return Verdict(picked, below)

    def tally(self) -> Tally:
        """What was counted so far."""
        return Tally(self._passed, self._pairs, self._differ)

    def add(self, other: Tally) -> None:
        """Take over what others counted, in whatever order."""
        self._passed.update(other.passed)
        for pair, counts in other.pairs.items():
            self._pairs[pair].update(counts)
            self._differ[pair] = _most(self._differ[pair] + other.differ[pair])

    def finish(self) -> dict[str, Any]:
        """How many turns each judge passed, and how far the judges agree.

        Returns:
            ``{judge: {"passed": turns}}``; with two judges or more also ``kappa`` (mean of Cohen's kappa over pairs; a
            pair that agrees by never differing at all has 1) and, for each pair, ``<one>_<other>`` with its kappa,
            how many turns only the one or the other passed, and the ids of those they differ on most.

        Raises:
            DataError: If a judge has scored other turns too.
        """
        for scores in self._scores.values():
            scores.finish()
        found: dict[str, Any] = {judge.name: {"passed": self._passed[judge.name]} for judge in self.judges}
        kappas = []
        for (one, other), counts in self._pairs.items():
            kappas.append(_kappa(counts))
            differ = sorted(self._differ[one, other], key=lambda item: (-item[0], item[1]))
            found[f"{one}_{other}"] = {
                "kappa": round(kappas[-1], 5),
                f"only_{one}": counts[True, False],
                f"only_{other}": counts[False, True],
                "differ_most": [turn for _, turn in differ],
            }
        if kappas:
            found["kappa"] = round(float(np.mean(kappas)), 5)
        return found

    def _below(self, scores: dict[str, np.ndarray], passed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if self.join == "all":
            return {f"below_{name}": ~values for name, values in passed.items()}
        if self.join == "majority":
            return {"below_majority": 2 * np.sum(list(passed.values()), axis=0) <= len(passed)}
        needed = float(np.mean([judge.threshold for judge in self.judges]))
        return {"below_mean": np.mean(list(scores.values()), axis=0) < needed}

    def _compare(self, ids: pa.ChunkedArray, scores: dict[str, np.ndarray], passed: dict[str, np.ndarray]) -> None:
        for (one, other), counts in self._pairs.items():
            for mine, others in ((True, True), (True, False), (False, True), (False, False)):
                counts[mine, others] += int(((passed[one] == mine) & (passed[other] == others)).sum())
            rows = np.flatnonzero(passed[one] != passed[other])
            gaps = np.abs(scores[one][rows].astype(float) - scores[other][rows])
            widest = rows[np.argsort(-gaps, kind="stable")[:LISTED]]
            named = zip(np.sort(-gaps)[:LISTED], ids.take(pa.array(widest)).to_pylist(), strict=True)
            candidates = self._differ[one, other] + [(round(float(-gap), 5), turn) for gap, turn in named]
            self._differ[one, other] = _most(candidates)


class _Scores:
    """One judge's scores, read in step with the turns."""

    def __init__(self, judge: Judge, start: int) -> None:
        self._judge = judge
        rows = RowRange(judge.path, SCORES, start) if start else Rows(judge.path, SCORES)
        self._parts: Iterator[pa.Table] = rows.parts()
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

    def finish(self) -> None:
        """Check that nothing is left."""
        if self._waiting.num_rows or next(self._parts, None) is not None:
            raise self._error()

    def _error(self) -> DataError:
        return DataError(
            f"{self._judge.path}: expected a score of {self._judge.name} for each text turn, in their order; got those "
            "of other turns. Score these turns again."
        )


def _most(candidates: list[tuple[float, str]]) -> list[tuple[float, str]]:
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
