"""The hyper-parameters of LoRA as options of a command: ``${train}`` of params.yaml fills them in."""

from collections.abc import Callable
from typing import Any

import click

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


def lora_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command an option for each field of ``LoraSettings``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
