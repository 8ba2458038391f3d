r"""Speed and memory of LoRA training on one GPU, at the shape of a real rung: random weights, nothing downloaded.

Run it in the repository's root on a machine with an otherwise idle GPU.

Example:
    python -m benchmarks.chip --shape qwen2_7b --rows 16 --steps 8
    python -m benchmarks.chip --shape qwen2_7b --variant plain --tokens-per-forward 2048 --tokens-per-forward 8192
    python -m benchmarks.chip --shape tiny --steps 3

Weights are drawn on the device in bfloat16. An adapter of rank 64 goes on every linear layer, and rows of random tokens
with a shared prefix are trained by ``chatladder.training.trainer.fit``, as every rung is. Variants take turns, each on
a fresh model. "tokens/s" counts all tokens of the rows, "read" those that pass through the model, without padding: a
shared prefix is read once. Operations are those of the tokens read, by the usual count: a frozen weight costs two
operations a token forward and two backward, an adapter's weight six; the output layer counts only for the answers;
attention and the recomputation of checkpointing do not count. They are compared with the chip's data sheet and with the
rate of a large matrix product in the same run. Memory is the peak of tensors on the GPU (without one: of the process),
and the count of ``chatladder.models.memory`` for the largest forward pass. Prints a Markdown table. Without a GPU the
shape ``tiny`` shows that the script works, and its speeds mean nothing.
"""

import gc
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from random import Random
from statistics import median
from time import perf_counter
from typing import Any, cast

import click

from benchmarks.peers.trl_sft import forget_peak, memory
from chatladder.io.console import SETTINGS, example
from chatladder.models import memory as needs
from chatladder.models.devices import prepare_torch

#: Sizes of published models, in transformers' names; ``tiny`` is not one of them.
SIZES = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "intermediate_size",
    "vocab_size",
    "tie_word_embeddings",
)
SHAPES = {
    "qwen2_7b": (3584, 28, 28, 4, 18944, 152064, False),
    "qwen2_0_5b": (896, 24, 14, 2, 4864, 151936, True),
    "tiny": (64, 2, 4, 2, 128, 512, True),
}
#: Dense bfloat16 operations a second in 10^12, by the end of the driver's name for the GPU: NVIDIA's data sheets.
PEAKS = {
    r"H200": 989.0,
    r"H100 80GB HBM3": 989.0,
    r"H100 PCIe": 756.0,
    r"A100\S*( 80GB PCIe| PCIE)?\S*": 312.0,
    r"L4": 121.0,
    r"RTX 4090": 165.0,
}
#: The changes of each variant: fields of TrainSettings, and switches of torch.
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "checkpointing": {"gradient_checkpointing": True},
    # The adapter is float32: on most GPUs its products are far slower than the base's unless they may be rounded.
    "TF32": {"tf32": True},
    # Deterministic torch fills new memory, so that reading it uninitialised is noticed.
    "memory not filled": {"fill": False},
}
TERA, GIB = 1e12, 2**30


@dataclass
class Runs:
    """Measurements of one variant's runs.

    Attributes:
        variant: The name.
        tokens_per_forward: The most tokens in one forward pass.
        speeds: Tokens of the rows a second, one for each timed step.
        read: Tokens a second that pass through the model.
        rates: Operations a second, in 10^12.
        most: Peak bytes, one for each run.
        counted: Bytes that ``memory`` counts.
        loss: The loss of the first step, in nats an answer token.
        failed: True if memory ran out.
    """

    variant: str
    tokens_per_forward: int
    speeds: list[float] = field(default_factory=list)
    read: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    most: list[int] = field(default_factory=list)
    counted: int = 0
    loss: float = 0.0
    failed: bool = False


class Reader:
    """Counts the tokens that pass through a model, without padding, and without waiting for the device."""

    def __init__(self, model: Any) -> None:
        self.counts: list[Any] = [0]
        model.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, _model: Any, _given: Any, inputs: dict[str, Any]) -> None:
        ids, mask = inputs["input_ids"], inputs.get("attention_mask")
        self.counts[-1] = self.counts[-1] + (ids.numel() if mask is None else mask[:, -ids.shape[1] :].sum())

    def next_step(self) -> None:
        """Start a new count for the next step."""
        self.counts.append(0)


def peak_of(name: str) -> float | None:
    """Return the peak of a GPU in 10^12 operations a second; None if the table lacks it."""
    return next((peak for pattern, peak in PEAKS.items() if re.search(rf"\b{pattern}$", name)), None)


def make_rows(count: int, vocabulary: int, lengths: tuple[int, int, int, int], seed: int) -> list[Any]:
    """Return rows of random tokens.

    Args:
        count: The number of rows.
        vocabulary: The number that all tokens are below.
        lengths: Lengths of the shared prefix, of the shortest and the longest individual part, and of the answer.
        seed: The seed of tokens and lengths.
    """
    from chatladder.models.encoding import Example

    draw = Random(seed)
    shared, shortest, longest, answer = lengths

    def tokens(number: int) -> list[int]:
        return [draw.randrange(1, vocabulary) for _ in range(number)]

    beginning = tokens(shared)
    return [Example(beginning + tokens(draw.randint(shortest, longest)), tokens(answer), 0) for _ in range(count)]


def build(shape: str, dtype: str) -> Any:
    """Return a model of random weights, drawn on the device where it will run."""
    import torch
    from transformers import AutoModelForCausalLM, Qwen2Config

    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        return AutoModelForCausalLM.from_config(
            Qwen2Config.from_dict(dict(zip(SIZES, SHAPES[shape], strict=True))), dtype=getattr(torch, dtype)
        )


@contextmanager
def switched(tf32: bool = False, fill: bool = True) -> Iterator[None]:
    """Set torch's switches inside the block, and restore them afterwards."""
    import torch

    matmul, deterministic = torch.backends.cuda.matmul, cast(Any, torch.utils.deterministic)
    before = matmul.allow_tf32, deterministic.fill_uninitialized_memory
    matmul.allow_tf32, deterministic.fill_uninitialized_memory = tf32, fill
    try:
        yield
    finally:
        matmul.allow_tf32, deterministic.fill_uninitialized_memory = before


def shape_of(model: Any) -> needs.Shape:
    """Return the model's shape for ``memory``."""
    shape = needs.read_config(model.config.to_dict())
    assert shape is not None
    return shape


def operations(shape: needs.Shape, lora_r: int, read: int, answers: int) -> int:
    """Return the operations of a training step with so many tokens read and predicted (see the module)."""
    blocks = shape.num_hidden_layers * sum(inputs * outputs for inputs, outputs in needs.linears(shape).values())
    output = shape.hidden_size * shape.vocab_size
    return read * (4 * blocks + 6 * needs.adapter_parameters(shape, lora_r)) + answers * 4 * output


def counted_bytes(model: Any, steps: Sequence[Sequence[Any]], settings: Any) -> int:
    """Return the bytes that ``memory`` counts for an adapted model's largest forward pass, a shared prefix once."""
    from chatladder.models.batches import shared_length
    from chatladder.training.trainer import split_rows

    largest, rows = 0, 1
    for step in steps:
        shared = 0 if settings.gradient_checkpointing else shared_length(model, [row.prompt for row in step])
        size = settings.per_device_train_batch_size
        for part in split_rows(step, size, settings.tokens_per_forward, shared):
            own = [len(row.prompt) - shared + len(row.answer) - 1 for row in part]
            tokens = shared + max(own) * len(own)
            if tokens > largest:
                largest, rows = tokens, len(part)
    frozen = [weight for weight in model.parameters() if not weight.requires_grad]
    training = needs.Training(
        rows,
        ceil(largest / rows),
        settings.lora_r,
        checkpointing=settings.gradient_checkpointing,
        dropout=settings.lora_dropout > 0,
    )
    gpu = model.device.type == "cuda"
    weights = sum(weight.numel() * weight.element_size() for weight in frozen)
    return needs.training_bytes(shape_of(model), weights, training, model.dtype.itemsize) + (
        0 if gpu else needs.RUNTIME
    )


def train_once(runs: Runs, shape: str, dtype: str, examples: Sequence[Any], settings: Any, warm_up: int) -> None:
    """Train a fresh model and add the measurements to the variant's runs."""
    import torch

    from chatladder.models.batches import batches_by_length
    from chatladder.models.encoding import Encoded
    from chatladder.training.adapters import trainable
    from chatladder.training.trainer import fit

    gpu = torch.cuda.is_available()
    model = trainable(build(shape, dtype), settings, shape)
    steps = batches_by_length(examples, settings.per_device_train_batch_size, Random(settings.seed))
    runs.counted = counted_bytes(model, steps, settings)
    reader = Reader(model)
    ends, losses = [0.0], []

    def log(name: str, _step: int, value: float) -> None:
        if name == "train/loss":
            if gpu:
                torch.cuda.synchronize()
            losses.append(value)
            ends.append(perf_counter())
            reader.next_step()

    forget_peak()
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    ends[0] = perf_counter()
    fit(model, 0, Encoded(list(examples), [], [], 0), Encoded([], [], [], 0), settings, log)
    runs.most.append(torch.cuda.max_memory_allocated() if gpu else memory("VmHWM"))
    runs.loss = losses[0]
    for number, rows in enumerate(steps):
        if number < warm_up:
            continue
        seconds, read = ends[number + 1] - ends[number], int(reader.counts[number])
        runs.speeds.append(sum(len(row.prompt) + len(row.answer) for row in rows) / seconds)
        runs.read.append(read / seconds)
        answers = sum(len(row.answer) for row in rows)
        runs.rates.append(operations(shape_of(model), settings.lora_r, read, answers) / seconds / TERA)


def product_rate(size: int, dtype: str) -> float:
    """Return the operations a second, in 10^12, of a product of two square matrices on this machine: median of 20."""
    import torch

    gpu = torch.cuda.is_available()
    place: dict[str, Any] = {"device": "cuda" if gpu else "cpu", "dtype": getattr(torch, dtype)}
    left, right = torch.randn(size, size, **place), torch.randn(size, size, **place)
    rates = []
    for _ in range(25):
        begun = perf_counter()
        torch.mm(left, right)
        if gpu:
            torch.cuda.synchronize()
        rates.append(2 * size**3 / (perf_counter() - begun) / TERA)
    return median(rates[5:])  # the first ones warm up


def row_of(runs: Runs, peak: float | None, product: float) -> str:
    """Return a line of the table."""
    start = f"| {runs.variant} | {runs.tokens_per_forward:,} |"
    counted = runs.counted / GIB
    if runs.failed:
        return f"{start} out of memory | | | | | | {counted:.2f} | |"
    rate, speeds = median(runs.rates), runs.speeds
    share = f"{rate / peak:.0%}" if peak else ""
    return (
        f"{start} {median(speeds):,.0f} ({min(speeds):,.0f}-{max(speeds):,.0f}) | {median(runs.read):,.0f} | "
        f"{rate:.3g} | {share} | {rate / product:.0%} | {max(runs.most) / GIB:.2f} | {counted:.2f} | {runs.loss:.3f} |"
    )


def run_all(
    variants: Sequence[str], budgets: Sequence[int], rounds: int, given: dict[str, Any], *, shape: str, **more: Any
) -> list[Runs]:
    """Run all variants at all sizes of a forward pass, in turns; one that runs out of memory is not tried again."""
    import torch

    from chatladder.training.settings import TrainSettings

    found = [Runs(variant, budget) for budget in budgets for variant in variants]
    for number in range(rounds):
        for runs in found:
            changes = dict(VARIANTS[runs.variant])
            switches = {name: changes.pop(name) for name in ("tf32", "fill") if name in changes}
            settings = TrainSettings(**{**given, **changes, "tokens_per_forward": runs.tokens_per_forward})
            if not runs.failed:
                click.echo(f"round {number + 1}: {runs.variant}, {runs.tokens_per_forward:,} tokens", err=True)
                try:
                    with switched(**switches):
                        train_once(runs, shape, settings=settings, **more)
                except torch.OutOfMemoryError:
                    runs.failed = True
            # A failed model is released only here, after its traceback.
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
    return found


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--shape", type=click.Choice(tuple(SHAPES)), required=True, help="Of the model.")
@click.option("--variant", "variants", type=click.Choice(tuple(VARIANTS)), multiple=True, help="Repeat; default: all.")
@click.option(
    "--tokens-per-forward", "budgets", type=click.IntRange(64), multiple=True, default=(4096,), help="Repeat."
)
@click.option("--rows", type=click.IntRange(2), default=16, show_default=True, help="Rows a step.")
@click.option("--steps", type=click.IntRange(2), default=8, show_default=True, help="Steps of each run.")
@click.option("--warm-up", type=click.IntRange(0), default=2, show_default=True, help="Of them not timed.")
@click.option("--rounds", type=click.IntRange(1), default=1, show_default=True, help="Runs of each variant.")
@click.option(
    "--lengths",
    type=click.IntRange(1),
    nargs=4,
    default=(128, 48, 400, 3),
    show_default=True,
    help="Tokens that all rows begin with, of the shortest and the longest own part, and of an answer.",
)
@click.option("--lora-r", type=click.IntRange(1), default=64, show_default=True, help="Rank of the adapter.")
@click.option(
    "--lora-dropout", type=click.FloatRange(0, 1, max_open=True), default=0.05, show_default=True, help="Its."
)
@click.option("--dtype", type=click.Choice(("bfloat16", "float32")), default="bfloat16", show_default=True)
@click.option("--product", type=click.IntRange(1), help="Side of the matrices whose product is timed; 8192, or 512.")
@click.option("--peak", type=click.FloatRange(0, min_open=True), help="The chip's 10^12 operations a second.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of rows and adapter.")
def main(
    shape: str,
    variants: tuple[str, ...],
    budgets: tuple[int, ...],
    rows: int,
    steps: int,
    warm_up: int,
    rounds: int,
    lengths: tuple[int, int, int, int],
    lora_r: int,
    lora_dropout: float,
    dtype: str,
    product: int | None,
    peak: float | None,
    seed: int,
) -> None:
    """Print tokens a second, share of the chip's peak and memory of LoRA training at a real shape."""
    prepare_torch()
    import torch

    from chatladder.models.loading import quiet

    gpu = torch.cuda.is_available()
    if not gpu and shape != "tiny":
        raise click.UsageError(f"--shape: expected tiny where there is no GPU, got {shape}.")
    if warm_up >= steps:
        raise click.UsageError(f"--warm-up: expected less than the {steps} --steps, got {warm_up}.")
    if lengths[1] > lengths[2]:
        raise click.UsageError(f"--lengths: expected a shortest part below the longest, got {lengths[1:3]}.")
    quiet()
    name = torch.cuda.get_device_name() if gpu else "no GPU"
    peak = peak or peak_of(name)
    rate = product_rate(product or (8192 if gpu else 512), dtype)
    examples = make_rows(rows * steps, SHAPES[shape][SIZES.index("vocab_size")], lengths, seed)
    given = {
        "learning_rate": 2.0e-5,
        "num_train_epochs": 1,
        "per_device_train_batch_size": rows,
        "gradient_accumulation_steps": 1,
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "lora_r": lora_r,
        "lora_alpha": 16.0,
        "lora_dropout": lora_dropout,
        "target_modules": ("all-linear",),
        "max_length": 1 << 20,
        "seeds": (seed,),
    }
    more = {"dtype": dtype, "examples": examples, "warm_up": warm_up}
    found = run_all(variants or tuple(VARIANTS), budgets, rounds, given, shape=shape, **more)
    known = f"peak {peak:,.0f} TFLOP/s" if peak else "a peak that is not known here (--peak)"
    mean = sum(len(row.prompt) + len(row.answer) for row in examples) / len(examples)
    click.echo(
        f"{shape} on {name}, {dtype}; {known}, {rate:.3g} TFLOP/s by a product of matrices. "
        f"{rows} rows of {mean:.0f} tokens a step, {lengths[0]} of them shared.\n"
    )
    click.echo("| variant | tokens a pass | tokens/s (range) | read/s | TFLOP/s | of peak | of product |", nl=False)
    click.echo(" GiB at most | counted | first loss |")
    click.echo("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for runs in found:
        click.echo(row_of(runs, peak, rate))
    if not gpu:
        click.echo("\nNo GPU: this shows that the script works, and nothing about speed.")


if __name__ == "__main__":
    main()
