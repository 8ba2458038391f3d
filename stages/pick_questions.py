r"""Pick the turns that the judges classify as questions, each with the conversation before it.

--join combines the judges' scores into one verdict: all of them reach their own thresholds, more than half do, or their
mean reaches the mean of the thresholds. chatladder/questions/conversations.py defines conversations and windows:
earlier questions stay in the window, and an image or a file appears as "[image]" or "[file]". System notices, stickers
and the like (kind "other") and blank texts contain nothing that a question could refer to: they are in no window and
break no silence.

Each turn that is not a question is counted under the first reason that applies: not_text, too_short (without the
names it is addressed to), then below_<judge>, in the given order of the judges (or below_majority, or below_mean). With
--sample, only that many questions are drawn; the others are counted as not_drawn, and a larger sample later contains
the same ones.

Turns marked by hand (data/marks, see its README) give the precision and recall of the selection.

Example:
    python -m stages.pick_questions --turns data/turns.parquet --scores data/scores --counts data/counts \
        --judge rules=5 --judge punctuation=5 --join all \
        --min-characters 7 --window 12 --conversation-gap 1800 --max-conversation-turns 500 --reply-reach 86400 \
        --out data/questions.parquet --metrics metrics/questions.json
"""

from pathlib import Path

import click

from chatladder.io.console import (
    NOTHING_KEPT,
    SETTINGS,
    DataError,
    InputFile,
    InputFolder,
    OutputFile,
    example,
    stoppable,
)
from chatladder.io.files import write_json
from chatladder.io.options import options_of
from chatladder.io.rows import QUESTIONS, TURNS, Rows, row_writer
from chatladder.questions.marks import read_marks
from chatladder.questions.picking import Picking, draw, pick, read_costs, read_counts, summarize


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--turns", type=InputFile, required=True, help="Turns to pick from (parquet).")
@click.option("--scores", type=InputFolder, required=True, help="Folder of the judges' scores.")
@click.option("--counts", type=InputFolder, required=True, help="Folder of the counts of ingest and merge (JSON).")
@click.option("--marks", type=InputFolder, help="Folder of turns marked by hand.")
@options_of(Picking, "settings")
@click.option("--out", type=OutputFile, required=True, help="Questions to write (parquet).")
@click.option("--metrics", type=OutputFile, required=True, help="Counts of every step to write (JSON).")
@stoppable(NOTHING_KEPT)
def main(
    turns: Path, scores: Path, counts: Path, marks: Path | None, settings: Picking, out: Path, metrics: Path
) -> None:
    """Write the turns that the judges classify as questions, with the turns before them."""
    costs = read_costs(scores, settings.judge)
    rows = Rows(turns, TURNS)
    numbers = read_counts(counts, rows.num_rows)
    marked = read_marks(marks) if marks else None
    try:
        with row_writer(out, QUESTIONS) as writer:
            picked = pick(rows, scores, settings, writer, marked)
    except DataError as error:
        raise DataError(f"{turns}: {error.message}") from error
    if 0 < settings.sample < picked.questions:
        picked = draw(out, picked, settings.sample)
    write_json(metrics, summarize(picked, numbers, costs, marked.summary() if marked else None))
    click.echo(
        f"{out}: {picked.questions:,} questions of {rows.num_rows:,} turns in "
        f"{picked.conversations:,} conversations; left out: "
        + ", ".join(f"{reason} {count:,}" for reason, count in picked.left_out.items())
    )


if __name__ == "__main__":
    main()
