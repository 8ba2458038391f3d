r"""Turn the annotation logs into one label and one split for each question.

Example:
    python -m stages.label --questions data/questions.parquet --annotations data/annotations --round 2 \
        --validation 0.05 --test 0.25 --out data/labelled.parquet --metrics metrics/annotation.json \
        --agreement metrics/plots/rounds.csv --label-sets data/label_sets.parquet \
        --rewrites data/rewrites.parquet

The votes are pooled: each annotator's answer of the latest round counts, and the label with the most votes wins. An
item with a tie, or with adjudicators who differ, is left out and counted as ``disagreed``; an adjudicator's decision
stands unless the answers of later rounds alone form a majority. Only items labelled needed or not_needed are written.
Besides the label, ``check_label`` is the label by the answers that no model asked for, without those to a review's
suspects.

Label sets are pairs of labels of the same items: annotator against annotator, and round against the rounds before it.
For a review, the metrics also give the number of reviewed labels that changed. The plot data is the agreement by round.
Rewrites are the needed questions as people wrote them out, with the one that counts marked (see
``chatladder.labels.rewrites``); the metrics give the agreement of two people who wrote out the same question.
"""

from pathlib import Path

import click

from chatladder.io.console import (
    NOTHING_KEPT,
    SETTINGS,
    InputFile,
    InputFolder,
    OutputFile,
    example,
    printable,
    stoppable,
)
from chatladder.io.files import write_csv, write_json
from chatladder.io.options import options_of
from chatladder.io.rows import LABEL_SETS, LABELLED, QUESTIONS, REWRITES, read_rows, write_rows
from chatladder.labels.labelling import ROUND_COLUMNS, LabelSettings, label, round_rows
from chatladder.labels.review import flips_in_words


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--questions", type=InputFile, required=True, help="Questions to label (parquet).")
@click.option("--annotations", type=InputFolder, required=True, help="Folder of round_N/<annotator>.jsonl.")
@options_of(LabelSettings, "settings")
@click.option("--out", type=OutputFile, required=True, help="Labelled questions to write (parquet).")
@click.option("--metrics", type=OutputFile, required=True, help="Counts and agreement to write (JSON).")
@click.option("--agreement", type=OutputFile, help="Agreement by round to write, for a plot (CSV).")
@click.option("--label-sets", "sets", type=OutputFile, help="Pairs of label sets to write (parquet).")
@click.option("--rewrites", type=OutputFile, help="Rewrites by people to write (parquet).")
@stoppable(NOTHING_KEPT)
def main(
    questions: Path,
    annotations: Path,
    settings: LabelSettings,
    out: Path,
    metrics: Path,
    agreement: Path | None,
    sets: Path | None,
    rewrites: Path | None,
) -> None:
    """Write the labelled questions with their splits, and the agreement of the annotators."""
    labelled = label(read_rows(questions, QUESTIONS), annotations, settings)
    write_rows(out, labelled.rows, LABELLED)
    write_json(metrics, labelled.metrics())
    counts, logs = labelled.labelling.counts, labelled.labelling.logs
    if agreement:
        write_csv(agreement, ROUND_COLUMNS, round_rows(logs.answers, counts["rounds"]))
    if sets:
        write_rows(sets, labelled.label_sets, LABEL_SETS)
    if rewrites:
        write_rows(rewrites, labelled.rewrites.rows, REWRITES)
    for place in labelled.torn:
        click.echo(
            f"{printable(place)}: the last line is incomplete and left out. The next answer repairs it.", err=True
        )
    if logs.first_orphan:
        place = printable(logs.first_orphan)
        click.echo(f"{place}: the first of {counts['orphaned']} items that are no longer questions.", err=True)
    for number, flips in labelled.reviews.items():
        click.echo(flips_in_words(number, flips))
    parts = ", ".join(f"{split} {count:,}" for split, count in labelled.sizes.items())
    click.echo(f"{out}: {labelled.rows.num_rows:,} of {counts['items']:,} annotated items labelled ({parts})")


if __name__ == "__main__":
    main()
