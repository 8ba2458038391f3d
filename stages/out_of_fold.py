r"""Answer each labelled question with an adapter that was not trained on its conversation: k-fold LoRA on one rung.

Such answers owe nothing to the item's own label, so they are evidence for or against it. Conversations of the test
split take no part, neither as training rows nor as questions.

Example:
    python -m stages.out_of_fold --base data/bases/small --labelled data/labelled.parquet --folds 3 --language zh \
        --answer text --prompt-seed 0 --learning-rate 4.0e-3 --num-train-epochs 3 --per-device-train-batch-size 32 \
        --gradient-accumulation-steps 1 --warmup-steps 10 --weight-decay 0 --lora-r 16 --lora-alpha 32 \
        --lora-dropout 0.05 --target-modules all-linear --max-length 1400 --seed 0 \
        --out data/predictions/out_of_fold/small.parquet

A fold that is done is kept under .chatladder/folds until the last one is, so a run that was stopped goes on there.
``CHATLADDER_ENGINE=ray`` trains and answers several folds at once, on a cluster (see docs/how-to/cluster.md).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import numpy as np

from chatladder.distributed import Workers, remote, workers
from chatladder.io.console import SETTINGS, InputFile, InputFolder, OutputFile, example, stoppable
from chatladder.io.rows import PREDICTIONS, write_rows
from chatladder.labels.folds import check_folds, folds_of, reviewable
from chatladder.models.digests import CODE
from chatladder.models.prompts import ANSWER_FORMS, LANGUAGES, render_row
from chatladder.training.kept_folds import KeptFolds
from chatladder.training.settings import TrainSettings, train_options

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chatladder.models.spread import Place


class Fold(NamedTuple):
    """What one adapter learns and answers.

    Attributes:
        number: From 1.
        learned: Alpaca rows.
        asked: Alpaca rows, of other conversations.
    """

    number: int
    learned: list[dict[str, Any]]
    asked: list[dict[str, Any]]


def alpaca_row(item: dict[str, Any], prompt: dict[str, Any]) -> dict[str, Any]:
    """One labelled question as ``stages.to_alpaca`` writes it."""
    rendered = render_row(item, **prompt)
    return {
        "item_id": item["item_id"],
        "instruction": rendered.instruction,
        "output": rendered.options[item["label"]],
        "options": rendered.options,
    }


def fold_rows(rows: Sequence[dict[str, Any]], places: "NDArray[np.int64]") -> list[Fold]:
    """Alpaca rows by the fold that each is in; each fold is answered by one that learned the others."""
    return [
        Fold(
            number,
            [row for row, place in zip(rows, places, strict=True) if place != own],
            [row for row, place in zip(rows, places, strict=True) if place == own],
        )
        for number, own in enumerate(np.unique(places), start=1)
    ]


def answer_fold(
    base: Path, rows: Sequence[dict[str, Any]], items: Sequence[dict[str, Any]], options: dict[str, Any]
) -> list[dict[str, Any]]:
    """Fit an adapter to some alpaca rows, and answer other questions with it.

    Args:
        base: Base folder of the rung.
        rows: What is learned.
        items: Alpaca rows of the questions that are answered; their labels are not looked at.
        options: Fields of ``TrainSettings``.

    Returns:
        Rows of ``PREDICTIONS``, in the order of ``items``.

    Raises:
        DataError: If the training diverges.
    """
    from chatladder.models.answers import prediction_rows
    from chatladder.models.encoding import Encoded, encode_rows
    from chatladder.models.loading import load, read_rung, within_context
    from chatladder.models.prompts import Prompt
    from chatladder.models.scoring import probabilities, score
    from chatladder.training.methods import trainable
    from chatladder.training.training import fit

    # A fold has no validation rows to stop by: it trains all epochs.
    settings = TrainSettings(**{**options, "early_stopping_patience": 0})
    model, tokenizer = load(base)
    adapted = trainable(model, settings, read_rung(base)["name"])
    encoded = encode_rows(tokenizer, rows, within_context(model, settings.max_length))
    fit(adapted, tokenizer.pad_token_id, encoded, Encoded([], [], [], 0), settings, lambda *_: None)
    prompts = [Prompt(item["instruction"], item["options"]) for item in items]
    scores, _ = score(adapted.eval(), tokenizer, prompts, settings.max_length)
    return prediction_rows(items, probabilities(scores))


def answer_there(fold: Fold, base: Path, options: dict[str, Any], place: "Place") -> list[dict[str, Any]]:
    """On a worker: ``answer_fold``."""
    place.check()
    return answer_fold(base, fold.learned, fold.asked, options)


def answered(
    base: Path, folds: Sequence[Fold], options: dict[str, Any], pool: Workers | None
) -> Iterator[tuple[Fold, list[dict[str, Any]]]]:
    """Folds and their answers, as they are done; by workers, or without them one after another in this process."""
    if pool is None:
        for fold in folds:
            yield fold, answer_fold(base, fold.learned, fold.asked, options)
    elif folds:
        from chatladder.models.spread import Place, need_of

        own = base.resolve()
        for number, given in pool.as_done(answer_there, folds, own, options, Place(own), need=need_of(base)):
            yield folds[number], given


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--base", type=InputFolder, required=True, help="Base folder that stages.base wrote.")
@click.option("--labelled", type=InputFile, required=True, help="Labelled questions (parquet).")
@click.option("--folds", type=click.IntRange(2, 50), required=True, help="How many adapters are trained.")
@click.option("--language", type=click.Choice(LANGUAGES), required=True, help="Language of the prompt.")
@click.option(
    "--answer", type=click.Choice(ANSWER_FORMS), required=True, help="Form of the answer: needed, or B: needed."
)
@click.option("--prompt-seed", type=int, required=True, help="Seed of the order of the options.")
@train_options
@click.option("--out", type=OutputFile, required=True, help="Predictions to write (parquet).")
@stoppable("Folds that are done are kept in .chatladder/folds; the same command goes on.")
def main(
    base: Path, labelled: Path, folds: int, language: str, answer: str, prompt_seed: int, out: Path, **options: Any
) -> None:
    """Write, for every labelled question outside the test split, what a model that never saw its label says."""
    items = reviewable(labelled)
    places = folds_of([item["conversation"] for item in items], folds, options["seed"])
    check_folds([item["label"] for item in items], places, labelled)
    prompt = {"language": language, "answer": answer, "seed": prompt_seed}
    rows = [alpaca_row(item, prompt) for item in items]
    cut = fold_rows(rows, places)
    kept = KeptFolds(out, (base, Path(__file__), *CODE), options)
    answers: dict[str, dict[str, Any]] = {}

    def take(fold: Fold, given: list[dict[str, Any]], said: str) -> None:
        answers.update((row["item_id"], row) for row in given)
        told = f"{len(fold.learned):,} learned, {len(fold.asked):,} asked, {said}"
        click.echo(f"fold {fold.number} of {len(cut)}: {told}")

    missing = []
    for fold in cut:
        if (given := kept.get(fold.learned, fold.asked)) is None:
            missing.append(fold)
        else:
            take(fold, given, "kept from a run that was stopped")
    with workers() as any_pool:
        pool = remote(any_pool)
        for fold, given in answered(base, missing, options, pool):
            kept.put(fold.learned, fold.asked, given)
            take(fold, given, "done")
    write_rows(out, [answers[item["item_id"]] for item in items], PREDICTIONS)
    kept.clear()
    click.echo(f"{out}: {len(items):,} answers by {len(cut)} adapters, none to a question it was trained on")


if __name__ == "__main__":
    main()
