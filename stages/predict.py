r"""Answer questions with one rung of the ladder: untouched, or with its adapter.

An untouched model answers every question, labelled or not, so that another round of annotation costs it nothing.
A tuned one answers the questions of the splits that it was not trained on. ``CHATLADDER_ENGINE=ray`` spreads the
questions over a cluster (see docs/how-to/cluster.md).

Example:
    python -m stages.predict --base data/bases/small --questions data/questions.parquet --language zh \
        --answer text --seed 0 --max-length 1400 --out data/predictions/vanilla/small.parquet
    python -m stages.predict --base data/bases/small --adapter data/adapters/small \
        --questions data/labelled.parquet --splits validation --splits test --language zh \
        --answer text --seed 0 --max-length 1400 --out data/predictions/tuned/small.parquet
"""

from pathlib import Path

import click

from chatladder.distributed import workers
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
from chatladder.io.options import options_of
from chatladder.io.rows import LABELLED, PREDICTIONS, QUESTIONS, SPLITS, read_rows, write_rows
from chatladder.models.prompts import PredictSettings, PromptSettings, render_row
from chatladder.models.scoring import prediction_rows, score_rung


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--base", type=InputFolder, required=True, help="Base folder that stages.base wrote.")
@click.option("--adapter", type=InputFolder, help="Adapter folder that stages.train wrote; else the untouched model.")
@click.option("--questions", type=InputFile, required=True, help="Questions, labelled or not (parquet).")
@click.option("--splits", type=click.Choice(SPLITS), multiple=True, help="Answer this split alone; repeat it.")
@options_of(PromptSettings, "prompt")
@options_of(PredictSettings, "predict")
@click.option("--max-length", type=click.IntRange(64), required=True, help="Most tokens of prompt and answer.")
@click.option("--out", type=OutputFile, required=True, help="Predictions to write (parquet).")
@stoppable(NOTHING_KEPT)
def main(
    base: Path,
    adapter: Path | None,
    questions: Path,
    splits: tuple[str, ...],
    prompt: PromptSettings,
    predict: PredictSettings,
    max_length: int,
    out: Path,
) -> None:
    """Write each option's probability for every question, or for those of some splits."""
    items = read_rows(questions, LABELLED if splits else QUESTIONS).to_pylist()
    if splits:
        items = [row for row in items if row["split"] in splits]
    if not items:
        where = f" in {', '.join(splits)}" if splits else ""
        raise DataError(f"{questions}: expected questions{where}, got none. Choose other --splits or label more.")
    prompts = [render_row(item, prompt) for item in items]
    with workers() as pool:
        scores, shortened, room = score_rung(base, adapter, prompts, max_length, pool, predict.orders)
    write_rows(out, prediction_rows(items, scores), PREDICTIONS)
    click.echo(f"{out}: {len(items):,} answers, {shortened:,} prompts shortened to {room} tokens")


if __name__ == "__main__":
    main()
