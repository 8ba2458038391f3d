"""Picking the questions among the turns of a file, and the account of every turn that is none."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from chatladder.io.console import DataError
from chatladder.io.files import read_json
from chatladder.io.options import setting
from chatladder.io.rows import Rows, RowWriter
from chatladder.judges import COUNTS_FILE, SCORES_FILE
from chatladder.judges.texts import ADDRESSED, is_text
from chatladder.questions.conversations import Conversations, Reach
from chatladder.questions.marks import Marks
from chatladder.questions.verdicts import JOINS, Judge, Verdicts

#: The stages before this one that count, in their order.
COUNTING = ("ingest", "merge")


class JudgeOption(click.ParamType[Judge]):
    """NAME=SCORE: a judge and its threshold."""

    name = "NAME=SCORE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Judge:
        """Read one."""
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
    """Which turns are questions, and what each is shown with."""

    judge: tuple[Judge, ...] = setting(
        "A judge, and the score from which it passes a turn; repeat it for each.", type=JudgeOption()
    )
    join: str = setting("Who must pass a turn: all judges, most, or their mean.", choices=JOINS)
    min_characters: int = setting("Shorter texts are left out.", least=0)


class Picked(NamedTuple):
    """The account of the turns."""

    questions: int
    left_out: dict[str, int]  # reason -> turns
    judges: dict[str, Any]  # see Verdicts.finish
    conversations: int
    conversations_with_questions: int


def check_judges(folder: Path, judges: Iterable[Judge]) -> None:
    """Refuse scores that are missing, and those of judges that nobody asks.

    Raises:
        DataError: If they are not those of the judges.
    """
    names = [judge.name for judge in judges]
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise DataError(f"questions.judge: expected each judge once, got {', '.join(twice)} more than once.")
    if missing := [name for name in names if not (folder / name / SCORES_FILE).is_file()]:
        raise DataError(
            f"{folder}: expected the scores of {', '.join(missing)}, which questions.judge names, got none. Add a "
            "section to judges in params.yaml and score the turns, or take the name out of questions.judge."
        )
    leftover = sorted(
        path.name for path in folder.iterdir() if not path.name.startswith(".") and path.name not in names
    )
    if leftover:
        raise DataError(
            f"{folder}: expected the scores of {', '.join(names)} alone, got {', '.join(leftover)} too. Name each "
            "judge in questions.judge, or delete what is left over."
        )


def pick(turns: Rows, scores: Path, settings: Picking, writer: RowWriter, marks: Marks | None = None) -> Picked:
    """Pick the questions among turns.

    Args:
        turns: Rows of ``TURNS``, by group and in the order of time within each, of any kind.
        scores: The folder with a folder of each judge.
        settings: Judges, filters and reach.
        writer: Takes the questions, rows of ``QUESTIONS``, in the order of the turns.
        marks: Learns which turns were picked.

    Returns:
        Counts: the turns are the questions and those left out.

    Raises:
        DataError: If a judge's scores are not those of these turns, or no turn passes.
    """
    verdicts, conversations = Verdicts(scores, settings.judge, settings.join), Conversations(settings)
    left_out: Counter[str] = Counter()
    questions = 0
    with tqdm(total=turns.num_rows, desc="questions", unit=" turns", disable=None) as progress:
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


def choose(part: pa.Table, below: dict[str, np.ndarray], min_characters: int) -> tuple[np.ndarray, dict[str, int]]:
    """Return which turns are questions, bool of shape ``(turns,)``, and how many are not, by reason."""
    reasons = {"not_text": ~is_text(part).to_numpy(), "too_short": _characters(part) < min_characters, **below}
    return count_reasons(reasons, part.num_rows)


def _characters(turns: pa.Table) -> np.ndarray:
    """The characters of each turn's text, without the names it is addressed to."""
    texts = pc.replace_substring_regex(turns["text"].fill_null(""), ADDRESSED, "")
    lengths: np.ndarray = pc.utf8_length(pc.utf8_trim_whitespace(texts)).to_numpy()
    return lengths


def count_reasons(reasons: dict[str, np.ndarray], rows: int) -> tuple[np.ndarray, dict[str, int]]:
    """Return which rows no reason holds for, and for each reason the rows that it is the first to hold for."""
    kept = np.ones(rows, bool)
    counts = {}
    for reason, holds in reasons.items():
        counts[reason] = int((kept & holds).sum())
        kept &= ~holds
    return kept, counts


def summarize(
    picked: Picked, counts: dict[str, int], costs: dict[str, dict[str, int]], marked: dict[str, float] | None
) -> dict[str, Any]:
    """Return the counts at every step from raw lines to questions.

    ``left_out`` holds the raw lines that made no message (skipped_<reason>) and the turns that are no question;
    ``judges`` what each judge passed and cost, and how they agree; ``marked`` precision and recall on turns marked by
    hand.
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
    """Join the counts of the stages before this one.

    Raises:
        DataError: If one is missing, they are not flat counts, or two stages, or the turns, do not agree on a number.
    """
    joined: dict[str, int] = {}
    for stage in COUNTING:
        path = folder / f"{stage}.json"
        if not path.is_file():
            raise DataError(f"{path}: expected the counts of stage {stage}, got none. Run it again.")
        for name, count in _flat_counts(path).items():
            expected = joined.setdefault(name, turns if name == "turns" else count)
            if count != expected:
                raise DataError(f"{path}: expected {name} {expected}, got {count}. Run the stages before again.")
    return joined | {"turns": turns}


def read_costs(folder: Path, judges: Iterable[Judge]) -> dict[str, dict[str, int]]:
    """Return what each judge cost, by name.

    Raises:
        DataError: If it is not there, or is not flat counts.
    """
    return {judge.name: _flat_counts(folder / judge.name / COUNTS_FILE) for judge in judges}


def _flat_counts(path: Path) -> dict[str, int]:
    counts = read_json(path)
    if not isinstance(counts, dict) or not all(isinstance(count, int) for count in counts.values()):
        raise DataError(f"{path}: expected a JSON object of whole numbers, the counts of a stage.")
    return counts
