"""The hyper-parameters of training: a record, and options of a command that ``${train}`` of params.yaml fills in."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click


@dataclass(frozen=True)
class TrainSettings:
    """Hyper-parameters, named as transformers and peft name them.

    Attributes:
        learning_rate: Of AdamW, at the top of the schedule.
        num_train_epochs: Times that every row is seen.
        per_device_train_batch_size: Rows in one forward pass.
        gradient_accumulation_steps: Forward passes in one step.
        warmup_steps: Steps of rising learning rate.
        weight_decay: Of AdamW.
        lora_r: Rank of the adapter.
        lora_alpha: The adapter is scaled by ``lora_alpha / lora_r``.
        lora_dropout: Share of the adapter's inputs that are dropped in training.
        target_modules: Names of linear layers, or ``all-linear`` alone.
        max_length: Most tokens of a prompt with its answer; longer ones lose their oldest history.
        seed: Of the adapter's weights, the dropout and the order of the batches.
    """

    learning_rate: float
    num_train_epochs: int
    per_device_train_batch_size: int
    gradient_accumulation_steps: int
    warmup_steps: int
    weight_decay: float
    lora_r: int
    lora_alpha: float
    lora_dropout: float
    target_modules: tuple[str, ...]
    max_length: int
    seed: int


_OPTIONS = (
    click.option(
        "--learning-rate", type=click.FloatRange(0, 1, min_open=True), required=True, help="Highest rate of AdamW."
    ),
    click.option("--num-train-epochs", type=click.IntRange(1), required=True, help="Times that each row is seen."),
    click.option("--per-device-train-batch-size", type=click.IntRange(1), required=True, help="Rows a forward pass."),
    click.option("--gradient-accumulation-steps", type=click.IntRange(1), required=True, help="Forward passes a step."),
    click.option("--warmup-steps", type=click.IntRange(0), required=True, help="Steps of rising learning rate."),
    click.option("--weight-decay", type=click.FloatRange(0), required=True, help="Weight decay of AdamW."),
    click.option("--lora-r", type=click.IntRange(1), required=True, help="Rank of the adapter."),
    click.option(
        "--lora-alpha", type=click.FloatRange(0, min_open=True), required=True, help="Its scale, times its rank."
    ),
    click.option(
        "--lora-dropout", type=click.FloatRange(0, 1, max_open=True), required=True, help="Share of inputs it drops."
    ),
    click.option(
        "--target-modules",
        callback=lambda _context, _option, value: tuple(value.split(",")),
        required=True,
        # One option and not a repeated one: a rung's own value must replace the default, not add to it.
        help="all-linear, or layer names with commas between them: q_proj,v_proj.",
    ),
    click.option("--max-length", type=click.IntRange(64), required=True, help="Most tokens of prompt and answer."),
    click.option("--seed", type=int, required=True, help="Seed of adapter weights, dropout and order."),
)


def train_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command an option for each field of ``TrainSettings``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
