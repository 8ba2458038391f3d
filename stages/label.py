r"""Turn the annotation logs into one label and one split for each question.

Example:
    python -m stages.label --questions data/questions.parquet --annotations data/annotations --round 2 \
        --validation 0.05 --test 0.25 --out data/labelled.parquet --metrics metrics/annotation.json

The latest round in which anybody answered an item decides it, by majority of that round's annotators; a tie
leaves the item out, counted as ``disagreed``. Only items that end as needed or not_needed are written.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import click
import pyarrow as pa

from stages.annotation.agreement import majority, round_agreement
from stages.annotation.log import Answer, Label, log_files, replay
from stages.annotation.split import split_conversations
from stages.cli import SETTINGS, DataError, InputFile, InputFolder, OutputFile, example
from stages.files import write_json
from stages.rows import LABELLED, QUESTIONS, SPLITS, read_rows, write_rows

#: Labels that models are trained and scored on.
SCORED = (Label.NEEDED, Label.NOT_NEEDED)


class Placed(NamedTuple):
    """An answer and the ``file:line`` it stands on."""

    answer: Answer
    place: str


class Verdict(NamedTuple):
    """What the annotators say of one item: a label (None: disagreed) and the share of them who gave it."""

    label: Label | None
    agreement: float


@dataclass(frozen=True)
class Labelling:
    """The labels of the questions that still exist, with what was left out.

    Attributes:
        verdicts: Item -> verdict, of items that are in the questions.
        counts: What ``metrics/annotation.json`` holds, less the splits.
        first_orphan: ``file:line`` of the first answer about an item that is gone, or None.
    """

    verdicts: dict[str, Verdict]
    counts: dict[str, int | float | None]
    first_orphan: str | None


def read_logs(annotations: Path, last_round: int) -> tuple[list[Placed], list[str]]:
    """The answers that count, one per item, round and annotator, and the places of lines cut short."""
    placed = []
    torn = []
    for path in log_files(annotations, last_round):
        log = replay(path)
        placed += [Placed(answer, f"{path}:{log.lines[item_id]}") for item_id, answer in log.answers.items()]
        if log.torn is not None:
            torn.append(f"{path}:{log.torn}")
    return placed, torn


def decide(answers: Iterable[Answer]) -> dict[str, Verdict]:
    """The verdict on each item: the majority of the latest round in which it was answered."""
    by_item: dict[str, list[Answer]] = {}
    for answer in answers:
        by_item.setdefault(answer.item_id, []).append(answer)
    verdicts = {}
    for item_id, given in by_item.items():
        deciding = max(answer.round for answer in given)
        labels = [answer.label for answer in given if answer.round == deciding]
        label = majority(labels)
        verdicts[item_id] = Verdict(label, 0.0 if label is None else labels.count(label) / len(labels))
    return verdicts


def combine(placed: Sequence[Placed], known: Iterable[str], last_round: int, refuse_orphans: bool) -> Labelling:
    """Decide every item that is among the questions, and count the rest.

    Args:
        placed: The answers of rounds 1 to ``last_round``.
        known: Ids of the questions.
        last_round: How many rounds count.
        refuse_orphans: Whether an answer about an unknown item is an error.

    Raises:
        DataError: If answers are about unknown items and that is refused, or most of them are.
    """
    questions = frozenset(known)
    orphans = [row for row in placed if row.answer.item_id not in questions]
    answers = [row.answer for row in placed if row.answer.item_id in questions]
    verdicts = decide(answers)
    orphaned = len({row.answer.item_id for row in orphans})
    if orphans:
        _check_orphans(orphans[0], orphaned, orphaned + len(verdicts), refuse_orphans)
    before = decide(answer for answer in answers if answer.round < last_round)
    return Labelling(
        verdicts=verdicts,
        counts=_counts(answers, verdicts, before, last_round, orphaned),
        first_orphan=orphans[0].place if orphans else None,
    )


def _check_orphans(first: Placed, orphaned: int, items: int, refuse: bool) -> None:
    what = f"{first.place}: expected an item of the questions, got {first.answer.item_id!a}"
    if refuse:
        raise DataError(
            f"{what}; {orphaned} of {items} annotated items are unknown. "
            "Remove those lines, or let --orphans report count them."
        )
    if 2 * orphaned > items:
        raise DataError(
            f"{what}; {orphaned} of {items} annotated items are unknown, more than half. These annotations "
            "were made on another chat, under another privacy key, or before the filters became stricter: "
            "bring back what changed, or point to the annotations that belong to these questions."
        )


def _counts(
    answers: Sequence[Answer],
    verdicts: Mapping[str, Verdict],
    before: Mapping[str, Verdict],
    last_round: int,
    orphaned: int,
) -> dict[str, Any]:
    labels = Counter(verdict.label for verdict in verdicts.values())
    rounds: dict[int, dict[str, dict[str, Label]]] = {}
    for answer in answers:
        rounds.setdefault(answer.round, {}).setdefault(answer.annotator, {})[answer.item_id] = answer.label
    agreement = round_agreement(rounds)
    changed = [(old.label, verdicts[item_id].label) for item_id, old in before.items()]
    return {
        "round": last_round,
        "items": len(verdicts),
        **{label.value: labels[label] for label in Label},
        "disagreed": labels[None],
        "kappa": _rounded(agreement.kappa),
        "alpha": _rounded(agreement.alpha),
        "annotators": {
            name: {"answers": len(rounds[agreement.round][name]), "kappa": _rounded(kappa)}
            for name, kappa in agreement.annotators.items()
            if agreement.round is not None
        },
        "kappa_round": agreement.round,
        "kappa_items": agreement.items,
        # A disagreement that the last round settled is no change of mind: counted apart.
        "flipped": sum(old is not None and old != new for old, new in changed),
        "settled": sum(old is None and new is not None for old, new in changed),
        "orphaned": orphaned,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


def label_questions(questions: pa.Table, verdicts: Mapping[str, Verdict], splits: Mapping[str, str]) -> pa.Table:
    """The questions with a label that is scored, in their order, with label, agreement and split."""
    decided = [verdicts.get(item_id) for item_id in questions["item_id"].to_pylist()]
    keep = [verdict is not None and verdict.label in SCORED for verdict in decided]
    kept = [verdict for verdict, is_kept in zip(decided, keep, strict=True) if verdict and is_kept]
    table = questions.filter(pa.array(keep, pa.bool_()))
    columns: dict[str, list[Any]] = {
        "label": [verdict.label.value for verdict in kept if verdict.label is not None],
        "agreement": [verdict.agreement for verdict in kept],
        "split": [splits[conversation] for conversation in table["conversation"].to_pylist()],
    }
    for name, values in columns.items():
        table = table.append_column(LABELLED.field(name), pa.array(values, LABELLED.field(name).type))
    return table


def conversation_starts(questions: pa.Table) -> dict[str, int | None]:
    """Time of the first question of each conversation (None where one of its questions has no time).

    Over all questions, not the labelled ones, so that another round cannot move a conversation.
    """
    starts: dict[str, int | None] = {}
    rows = zip(questions["conversation"].to_pylist(), questions["timestamp"].to_pylist(), strict=True)
    for conversation, timestamp in rows:
        earlier = starts.get(conversation, timestamp)
        starts[conversation] = None if timestamp is None or earlier is None else min(earlier, timestamp)
    return starts


def check_splits(labelled: pa.Table) -> dict[str, int]:
    """Rows per split.

    Raises:
        DataError: If train or test lacks needed or not_needed items: nothing could be learned or scored.
    """
    cells = Counter(zip(labelled["split"].to_pylist(), labelled["label"].to_pylist(), strict=True))
    conversations = len(labelled["conversation"].unique())
    for split in ("train", "test"):
        for label in SCORED:
            if not cells[split, label.value]:
                raise DataError(
                    f"split {split}: expected items labelled {label.value}, got none "
                    f"({labelled.num_rows} items in {conversations} conversations in all). "
                    "Annotate more conversations, or change --test, --test-from or --validation."
                )
    return {split: sum(cells[split, label.value] for label in SCORED) for split in SPLITS}


def _instant(_context: click.Context, _option: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        instant = datetime.fromisoformat(value)
    except ValueError as error:
        raise click.BadParameter(f"expected a date or time in ISO 8601, as 2023-10-01, got {value!a}.") from error
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--questions", type=InputFile, required=True, help="Questions to label (parquet).")
@click.option("--annotations", type=InputFolder, required=True, help="Folder of round_N/<annotator>.jsonl.")
@click.option("--round", "last_round", type=click.IntRange(min=1), required=True, help="How many rounds count.")
@click.option("--validation", type=click.FloatRange(0, 1), required=True, help="Share of the rest that validates.")
@click.option("--test", type=click.FloatRange(0, 1), required=True, help="Share of all conversations kept for test.")
@click.option(
    "--test-from", callback=_instant, help="Test conversations from this date on (UTC), in place of the share --test."
)
@click.option(
    "--orphans",
    type=click.Choice(["report", "refuse"]),
    default="report",
    show_default=True,
    help="Answers whose question is gone: count them and go on, or stop.",
)
@click.option("--out", type=OutputFile, required=True, help="Labelled questions to write (parquet).")
@click.option("--metrics", type=OutputFile, required=True, help="Counts and agreement to write (JSON).")
def main(
    questions: Path,
    annotations: Path,
    last_round: int,
    validation: float,
    test: float,
    test_from: datetime | None,
    orphans: str,
    out: Path,
    metrics: Path,
) -> None:
    """Write the labelled questions with their splits, and how far the annotators agree."""
    table = read_rows(questions, QUESTIONS)
    placed, torn = read_logs(annotations, last_round)
    labelling = combine(placed, table["item_id"].to_pylist(), last_round, orphans == "refuse")
    splits = split_conversations(conversation_starts(table), validation=validation, test=test, test_from=test_from)
    labelled = label_questions(table, labelling.verdicts, splits)
    sizes = check_splits(labelled)
    write_rows(out, labelled, LABELLED)
    write_json(metrics, {**labelling.counts, **sizes})
    for place in torn:
        click.echo(f"{place}: the last line is cut short; left out. The next answer repairs it.", err=True)
    if labelling.first_orphan:
        count = labelling.counts["orphaned"]
        click.echo(f"{labelling.first_orphan}: the first of {count} items that are no longer questions.", err=True)
    parts = ", ".join(f"{split} {count:,}" for split, count in sizes.items())
    click.echo(f"{out}: {labelled.num_rows:,} of {labelling.counts['items']:,} annotated items labelled ({parts})")


if __name__ == "__main__":
    main()
