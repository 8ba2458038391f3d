"""Score every text turn: is it a question? One judge a run; see stages/judges for what each one looks at.

Images, files, system notices and the like get no score.

Example:
    python -m stages.score --judge rules --seed 0 --turns data/turns.parquet --out data/scores/rules.parquet
"""

from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.cli import SETTINGS, DataError, InputFile, OutputFile, example
from stages.judges import JUDGES
from stages.rows import SCORES, TURNS, read_rows, write_rows


def score_turns(turns: pa.Table, judge: str, seed: int) -> pa.Table:
    """Score the text turns, in the order they come.

    Args:
        turns: Rows of stages.rows.TURNS, of any kind.
        judge: A name in stages.judges.JUDGES.
        seed: For judges that draw at random.

    Returns:
        Rows of stages.rows.SCORES: one per text turn, 0 to 10.

    Raises:
        DataError: If there is no text to score, or the judge cannot score it.
    """
    spoken = turns.filter(pc.equal(turns["kind"], "text"))
    if not len(spoken):
        raise DataError(f"expected text turns to score, got none among {len(turns)} turns.")
    scores = np.asarray(JUDGES[judge].score(spoken, seed), dtype=np.float32)
    # A judge that answers out of range or not at all is a bug in it; it must never pass as a score.
    if scores.shape != (len(spoken),) or not ((scores >= 0) & (scores <= 10)).all():
        raise ValueError(f"judge {judge}: expected {len(spoken)} scores from 0 to 10.")
    return pa.table({"turn_id": spoken["turn_id"], "score": scores}, schema=SCORES)


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--judge", type=click.Choice(list(JUDGES)), required=True, help="Judge to score with.")
@click.option("--seed", type=int, required=True, help="Seed of what a judge draws at random.")
@click.option("--turns", type=InputFile, required=True, help="Turns to score (parquet).")
@click.option("--out", type=OutputFile, required=True, help="Scores to write (parquet).")
def main(judge: str, seed: int, turns: Path, out: Path) -> None:
    """Write one judge's score, 0 to 10, of every text turn."""
    rows = read_rows(turns, TURNS)
    try:
        scores = score_turns(rows, judge, seed)
    except DataError as error:
        raise DataError(f"{turns}: {error.message}") from error
    write_rows(out, scores, SCORES)
    click.echo(
        f"{out}: {len(scores):,} of {len(rows):,} turns scored by {judge}, mean {pc.mean(scores['score']).as_py():.2f}"
    )


if __name__ == "__main__":
    main()
