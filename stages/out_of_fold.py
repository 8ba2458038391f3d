r"""Answer each labelled question with an adapter that was not trained on its conversation: k-fold LoRA on one rung.

Such answers do not depend on the item's own label, so they are evidence for or against it. Conversations of the test
split are excluded, both as training rows and as questions. The adapters are trained as ``stages.train`` trains the
rung's own: with the sections ``train`` and ``ladder.<rung>.train`` of params.yaml, but only with the first seed.

Example:
    python -m stages.out_of_fold --params params.yaml --rung small --base data/bases/small \
        --labelled data/labelled.parquet --folds 3 --max-length 1400 --language zh --answer text --seed 0 \
        --out data/predictions/out_of_fold/small.parquet

Finished folds are stored in .chatladder/folds until all are finished, so an interrupted run resumes after them. Small
models are trained on the CPU with one thread each, several folds at once if there are enough cores.
``CHATLADDER_ENGINE=ray`` trains and answers several folds at once on a cluster (see docs/how-to/cluster.md).
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from chatladder.distributed import workers
from chatladder.io.console import SETTINGS, InputFile, InputFolder, OutputFile, example, stoppable
from chatladder.io.options import options_of
from chatladder.io.params import read_settings
from chatladder.io.rows import write_rows
from chatladder.labels.folds import check_folds, folds_of, reviewable
from chatladder.models.kept import CODE
from chatladder.models.prompts import PredictSettings, PromptSettings, alpaca_row
from chatladder.training.checkpoints import KeptFolds
from chatladder.training.runs import answer_folds, cut_folds
from chatladder.training.settings import TrainSettings
from chatladder.vocabulary import prediction_schema


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--params", type=InputFile, required=True, help="Params file with the sections train and ladder.")
@click.option("--rung", required=True, help="Key of the rung under ladder.")
@click.option("--base", type=InputFolder, required=True, help="Base folder that stages.base wrote.")
@click.option("--labelled", type=InputFile, required=True, help="Labelled questions (parquet).")
@click.option("--folds", type=click.IntRange(2, 50), required=True, help="How many adapters are trained.")
@click.option("--max-length", type=click.IntRange(64), required=True, help="Most tokens of prompt and answer.")
@options_of(PromptSettings, "prompt")
@options_of(PredictSettings, "predict", only=("orders",))
@click.option("--out", type=OutputFile, required=True, help="Predictions to write (parquet).")
@stoppable("Folds that are done are kept in .chatladder/folds; the same command goes on.")
def main(
    params: Path,
    rung: str,
    base: Path,
    labelled: Path,
    folds: int,
    max_length: int,
    prompt: PromptSettings,
    predict: PredictSettings,
    out: Path,
) -> None:
    """Write, for every labelled question outside the test split, what a model that never saw its label says."""
    settings = read_settings(TrainSettings, params, "train", f"ladder.{rung}.train", max_length=max_length)
    items = reviewable(labelled)
    places = folds_of([item["conversation"] for item in items], folds, settings.seed)
    check_folds([item["label"] for item in items], places, labelled)
    cut = cut_folds([alpaca_row(item, prompt) for item in items], places)
    kept = KeptFolds(out, (base, *CODE), asdict(settings) | {"orders": predict.orders})
    answers: dict[str, dict[str, Any]] = {}
    with workers() as pool:
        for fold, rows, how in answer_folds(base, cut, settings, predict.orders, kept, pool):
            answers.update((row["item_id"], row) for row in rows)
            counts = f"{len(fold.learned):,} learned, {len(fold.asked):,} asked"
            click.echo(f"fold {fold.number} of {len(cut)}: {counts}, {how}")
    write_rows(out, [answers[item["item_id"]] for item in items], prediction_schema())
    kept.clear()
    click.echo(f"{out}: {len(items):,} answers by {len(cut)} adapters, none to a question it was trained on")


if __name__ == "__main__":
    main()
