"""The choice of questions among the turns of a file, by scores and filters, with the reason for each other turn.

A judge's scores are in the folder ``data/scores/<judge>``, its threshold is a param of ``questions``.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chatladder.io.console import DataError, bar
from chatladder.io.files import read_json
from chatladder.io.options import setting
from chatladder.io.rows import QUESTIONS, SCORES, Rows, RowWriter, read_rows, write_rows
from chatladder.judges import COUNTS_FILE, SCORES_FILE
from chatladder.judges.texts import ADDRESSED, is_text
from chatladder.questions.conversations import Conversations, Reach
from chatladder.questions.marks import Marks

JOINS = ("all", "majority", "mean")
#: The number of turns that the metrics list for each pair of judges: those with the largest difference.
LISTED = 20
#: The earlier stages that write counts, in their order.
COUNTING = ("ingest", "merge")


class Judge(NamedTuple):
    """A judge, and the score from which it passes a turn."""

    name: str
    threshold: float  # 0-10


class JudgeOption(click.ParamType[Judge]):
    """NAME=SCORE: a judge and its threshold."""

    name = "NAME=SCORE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Judge:
        """Parse one judge."""
        name, _, threshold = str(value).partition("=")
        try:
            score = float(threshold)
        except ValueError:
            score = -1.0
        if not name or not 0 <= score <= 10:
            self.fail(f"expected NAME=SCORE with a score from 0 to 10, got {value!r}.", param, ctx)
        return Judge(name, score)


@dataclass(frozen=True, kw_only=True)
class Picking(Reach):
    """The choice of questions, and the turns shown with each."""

    judge: tuple[Judge, ...] = setting(
        "Judge and its threshold, the lowest score that passes; repeatable.", type=JudgeOption()
    )
    join: str = setting("How to join the judges: all, most, or their mean must pass a turn.", choices=JOINS)
    min_characters: int = setting("Minimum characters of a text; shorter ones are left out.", least=0)
    sample: int = setting("Number of questions to draw at random from the picked ones; 0 for all.", least=0, default=0)


class Picked(NamedTuple):
    """The counts of turns."""

    questions: int
    left_out: dict[str, int]  # reason -> number of turns
    judges: dict[str, Any]  # see Verdicts.finish
    conversations: int
    conversations_with_questions: int


class Verdicts:
    """Reads all judges' scores along with the turns, part by part, and counts how far the judges agree."""

    def __init__(self, folder: Path, judges: Sequence[Judge], join: str) -> None:
        """Open the scores.

        Args:
            folder: The folder with a subfolder for each judge.
            judges: At least one.
            join: ``all``: every judge must pass a turn; ``majority``: more than half of them; ``mean``: their mean
                score must reach the mean of their thresholds.
        """
        self._judges, self._join = judges, join
        self._scores = {judge.name: _Scores(judge.name, folder / judge.name / SCORES_FILE) for judge in judges}
        self._passed = Counter(dict.fromkeys(self._scores, 0))
        # For each pair: turns by (first passes, second passes); gap and id of the turns with the largest gaps.
        pairs = list(combinations(self._scores, 2))
        self._pairs: dict[tuple[str, str], Counter[tuple[bool, bool]]] = {pair: Counter() for pair in pairs}
        self._differ: dict[tuple[str, str], list[tuple[float, str]]] = {pair: [] for pair in pairs}

    def below(self, turns: pa.Table) -> dict[str, np.ndarray]:
        """Return for each reason which of the next turns it excludes, bool of shape ``(turns,)``.

        Turns that are not text have no score and are not excluded by one.

        Raises:
            DataError: If a judge's scores do not belong to these turns.
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
        """Return how many turns each judge passed, and how far the judges agree, after all turns were read.

        Returns:
            ``{judge: {"passed": turns}}``; for two judges or more also ``kappa`` (the mean of Cohen's kappa over pairs;
            1 for a pair whose scores never differ) and, for each pair, ``<one>_<other>`` with its kappa, the number of
            turns that only one of them passed, and the ids of the turns with the largest differences.

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
    """One judge's scores, read in parallel with the turns."""

    def __init__(self, judge: str, path: Path) -> None:
        self._judge, self._path = judge, path
        self._parts: Iterator[pa.Table] = Rows(path, SCORES).parts()
        self._waiting = SCORES.empty_table()

    def take(self, ids: pa.ChunkedArray) -> np.ndarray:
        """Return the scores of the next turns, shape ``(len(ids),)``."""
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
        """Check that all scores were read."""
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


def read_costs(folder: Path, judges: Iterable[Judge]) -> dict[str, dict[str, int]]:
    """Return each judge's costs, by name; other judges' scores are ignored.

    Raises:
        DataError: If a judge has no scores, or is named twice.
    """
    names = [judge.name for judge in judges]
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise DataError(f"questions.judge: expected each judge once, got {', '.join(twice)} more than once.")
    if missing := [name for name in names if not (folder / name / SCORES_FILE).is_file()]:
        raise DataError(
            f"{folder}: expected the scores of {', '.join(missing)}, which questions.judge names, got none. In a fresh "
            'clone run "dvc pull", else "dvc repro". A name without a section under judges needs one, or must leave '
            "questions.judge."
        )
    return {name: _flat_counts(folder / name / COUNTS_FILE) for name in names}


def pick(turns: Rows, scores: Path, settings: Picking, writer: RowWriter, marks: Marks | None = None) -> Picked:
    """Pick the questions among the turns.

    Args:
        turns: Rows of ``TURNS`` of any kind, ordered by group and by time within each.
        scores: The folder with a subfolder for each judge.
        settings: Judges, filters and reach.
        writer: Receives the questions, rows of ``QUESTIONS``, in the order of the turns.
        marks: Records which turns were picked.

    Returns:
        Counts; every turn is either a question or left out.

    Raises:
        DataError: If a judge's scores do not belong to these turns, or no turn passes.
    """
    verdicts, conversations = Verdicts(scores, settings.judge, settings.join), Conversations(settings)
    left_out: Counter[str] = Counter()
    questions = 0
    with bar("questions", total=turns.num_rows, unit=" turns") as progress:
        for part in turns.parts():
            chosen, counts = choose(part, verdicts.below(part), settings.min_characters)
            left_out.update(counts)
            if marks is not None:
                marks.look(part, chosen)
            questions += int(chosen.sum())
            writer.write(conversations.take(part, chosen))
            progress.update(part.num_rows)
    writer.write(conversations.finish())
    if not questions:
        listed = ", ".join(f"{reason} {count:,}" for reason, count in left_out.items())
        raise DataError(
            f"expected questions, got none of {turns.num_rows:,} turns ({listed}). Lower the scores in "
            "questions.judge, or questions.min_characters."
        )
    with_questions = len(conversations.with_questions)
    return Picked(questions, dict(left_out), verdicts.summary(), conversations.conversations, with_questions)


def draw(path: Path, picked: Picked, sample: int) -> Picked:
    """Draw ``sample`` of the questions in a file, and overwrite the file with them.

    The questions with the smallest ids, which are hashes, are drawn: the same chat always gives the same ones, and a
    larger sample contains a smaller one.

    Args:
        path: The file of rows of ``QUESTIONS``.
        picked: The counts of turns, to which the questions not drawn are added as ``not_drawn``.
        sample: The number of questions.

    Raises:
        DataError: If the file cannot be written.
    """
    questions = read_rows(path, QUESTIONS)
    drawn = sorted(questions["item_id"].to_pylist())[:sample]
    kept = questions.filter(pc.is_in(questions["item_id"], pa.array(drawn, pa.string())))
    write_rows(path, kept, QUESTIONS)
    return picked._replace(
        questions=kept.num_rows,
        left_out={**picked.left_out, "not_drawn": picked.questions - kept.num_rows},
        conversations_with_questions=pc.count_distinct(kept["conversation"]).as_py(),
    )


def choose(part: pa.Table, below: dict[str, np.ndarray], min_characters: int) -> tuple[np.ndarray, dict[str, int]]:
    """Return which turns are questions, bool of shape ``(turns,)``, and the number of others by reason."""
    reasons = {"not_text": ~is_text(part).to_numpy(), "too_short": _characters(part) < min_characters, **below}
    return count_reasons(reasons, part.num_rows)


def _characters(turns: pa.Table) -> np.ndarray:
    """Return the number of characters of each turn's text, without the names it is addressed to."""
    texts = pc.replace_substring_regex(turns["text"].fill_null(""), ADDRESSED, "")
    lengths: np.ndarray = pc.utf8_length(pc.utf8_trim_whitespace(texts)).to_numpy()
    return lengths


def count_reasons(reasons: dict[str, np.ndarray], rows: int) -> tuple[np.ndarray, dict[str, int]]:
    """Return the rows without any reason, and for each reason the number of rows for which it is the first."""
    kept = np.ones(rows, bool)
    counts = {}
    for reason, holds in reasons.items():
        counts[reason] = int((kept & holds).sum())
        kept &= ~holds
    return kept, counts


def summarize(
    picked: Picked, counts: dict[str, int], costs: dict[str, dict[str, int]], marked: dict[str, float] | None
) -> dict[str, Any]:
    """Return the counts of every step from raw lines to questions.

    ``left_out`` holds the raw lines that made no message (skipped_<reason>) and the turns that are not questions;
    ``judges`` each judge's passed turns and costs, and their agreement; ``marked`` precision and recall on turns marked
    by hand.
    """
    nested = ("skipped_", "masked_")
    return {
        **{name: count for name, count in counts.items() if not name.startswith(nested)},
        "questions": picked.questions,
        "conversations": picked.conversations,
        "conversations_with_questions": picked.conversations_with_questions,
        "left_out": {
            **{name: count for name, count in counts.items() if name.startswith("skipped_")},
            **picked.left_out,
        },
        "judges": {**picked.judges, **{name: {**picked.judges[name], **cost} for name, cost in costs.items()}},
        "masked": {name[7:]: count for name, count in counts.items() if name.startswith("masked_")},
        **({"marked": marked} if marked else {}),
    }


def read_counts(folder: Path, turns: int) -> dict[str, int]:
    """Join the counts of the earlier stages.

    Raises:
        DataError: If counts are missing or not flat, or two stages, or a stage and the turns, disagree on a number.
    """
    joined: dict[str, int] = {}
    for stage in COUNTING:
        path = folder / f"{stage}.json"
        if not path.is_file():
            raise DataError(
                f'{path}: expected the counts of stage {stage}, got none. In a fresh clone run "dvc pull", else '
                f'"dvc repro {stage}".'
            )
        for name, count in _flat_counts(path).items():
            expected = joined.setdefault(name, turns if name == "turns" else count)
            if count != expected:
                raise DataError(f"{path}: expected {name} {expected}, got {count}. Run the stages before again.")
    return joined | {"turns": turns}


def _flat_counts(path: Path) -> dict[str, int]:
    counts = read_json(path)
    if not isinstance(counts, dict) or not all(isinstance(count, int) for count in counts.values()):
        raise DataError(f"{path}: expected a JSON object of whole numbers, the counts of a stage.")
    return counts
