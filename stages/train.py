r"""Train a LoRA adapter for each seed, or all weights, on one base model of the ladder.

The adapter of the first of ``--seeds`` is in the folder ``--out`` itself, each further one in its own folder inside,
``seed_<n>``; the curves are laid out likewise. An adapter is trained on the base model of its own seed if the base has
one, or else on the first. Small models (at most 10 million parameters) are trained with one thread each on a CPU,
several in parallel if there are processors for them; ``OMP_NUM_THREADS`` limits their number, without effect on the
weights.

Example:
    python -m stages.train --base data/bases/small --alpaca data/alpaca --learning-rate 4.0e-3 --num-train-epochs 3 \
        --per-device-train-batch-size 32 --gradient-accumulation-steps 1 --warmup-steps 10 --weight-decay 0 \
        --lora-r 16 --lora-alpha 32 --lora-dropout 0.05 --target-modules all-linear --max-length 1400 --seeds 0,1,2 \
        --out data/adapters/small --curves data/curves/small

A run that was killed resumes from the last checkpoint of each seed, under .chatladder/checkpoints, if it is started
again with the same settings, and skips seeds that are done; on a CPU it then ends with the same weights. A run that
ends removes what runs with other settings left for the same output.
"""

from pathlib import Path

import click

from chatladder.io.console import SETTINGS, InputFolder, OutputFolder, example, stoppable
from chatladder.io.options import options_of
from chatladder.training.checkpoints import FOLDER, SECONDS
from chatladder.training.processes import launch
from chatladder.training.settings import TrainSettings


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--base", type=InputFolder, required=True, help="Base folder that stages.base wrote.")
@click.option("--alpaca", type=InputFolder, required=True, help="Folder that stages.to_alpaca wrote.")
@options_of(TrainSettings, "settings")
@click.option(
    "--out", type=OutputFolder, required=True, help="Adapter folder to write; those of further seeds go inside."
)
@click.option("--curves", type=OutputFolder, required=True, help="Folder of loss curves to write.")
@click.option(
    "--checkpoint-seconds",
    type=click.FloatRange(0),
    default=SECONDS,
    show_default=True,
    help="Seconds between checkpoints, from which a stopped run resumes; 0 for one after each step.",
)
@stoppable(f"The same command resumes from the last checkpoints in {FOLDER}, or starts over if there are none yet.")
def main(base: Path, alpaca: Path, settings: TrainSettings, out: Path, curves: Path, checkpoint_seconds: float) -> None:
    """Train a LoRA adapter per seed, or all weights, and write the loss curves.

    With LAUNCHER="accelerate launch --num_processes 2" in the environment, several processes share the work of each
    seed.
    """
    from chatladder.training.runs import train_rung

    if done := train_rung(base, alpaca, settings, out, curves, checkpoint_seconds):
        click.echo(f"{out}: {done}")


if __name__ == "__main__":
    launch("stages.train")
    main()
