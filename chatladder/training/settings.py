"""The hyper-parameters of training: a record, and options of a command that ``${train}`` of params.yaml fills in."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

METHODS = ("lora", "full")
OPTIMIZERS = ("adamw_torch", "paged_adamw_8bit")


@dataclass(frozen=True)
class TrainSettings:
    """Hyper-parameters, named as transformers and peft name them.

    Attributes:
        learning_rate: Of AdamW, at the top of the schedule.
        num_train_epochs: Times that every row is seen.
        per_device_train_batch_size: Rows in one forward pass at most.
        gradient_accumulation_steps: So many times as many rows make one step, whatever the number of processes.
        warmup_steps: Steps of rising learning rate.
        weight_decay: Of AdamW.
        lora_r: Rank of the adapter.
        lora_alpha: The adapter is scaled by ``lora_alpha / lora_r``.
        lora_dropout: Share of the adapter's inputs that are dropped in training.
        target_modules: Names of linear layers, or ``all-linear`` alone.
        max_length: Most tokens of a prompt with its answer; longer ones lose their oldest history.
        seed: Of the adapter's weights, the dropout and the order of the batches.
        method: ``lora`` trains an adapter, ``full`` all weights.
        use_rslora: Scale the adapter by ``lora_alpha / sqrt(lora_r)`` instead (arXiv 2312.03732).
        use_dora: Learn the length of each weight's columns apart from their direction (arXiv 2402.09353).
        loraplus_lr_ratio: How much faster the adapter's second matrices learn than the first (arXiv 2402.12354); 0
            leaves that out.
        optim: ``adamw_torch``, or ``paged_adamw_8bit`` where bitsandbytes is installed.
        deciding_weight: How often the token that decides counts in the loss; the other answer tokens count once.
        early_stopping_patience: Epochs without a lower validation loss of the deciding token after which training
            stops; the weights of the best epoch are kept. 0 trains all epochs and keeps the last.
        gradient_checkpointing: Forget activations and compute them anew: a third more work, far less memory.
        packing: Put the rows of a forward pass into one sequence, with no padding.
        tokens_per_forward: Tokens in one forward pass at most; a batch of more is split, with the same gradient.
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
    method: str = "lora"
    use_rslora: bool = False
    use_dora: bool = False
    loraplus_lr_ratio: float = 0.0
    optim: str = "adamw_torch"
    deciding_weight: float = 1.0
    early_stopping_patience: int = 0
    gradient_checkpointing: bool = False
    packing: bool = False
    tokens_per_forward: int = 4096


_OPTIONS = (
    click.option(
        "--learning-rate", type=click.FloatRange(0, 1, min_open=True), required=True, help="Highest rate of AdamW."
    ),
    click.option("--num-train-epochs", type=click.IntRange(1), required=True, help="Times that each row is seen."),
    click.option("--per-device-train-batch-size", type=click.IntRange(1), required=True, help="Rows a forward pass."),
    click.option(
        "--gradient-accumulation-steps", type=click.IntRange(1), required=True, help="So many such batches a step."
    ),
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
    click.option(
        "--method",
        type=click.Choice(METHODS),
        default="lora",
        show_default=True,
        help="Train an adapter, or all weights.",
    ),
    click.option("--use-rslora/--no-use-rslora", default=False, help="Scale the adapter by alpha / sqrt(r)."),
    click.option("--use-dora/--no-use-dora", default=False, help="Learn lengths apart from directions (DoRA)."),
    click.option(
        "--loraplus-lr-ratio",
        type=click.FloatRange(0),
        default=0,
        help="LoRA+: how much faster the adapter's second matrices learn; 0 leaves it out.",
    ),
    click.option(
        "--optim", type=click.Choice(OPTIMIZERS), default="adamw_torch", show_default=True, help="The optimizer."
    ),
    click.option(
        "--deciding-weight",
        type=click.FloatRange(0, min_open=True),
        default=1,
        show_default=True,
        help="How often the token that decides counts in the loss.",
    ),
    click.option(
        "--early-stopping-patience",
        type=click.IntRange(0),
        default=0,
        help="Epochs without a better validation loss after which training stops; 0 trains them all.",
    ),
    click.option(
        "--gradient-checkpointing/--no-gradient-checkpointing",
        default=False,
        help="Compute activations twice instead of keeping them.",
    ),
    click.option("--packing/--no-packing", default=False, help="Put the rows of a pass into one sequence."),
    click.option(
        "--tokens-per-forward",
        type=click.IntRange(64),
        default=4096,
        show_default=True,
        help="Most tokens in one forward pass; larger batches are split, with the same gradient.",
    ),
)


def train_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command an option for each field of ``TrainSettings``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
