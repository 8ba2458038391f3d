"""The judges' scores beside the turns they are of, joined into one verdict, and how far the judges agree.

A judge's scores are in the folder ``data/scores/<judge>``, its threshold among the params of ``questions``.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from chatladder.io.console import DataError
from chatladder.io.rows import SCORES, Rows
from chatladder.judges import SCORES_FILE
from chatladder.judges.texts import is_text

JOINS = ("all", "majority", "mean")
#: Turns that the metrics name for each pair of judges, those they differ on most.
LISTED = 20


class Judge(NamedTuple):
    """A judge, and the score from which a turn passes."""

    name: str
    threshold: float  # 0-10


class Verdicts:
    """Reads every judge's scores along with the turns, part by part, and counts how far the judges agree."""

    def __init__(self, folder: Path, judges: Sequence[Judge], join: str) -> None:
        """Open the scores.

        Args:
            folder: The folder with a folder of each judge.
            judges: At least one.
            join: all: every judge must pass a turn; majority: more than half of them; mean: their mean score must
                reach the mean of their thresholds.
        """
        self._judges, self._join = judges, join
        self._scores = {judge.name: _Scores(judge.name, folder / judge.name / SCORES_FILE) for judge in judges}
        self._passed = Counter(dict.fromkeys(self._scores, 0))
        # Of each two judges: turns by whether the one and the other pass them; gap and id of those they differ on most.
        pairs = list(combinations(self._scores, 2))
        self._pairs: dict[tuple[str, str], Counter[tuple[bool, bool]]] = {pair: Counter() for pair in pairs}
        self._differ: dict[tuple[str, str], list[tuple[float, str]]] = {pair: [] for pair in pairs}

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
        for name, values in passed.items():
            self._passed[name] += int(values.sum())
        self._compare(ids, scores, passed)
        below = {}
        for reason, values in self._below(scores, passed).items():
            below[reason] = np.zeros(len(text), bool)
            below[reason][text] = values
        return below

    def summary(self) -> dict[str, Any]:
        """Return how many turns each judge passed, and how far the judges agree, once all turns were read.

        Returns:
            ``{judge: {"passed": turns}}``; with two judges or more also ``kappa`` (mean of Cohen's kappa over pairs; a
            pair that agrees by never differing at all has 1) and, for each pair, ``<one>_<other>`` with its kappa,
            how many turns only the one or the other passed, and the ids of those they differ on most.

        Raises:
            DataError: If a judge has scored other turns too.
        """
        for scores in self._scores.values():
            scores.check_end()
        summary: dict[str, Any] = {name: {"passed": turns} for name, turns in self._passed.items()}
        kappas = []
        for (one, other), counts in self._pairs.items():
            kappas.append(_kappa(counts))
            summary[f"{one}_{other}"] = {
                "kappa": round(kappas[-1], 5),
                f"only_{one}": counts[True, False],
                f"only_{other}": counts[False, True],
                "differ_most": [turn for _, turn in self._differ[one, other]],
            }
        if kappas:
            summary["kappa"] = round(float(np.mean(kappas)), 5)
        return summary

    def _below(self, scores: dict[str, np.ndarray], passed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if self._join == "all":
            return {f"below_{name}": ~values for name, values in passed.items()}
        if self._join == "majority":
            return {"below_majority": 2 * np.sum(list(passed.values()), axis=0) <= len(passed)}
        needed = float(np.mean([judge.threshold for judge in self._judges]))
        return {"below_mean": np.mean(list(scores.values()), axis=0) < needed}

    def _compare(self, ids: pa.ChunkedArray, scores: dict[str, np.ndarray], passed: dict[str, np.ndarray]) -> None:
        for (one, other), counts in self._pairs.items():
            for mine, others in ((True, True), (True, False), (False, True), (False, False)):
                counts[mine, others] += int(((passed[one] == mine) & (passed[other] == others)).sum())
            rows = np.flatnonzero(passed[one] != passed[other])
            gaps = np.abs(scores[one][rows].astype(float) - scores[other][rows])
            widest = np.argsort(-gaps, kind="stable")[:LISTED]
            named = zip(np.round(-gaps[widest], 5).tolist(), ids.take(pa.array(rows[widest])).to_pylist(), strict=True)
            self._differ[one, other] = sorted([*self._differ[one, other], *named])[:LISTED]


class _Scores:
    """One judge's scores, read in step with the turns."""

    def __init__(self, judge: str, path: Path) -> None:
        self._judge, self._path = judge, path
        self._parts: Iterator[pa.Table] = Rows(path, SCORES).parts()
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


def _kappa(counts: Counter[tuple[bool, bool]]) -> float:
    total = counts.total()
    if not total:
        return 1.0
    agreed = (counts[True, True] + counts[False, False]) / total
    one = (counts[True, True] + counts[True, False]) / total
    other = (counts[True, True] + counts[False, True]) / total
    by_chance = one * other + (1 - one) * (1 - other)
    return 1.0 if by_chance == 1 else (agreed - by_chance) / (1 - by_chance)
