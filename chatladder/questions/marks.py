"""Turns that a person has marked as questions or not, and the precision and recall of the choice on them.

A file of marks (``*.jsonl``) holds a row for each turn: ``{"turn_id": "t..", "question": true, "weight": 9}``. The
weight is the number of turns that the marked one represents, since a sample takes many of the few picked turns and few
of the many others (``chatladder questions`` draws such a sample and writes the weights); by default it is 1.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chatladder.io.console import DataError
from chatladder.io.files import read_jsonl

#: The number of bootstrap draws for the intervals, and their seed.
DRAWS, SEED = 2000, 0


class Mark(NamedTuple):
    """A person's judgement of one turn."""

    question: bool
    weight: float


class Marks:
    """Marks by turn, and the choice made for the marked turns."""

    def __init__(self, marks: dict[str, Mark]) -> None:
        self._marks = marks
        self._ids = pa.array(sorted(marks), pa.string())
        self._picked: dict[str, bool] = {}

    def look(self, turns: pa.Table, picked: np.ndarray) -> None:
        """Record which of the marked turns are among these turns and picked; ``picked`` has shape ``(turns,)``."""
        known = pc.is_in(turns["turn_id"], value_set=self._ids).to_numpy()
        ids = turns["turn_id"].filter(pa.array(known)).to_pylist()
        self._picked.update(zip(ids, picked[known].tolist(), strict=True))

    def summary(self) -> dict[str, float]:
        """Return precision and recall of the choice, with 95 % intervals, and the number of marks.

        ``missing`` counts marks whose turn is missing. The bootstrap resamples within marks of one weight.
        """
        ids = sorted(self._picked)
        picked = np.array([self._picked[each] for each in ids], bool)
        question = np.array([self._marks[each].question for each in ids], bool)
        weight = np.array([self._marks[each].weight for each in ids])
        counts = {"marks": len(ids), "questions": int(question.sum()), "missing": len(self._marks) - len(ids)}
        return counts | (precision_and_recall(picked, question, weight) if ids else {})


def precision_and_recall(picked: np.ndarray, question: np.ndarray, weight: np.ndarray) -> dict[str, float]:
    """Return weighted precision and recall, with 95 % bootstrap intervals; arrays of shape ``(marks,)``.

    The bootstrap resamples within strata: marks of one weight, as they were drawn.
    """
    _, strata = np.unique(weight, return_inverse=True)
    generator = np.random.default_rng(SEED)
    members = [np.flatnonzero(strata == number) for number in range(int(strata.max()) + 1)]
    draws = np.array(
        [
            _scores(picked[rows], question[rows], weight[rows])
            for rows in (np.concatenate([generator.choice(each, len(each)) for each in members]) for _ in range(DRAWS))
        ]
    )
    scores = {}
    for number, name in enumerate(("precision", "recall")):
        low, high = np.quantile(draws[:, number], [0.025, 0.975])
        scores[name] = round(_scores(picked, question, weight)[number], 5)
        scores |= {f"{name}_lo": round(float(low), 5), f"{name}_hi": round(float(high), 5)}
    return scores


def _scores(picked: np.ndarray, question: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    right = float(weight[picked & question].sum())
    chosen, real = float(weight[picked].sum()), float(weight[question].sum())
    return (right / chosen if chosen else 0.0), (right / real if real else 0.0)


def read_marks(folder: Path) -> Marks | None:
    """Read all marks in the ``*.jsonl`` files of a folder; None if there are none. A later file overrides an earlier.

    Raises:
        DataError: If a row is not a mark.
    """
    marks: dict[str, Mark] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for number, row in read_jsonl(path):
            turn, question, weight = row.get("turn_id"), row.get("question"), row.get("weight", 1)
            is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
            if not (isinstance(turn, str) and isinstance(question, bool) and is_number and 0 < weight < float("inf")):
                raise DataError(
                    f'{path}:{number}: expected "turn_id" as text, "question" as true or false and "weight" as a '
                    "number above 0; one is not."
                )
            marks[turn] = Mark(question, float(weight))
    return Marks(marks) if marks else None
