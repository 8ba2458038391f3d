r"""Score every text turn: is it a question? One judge a run; see stages/judges for what each kind looks at.

Images, files, system notices and the like get no score.

Example:
    python -m stages.score --judge rules --kind rules --seed 0 --turns data/turns.parquet \
        --out data/scores/rules.parquet --counts data/counts/rules.json
"""

from pathlib import Path

import click
import numpy as np
import pyarrow as pa

from stages.cli import SETTINGS, DataError, InputFile, OutputFile, example
from stages.files import write_json
from stages.judges import JUDGES
from stages.judges.turns import TextTurns
from stages.rows import SCORES, TURNS, Rows, row_writer


def score_turns(turns: TextTurns, kind: str, seed: int) -> np.ndarray:
    """Score text turns.

    Args:
        turns: In the order of the chat.
        kind: A name in stages.judges.JUDGES.
        seed: For judges that draw at random.

    Returns:
        A score from 0 to 10 for each turn, in order; shape ``(turns,)``.

    Raises:
        DataError: If there is no text to score, or the judge cannot score it.
    """
    if not turns.num_rows:
        raise DataError("expected text turns to score, got none.")
    scores = np.asarray(JUDGES[kind].score(turns, seed), dtype=np.float32)
    # A judge that answers out of range or not at all is a bug in it; it must never pass as a score.
    if scores.shape != (turns.num_rows,) or not ((scores >= 0) & (scores <= 10)).all():
        raise ValueError(f"judge {kind}: expected {turns.num_rows} scores from 0 to 10.")
    return scores


def write_scores(turns: TextTurns, scores: np.ndarray, out: Path) -> None:
    """Write rows of SCORES: one per text turn, in their order."""
    start = 0
    with row_writer(out, SCORES) as writer:
        for ids in turns.ids():
            own = scores[start : start + len(ids)]
            writer.write(pa.table({"turn_id": ids, "score": own}, schema=SCORES))
            start += len(ids)


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--judge", required=True, help="Name of the judge.")
@click.option("--kind", type=click.Choice(list(JUDGES)), required=True, help="What it looks at.")
@click.option("--seed", type=int, required=True, help="Seed of what a judge draws at random.")
@click.option("--turns", type=InputFile, required=True, help="Turns to score (parquet).")
@click.option("--out", type=OutputFile, required=True, help="Scores to write (parquet).")
@click.option("--counts", type=OutputFile, required=True, help="What it cost to write (JSON).")
def main(judge: str, kind: str, seed: int, turns: Path, out: Path, counts: Path) -> None:
    """Write one judge's score, 0 to 10, of every text turn."""
    rows = Rows(turns, TURNS)
    texts = TextTurns(rows)
    try:
        scores = score_turns(texts, kind, seed)
    except DataError as error:
        raise DataError(f"{turns}: {error.message}") from error
    write_scores(texts, scores, out)
    write_json(counts, {"scored": len(scores)})
    click.echo(f"{out}: {len(scores):,} of {rows.num_rows:,} turns scored by {judge}, mean {scores.mean():.2f}")


if __name__ == "__main__":
    main()
