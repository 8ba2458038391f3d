r"""Answer questions with one rung of the ladder: untouched, or with its adapter.

An untouched model answers every question, labelled or not, so that it need not run again after another round of
annotation. A tuned model answers the questions of the splits that it was not trained on. A rung with several seeds
answers once with each, untouched or tuned, the first seed's rows first. Small models (at most 10 million parameters)
run on the CPU with one thread each, in as many processes as there are cores, or as ``OMP_NUM_THREADS`` sets; the
number does not change the answers. A larger model's finished batches are kept in .chatladder/answers until all are
done, so an interrupted run resumes after them.

Each option is scored. With ``--by generate`` the model generates its answer instead, as in arXiv 2405.02817, without
probabilities. ``CHATLADDER_ENGINE=ray`` distributes the questions over a cluster (see docs/how-to/cluster.md).

Example:
    python -m stages.predict --base data/bases/small --questions data/questions.parquet --language zh \
        --answer text --seed 0 --max-length 1400 --out data/predictions/vanilla/small.parquet
    python -m stages.predict --base data/bases/small --adapter data/adapters/small \
        --questions data/labelled.parquet --splits validation --splits test --language zh \
        --answer text --seed 0 --max-length 1400 --out data/predictions/tuned/small.parquet
"""

from pathlib import Path
from typing import Any

import click

from chatladder.distributed import workers
from chatladder.io.console import (
    ANSWERS_KEPT,
    SETTINGS,
    DataError,
    InputFile,
    InputFolder,
    OutputFile,
    example,
    stoppable,
)
from chatladder.io.options import options_of
from chatladder.io.rows import LABELLED, QUESTIONS, SPLITS, read_rows, write_rows
from chatladder.models.generating import generate_rung, named_rows
from chatladder.models.kept import clear_answers
from chatladder.models.loading import adapters_of, base_of, replicates
from chatladder.models.prompts import PredictSettings, PromptSettings, render_row
from chatladder.models.scoring import prediction_rows, score_rung
from chatladder.vocabulary import prediction_schema


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--base", type=InputFolder, required=True, help="Base folder that stages.base wrote.")
@click.option("--adapter", type=InputFolder, help="Adapter folder that stages.train wrote; else the untouched model.")
@click.option("--questions", type=InputFile, required=True, help="Questions, labelled or not (parquet).")
@click.option("--splits", type=click.Choice(SPLITS), multiple=True, help="Answer this split alone; repeat it.")
@options_of(PromptSettings, "prompt")
@options_of(PredictSettings, "predict")
@click.option("--max-length", type=click.IntRange(64), required=True, help="Most tokens of prompt and answer.")
@click.option("--out", type=OutputFile, required=True, help="Predictions to write (parquet).")
@stoppable(ANSWERS_KEPT)
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
    """Write what a rung answers to every question, or to those of some splits."""
    items = read_rows(questions, LABELLED if splits else QUESTIONS).to_pylist()
    if splits:
        items = [row for row in items if row["split"] in splits]
    if not items:
        where = f" in {', '.join(splits)}" if splits else ""
        raise DataError(f"{questions}: expected questions{where}, got none. Choose other --splits or label more.")
    prompts = [render_row(item, prompt) for item in items]
    models: list[tuple[int, Path, Path | None]]
    if adapter is None:
        models = [(seed, folder, None) for seed, folder in replicates(base).items()]
    else:
        models = [(seed, base_of(base, seed), folder) for seed, folder in adapters_of(adapter).items()]
    rows: list[dict[str, Any]] = []
    shortened = 0
    with workers() as pool:
        for seed, folder, tuned in models:
            if predict.by == "generate":
                texts, cut, room = generate_rung(folder, tuned, prompts, max_length, pool, out)
                rows += named_rows(items, prompts, texts, seed)
            else:
                scores, cut, room = score_rung(folder, tuned, prompts, max_length, pool, predict.orders, out)
                rows += prediction_rows(items, scores, seed)
            shortened += cut
    write_rows(out, rows, prediction_schema())
    clear_answers(out)
    asked = f" of {len(models)} seeds" if len(models) > 1 else ""
    unread = sum(not row["parsed"] for row in rows)
    none = f" ({unread:,} none of the options)" if predict.by == "generate" else ""
    click.echo(f"{out}: {len(rows):,} answers{asked}{none}, {shortened:,} prompts shortened to {room} tokens")


if __name__ == "__main__":
    main()
