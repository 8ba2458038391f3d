r"""Turn the annotation logs into one label and one split for each question.

Example:
    python -m stages.label --questions data/questions.parquet --annotations data/annotations --round 2 \
        --validation 0.05 --test 0.25 --out data/labelled.parquet --metrics metrics/annotation.json \
        --picked metrics/questions.json --plots metrics/plots

The latest round in which any annotator answered an item decides it: by what was adjudicated of that round, else by
majority of its annotators. A tie, or adjudicators who differ, leave the item out, counted as ``disagreed``. Only items
that end as needed or not_needed are written. Of a round that is a review, the metrics also say how many of the labels
that it looked at again turned over. The plots are agreement by round, and the way from raw lines to labels.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pyarrow as pa

from chatladder.evaluation.summary import FUNNEL_COLUMNS, ROUND_COLUMNS, Metrics, funnel_rows, read_metrics, round_rows
from chatladder.io.console import (
    NOTHING_KEPT,
    SETTINGS,
    DataError,
    InputFile,
    InputFolder,
    OutputFile,
    OutputFolder,
    example,
    printable,
    stoppable,
)
from chatladder.io.files import whole_folder, write_csv, write_json
from chatladder.io.rows import LABELLED, QUESTIONS, SPLITS, read_rows, write_rows
from chatladder.labels.review import flips_as_metrics, flips_by_round, flips_in_words
from chatladder.labels.split import split_conversations
from chatladder.labels.verdicts import SCORED, Labelling, Verdict, combine, read_adjudications, read_logs


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


def write_plots(folder: Path, picked: Path | None, labelling: Labelling, sizes: Mapping[str, int]) -> None:
    """Write ``rounds.csv``, and ``funnel.csv`` where it is known what was picked.

    Raises:
        DataError: If ``picked`` does not hold the counts of pick_questions.
    """
    counts = labelling.counts
    tables = {"rounds": (ROUND_COLUMNS, round_rows(labelling.logs.answers, counts["rounds"]))}
    if picked:
        tables["funnel"] = (FUNNEL_COLUMNS, funnel_rows(read_metrics(picked), Metrics(folder, {**counts, **sizes})))
    with whole_folder(folder, "rounds.csv", "funnel.csv") as temporary:
        for name, (columns, rows) in tables.items():
            write_csv(temporary / f"{name}.csv", columns, rows)


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
@click.option("--picked", type=InputFile, help="Counts that pick_questions wrote (JSON); needs --plots.")
@click.option("--plots", type=OutputFolder, help="Folder of plot data: rounds.csv, and with --picked funnel.csv.")
@stoppable(NOTHING_KEPT)
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
    picked: Path | None,
    plots: Path | None,
) -> None:
    """Write the labelled questions with their splits, and how far the annotators agree."""
    table = read_rows(questions, QUESTIONS)
    placed, torn = read_logs(annotations, last_round)
    adjudications, torn_adjudications = read_adjudications(annotations, last_round)
    known = table["item_id"].to_pylist()
    labelling = combine(placed, known, last_round, orphans == "refuse", adjudications)
    reviews = flips_by_round(annotations, last_round, labelling.logs)
    splits = split_conversations(conversation_starts(table), validation=validation, test=test, test_from=test_from)
    labelled = label_questions(table, labelling.verdicts, splits)
    sizes = check_splits(labelled)
    write_rows(out, labelled, LABELLED)
    turned = {str(number): flips_as_metrics(found) for number, found in reviews.items()}
    write_json(metrics, {**labelling.counts, "reviews": turned, **sizes})
    if plots:
        write_plots(plots, picked, labelling, sizes)
    for place in (*torn, *torn_adjudications):
        click.echo(f"{printable(place)}: the last line is cut short; left out. The next answer repairs it.", err=True)
    if labelling.logs.first_orphan:
        count = labelling.counts["orphaned"]
        place = printable(labelling.logs.first_orphan)
        click.echo(f"{place}: the first of {count} items that are no longer questions.", err=True)
    for number, found in reviews.items():
        click.echo(flips_in_words(number, found))
    parts = ", ".join(f"{split} {count:,}" for split, count in sizes.items())
    click.echo(f"{out}: {labelled.num_rows:,} of {labelling.counts['items']:,} annotated items labelled ({parts})")


if __name__ == "__main__":
    main()
