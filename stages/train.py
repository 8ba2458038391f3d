r"""Fit a LoRA adapter, or all weights, to one base model of the ladder.

Example:
    python -m stages.train --base data/bases/small --alpaca data/alpaca --learning-rate 4.0e-3 --num-train-epochs 3 \
        --per-device-train-batch-size 32 --gradient-accumulation-steps 1 --warmup-steps 10 --weight-decay 0 \
        --lora-r 16 --lora-alpha 32 --lora-dropout 0.05 --target-modules all-linear --max-length 1400 --seed 0 \
        --out data/adapters/small --curves data/curves/small

A run that was killed goes on from its last checkpoint, under .chatladder/checkpoints, if it is started again with the
same settings; on a CPU it then ends in the same weights. One that ends removes what other settings left for its out.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from chatladder.io.console import SETTINGS, DataError, InputFolder, OutputFolder, example, stoppable
from chatladder.io.files import check_replaceable, whole_folder
from chatladder.models.digests import CODE, described, digest
from chatladder.training.checkpoints import FOLDER, SECONDS, Checkpoints
from chatladder.training.processes import launch
from chatladder.training.settings import TrainSettings, train_options

#: The files of an adapter, or of a model whose weights were all trained; the first pattern is of a file that both have.
TRAINED = (
    "*config.json",
    "adapter_model.safetensors",
    "model*.safetensors",
    "model.safetensors.index.json",
)
CURVES = ("settings.json", "metrics.json", "plots/metrics/*.tsv")


def train(base: Path, alpaca: Path, options: dict[str, Any], out: Path, curves: Path, seconds: float) -> str:
    """Fit, then write the adapter and its curves; gives one line about what was done.

    Raises:
        DataError: If there is nothing to learn, or the training diverges; neither folder is then written.
    """
    from chatladder.models.encoding import encode_rows
    from chatladder.models.loading import load, read_rung, within_context
    from chatladder.models.prompts import read_alpaca
    from chatladder.training.curves import Curves
    from chatladder.training.methods import trainable, write
    from chatladder.training.processes import Processes
    from chatladder.training.training import fit

    check_replaceable(out, *TRAINED)  # before hours of training, not after
    check_replaceable(curves, *CURVES)
    settings = TrainSettings(**options)
    rows = {split: read_alpaca(alpaca / f"{split}.json") for split in ("train", "validation")}
    if not rows["train"]:
        raise DataError(f"{alpaca / 'train.json'}: expected rows to learn, got none.")
    processes = Processes()
    model, tokenizer = load(base)
    room = within_context(model, settings.max_length)
    encoded = {split: encode_rows(tokenizer, part, room) for split, part in rows.items()}
    model = trainable(model, settings, read_rung(base)["name"])
    run = digest([options, described([base, alpaca, Path(__file__), *CODE])])
    # Those of one adapter have one beginning, so that whoever finishes it finds what other settings left.
    place = f"{out.name}-{digest(str(out.absolute()))[:8]}"
    kept = Checkpoints(FOLDER / f"{place}-{run}.safetensors", seconds)
    logged: list[tuple[str, int, float]] = []
    model = fit(
        model,
        tokenizer.pad_token_id,
        encoded["train"],
        encoded["validation"],
        settings,
        lambda *value: logged.append(value),
        kept,
        processes,
    )
    weights = processes.weights_of(model)
    if not processes.main:
        return ""
    # Opened this late, so that a run that is killed leaves no half-filled folders beside the outs.
    with whole_folder(out, *TRAINED) as adapter, whole_folder(curves, *CURVES) as folder, Curves(folder) as log:
        write(processes.accelerator.unwrap_model(model), adapter, weights)
        log.settings(asdict(settings))
        for value in logged:
            log(*value)
    kept.clear()
    return (
        f"{len(rows['train']):,} rows, {log.steps:,} steps, last loss {log.last('train/loss'):.3f} "
        f"(deciding token {log.last('train/deciding_loss'):.3f}), "
        f"{encoded['train'].shortened:,} prompts shortened to {room} tokens"
    )


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--base", type=InputFolder, required=True, help="Base folder that stages.base wrote.")
@click.option("--alpaca", type=InputFolder, required=True, help="Folder that stages.to_alpaca wrote.")
@train_options
@click.option("--out", type=OutputFolder, required=True, help="Adapter folder to write.")
@click.option("--curves", type=OutputFolder, required=True, help="Folder of loss curves to write.")
@click.option(
    "--checkpoint-seconds",
    type=click.FloatRange(0),
    default=SECONDS,
    show_default=True,
    help="Time between checkpoints, from which a run that was stopped goes on; 0 for one after each step.",
)
@stoppable(f"The same command goes on from the last checkpoint in {FOLDER}, or starts over if there is none yet.")
def main(base: Path, alpaca: Path, out: Path, curves: Path, checkpoint_seconds: float, **options: Any) -> None:
    """Fit a LoRA adapter, or all weights, and write the loss curves.

    With LAUNCHER="accelerate launch --num_processes 2" in the environment, several processes share the work.
    """
    if said := train(base, alpaca, options, out, curves, checkpoint_seconds):
        click.echo(f"{out}: {said}")


if __name__ == "__main__":
    launch("stages.train")
    main()
