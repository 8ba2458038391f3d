r"""Score every text turn: is it a question? One judge a run; see chatladder/judges for the criteria of each kind.

Images, files, system notices and the like get no score. A judge of kind endpoint asks a model: its key comes from the
environment, its answers are cached in .chatladder/judges, and a run that was stopped resumes where it stopped.

Example:
    python -m stages.score --judge rules --kind rules --seed 0 --turns data/turns.parquet --out data/scores/rules
    python -m stages.score --judge local --kind endpoint --base-url http://localhost:8000/v1 --model qwen3-8b \
        --prompt chatladder/judges/prompts/question.txt --structured auto --answer-limit max_tokens \
        --max-answer-tokens 64 --max-characters 2000 --temperature 0 --concurrency 16 --requests-per-minute 0 \
        --tokens-per-minute 0 --max-requests 20000 --max-tokens 20000000 --timeout 60 --max-retries 5 \
        --turns data/turns.parquet --out data/scores/local
"""

from functools import partial
from pathlib import Path
from typing import Any

import click

from chatladder.distributed import workers
from chatladder.io.console import SETTINGS, DataError, InputFile, OutputFolder, example, stoppable
from chatladder.io.options import options_of
from chatladder.io.rows import TURNS, Rows
from chatladder.judges.llm import LlmSettings
from chatladder.judges.scoring import ENDPOINT, JUDGES, write_scores


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--judge", required=True, help="Name of the judge.")
@click.option("--kind", type=click.Choice([*JUDGES, ENDPOINT]), required=True, help="Kind of the judge.")
@options_of(LlmSettings, "given", partial=True)
@click.option("--turns", type=InputFile, required=True, help="Turns to score (parquet).")
@click.option("--out", type=OutputFolder, required=True, help="Folder of scores and their cost to write.")
@stoppable("Answers of a model are kept in .chatladder/judges; the same command resumes.")
def main(judge: str, kind: str, given: dict[str, Any], turns: Path, out: Path) -> None:
    """Write one judge's score of every text turn, from 0 to 10.

    Apart from --seed, the options between --kind and --turns are for judges of kind endpoint.
    """
    rows = Rows(turns, TURNS)
    try:
        with workers() as pool:
            scores = write_scores(rows, kind, given, out, pool, partial(click.echo, err=True))
    except DataError as error:
        raise DataError(f"{judge}, {turns}: {error.message}") from error
    click.echo(f"{out}: {len(scores):,} of {rows.num_rows:,} turns scored by {judge}, mean {scores.mean():.2f}")


if __name__ == "__main__":
    main()
