"""From the annotation logs to the labelled questions: verdicts, splits, reviews, and their metrics."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pyarrow as pa

from chatladder.io.console import DataError
from chatladder.io.options import setting
from chatladder.io.rows import LABELLED, SPLITS
from chatladder.labels.answer import Answer
from chatladder.labels.folds import split_conversations
from chatladder.labels.label_sets import check_verdicts, label_sets
from chatladder.labels.review import flips_as_metrics, flips_by_round, read_reviews
from chatladder.labels.rewrites import Rewrites, rewrites_of
from chatladder.labels.verdicts import Labelling, Verdict, combine, read_answers
from chatladder.vocabulary import SCORED

ROUND_COLUMNS = ("round", "annotators", "answered", "shared", "measure", "value")
_MEASURES = {"kappa": "Cohen's kappa", "alpha": "Krippendorff's alpha"}


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(
            f"expected a date or time in ISO 8601, as 2023-10-01 or 2023-10-01T00:00+08:00, got {text!a}."
        ) from error
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


@dataclass(frozen=True)
class LabelSettings:
    """The answers that count, and the split of the conversations."""

    round: int = setting("Number of rounds that count.", least=1)
    validation: float = setting("Share of the remaining conversations for validation.", least=0, most=1)
    test: float = setting("Share of all conversations for test.", least=0, most=1)
    test_from: datetime | None = setting(
        "Test conversations from this date or time on (UTC unless it has an offset), instead of the share --test.",
        parse=_instant,
        default=None,
    )
    orphans: str = setting(
        "If an answer's question is unknown: skip and count it, or stop.",
        choices=("report", "refuse"),
        default="report",
    )


@dataclass(frozen=True)
class Labelled:
    """The labelled questions, and the answers that they come from.

    Attributes:
        rows: Rows of ``LABELLED``.
        sizes: Rows per split.
        labelling: The verdicts, their counts and the answers that they come from.
        reviews: The ``flips`` of each review round, by number.
        torn: ``file:line`` of lines that were cut short, and skipped.
        label_sets: Rows of ``LABEL_SETS``.
        rewrites: The rewritten questions.
    """

    rows: pa.Table
    sizes: dict[str, int]
    labelling: Labelling
    reviews: dict[int, dict[str, Any]]
    torn: list[str]
    label_sets: pa.Table
    rewrites: Rewrites

    def metrics(self) -> dict[str, Any]:
        """Return the content of ``metrics/annotation.json``: counts and agreement."""
        turned = {str(number): flips_as_metrics(flips) for number, flips in self.reviews.items()}
        written = self.rewrites.metrics()
        return {
            **self.labelling.counts,
            "reviews": turned,
            **({} if written is None else {"rewrites": written}),
            **self.sizes,
        }


def label(questions: pa.Table, annotations: Path, settings: LabelSettings) -> Labelled:
    """Decide each question by the answers that count, and split the conversations.

    Args:
        questions: Rows of ``QUESTIONS``.
        annotations: Folder of the rounds.
        settings: Number of the rounds that count, and the shares of the splits.

    Raises:
        DataError: If a log or a review is damaged, answers are about other questions, or a split lacks a label.
    """
    answers, adjudications, torn = read_answers(annotations, settings.round)
    known = questions["item_id"].to_pylist()
    labelling = combine(answers, known, settings.round, settings.orphans == "refuse", adjudications)
    flips = flips_by_round(annotations, settings.round, labelling.logs)
    reviews = read_reviews(annotations, settings.round)
    splits = split_conversations(
        conversation_starts(questions), validation=settings.validation, test=settings.test, test_from=settings.test_from
    )
    checked = check_verdicts(labelling.logs, reviews)
    rows = label_questions(questions, labelling.verdicts, checked, splits)
    sets = label_sets(questions, labelling.logs, reviews)
    rewrites = rewrites_of(rows, labelling.logs)
    return Labelled(rows, check_splits(rows), labelling, flips, torn, sets, rewrites)


def label_questions(
    questions: pa.Table, verdicts: Mapping[str, Verdict], checked: Mapping[str, Verdict], splits: Mapping[str, str]
) -> pa.Table:
    """Return the questions that have a label to train or test on, in their order, with the columns of ``LABELLED``.

    Args:
        questions: Rows of ``QUESTIONS``.
        verdicts: Item -> verdict of all answers.
        checked: Item -> verdict of the answers that no model asked for, which decides the labels of the test split.
        splits: Conversation -> split.
    """
    pairs = zip(questions["item_id"].to_pylist(), questions["conversation"].to_pylist(), strict=True)
    decided = [(checked if splits[where] == "test" else verdicts).get(item_id) for item_id, where in pairs]
    scored = [verdict is not None and verdict.label in SCORED for verdict in decided]
    table = questions.filter(pa.array(scored, pa.bool_()))
    counting = [verdict for verdict, is_scored in zip(decided, scored, strict=True) if verdict and is_scored]
    columns: dict[str, list[Any]] = {
        "label": [str(verdict.label) for verdict in counting],
        "agreement": [verdict.agreement for verdict in counting],
        "split": [splits[conversation] for conversation in table["conversation"].to_pylist()],
        "check_label": [_scored(checked.get(item_id)) for item_id in table["item_id"].to_pylist()],
    }
    for name, values in columns.items():
        table = table.append_column(LABELLED.field(name), pa.array(values, LABELLED.field(name).type))
    return table


def _scored(verdict: Verdict | None) -> str | None:
    return str(verdict.label) if verdict is not None and verdict.label in SCORED else None


def conversation_starts(questions: pa.Table) -> dict[str, int | None]:
    """Return the time of the first question of each conversation; None if any of its questions has no time.

    All questions count, not only labelled ones, so that another round cannot move a conversation.
    """
    starts: dict[str, int | None] = {}
    rows = zip(questions["conversation"].to_pylist(), questions["timestamp"].to_pylist(), strict=True)
    for conversation, timestamp in rows:
        earlier = starts.get(conversation, timestamp)
        starts[conversation] = None if timestamp is None or earlier is None else min(earlier, timestamp)
    return starts


def check_splits(labelled: pa.Table) -> dict[str, int]:
    """Count the rows of each split.

    Raises:
        DataError: If train or test lacks items of a label: nothing could be learned or scored.
    """
    cells = Counter(zip(labelled["split"].to_pylist(), labelled["label"].to_pylist(), strict=True))
    conversations = len(labelled["conversation"].unique())
    for split in ("train", "test"):
        for name in SCORED:
            if not cells[split, name]:
                raise DataError(
                    f"split {split}: expected items labelled {name}, got none "
                    f"({labelled.num_rows} items in {conversations} conversations in all). "
                    "Annotate more conversations, or change split.test, split.test_from or split.validation."
                )
    return {split: sum(cells[split, name] for name in SCORED) for split in SPLITS}


def round_rows(answers: Sequence[Answer], agreement: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[Any, ...]]:
    """Yield rows of ``ROUND_COLUMNS``: for each round its numbers of annotators and items, and each measure.

    Args:
        answers: All answers that count, without undone ones.
        agreement: Round -> ``items`` that at least two people answered, ``kappa`` and ``alpha``, as ``rounds`` of
            ``metrics/annotation.json``. A round that only one person answered is missing; its value is empty, as is an
            undefined one.
    """
    people: dict[int, set[str]] = {}
    items: dict[int, set[str]] = {}
    for answer in answers:
        people.setdefault(answer.round, set()).add(answer.annotator)
        items.setdefault(answer.round, set()).add(answer.item_id)
    for number in sorted(people):
        measured = agreement.get(str(number), {})
        for name, measure in _MEASURES.items():
            value = measured.get(name)
            shared = measured.get("items", 0)
            yield number, len(people[number]), len(items[number]), shared, measure, "" if value is None else value
