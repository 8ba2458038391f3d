"""The memory of one GPU if a rung's weights are sharded over several (FSDP, ZeRO-3): computed, not measured.

Example:
    python -m benchmarks.shards --catalogue qwen1_5 --rung qwen1_5_14b --rung qwen1_5_32b

The counts are those of ``chatladder.models.memory``, which a test compares with torch's memory on one device. Sharded
over the GPUs are the base's weights in bfloat16, and the adapter's float32 weights, gradients and states of AdamW. Each
GPU has in full:

- gathered: two layers, the current and the next, and one table of the vocabulary;
- activations: those of its rows in one forward pass, with checkpointing: each layer's input, one layer in full, its
  gradients, and the logits of the answers;
- a gigabyte for torch and its kernels.

A step's batch does not depend on the number of processes: each takes its share of the rows, as many in one pass as
``--tokens-per-forward`` allows. The process that writes the result gathers all weights once, in main memory, as much as
the base's; so does the one that loads them.
"""

from dataclasses import replace
from typing import NamedTuple

import click

from chatladder.cli.doctor.memory import training_of
from chatladder.io.console import SETTINGS, DataError, example
from chatladder.models.memory import (
    FLOAT,
    RUNTIME,
    Shape,
    Training,
    adapter_parameters,
    parameters,
    read_config,
    training_bytes,
)
from chatladder.presets import Catalogue, read

GIB = 2**30
#: Bytes of a bfloat16 number.
NUMBER = 2
#: Memory of common cards, in bytes, as they are sold: a few percent of it are never free.
CARDS = {"24 GB": 24 * 10**9, "40 GB": 40 * 10**9, "80 GB": 80 * 10**9}
FREE = 0.97


class Share(NamedTuple):
    """The memory of one of several GPUs, in bytes."""

    weights: int
    adapter: int
    gathered: int
    activations: int

    @property
    def total(self) -> int:
        """The sum, including torch and its kernels."""
        return sum(self) + RUNTIME


def rung_of(catalogue: Catalogue, rung: str) -> tuple[Shape, Training]:
    """Return the shape of a rung, and the settings that decide its memory; ``rows`` is its batch.

    Checkpointing is on, and AdamW's states are float32: the larger case, and the one that a launcher shards.

    Raises:
        DataError: If the catalogue lacks the rung, or its shape.
    """
    if rung not in catalogue.rungs:
        raise DataError(f"--rung: expected one of {', '.join(catalogue.rungs)}, got {rung}.")
    base = catalogue.rungs[rung]["base"]
    shape = read_config(catalogue.models.get(base.get("repo"), {}).get("config", {}))
    if shape is None:
        raise DataError(
            f"{rung}: expected a model of the hub whose shape {catalogue.name} knows, got {base['source']}."
        )
    train = {**catalogue.params["train"], **catalogue.rungs[rung]["train"]}
    training = training_of(train, catalogue.params["max_length"])
    return shape, replace(training, checkpointing=True, small_states=False)


def share(shape: Shape, training: Training, processes: int, tokens: int) -> Share:
    """Return the memory of each of ``processes`` GPUs.

    Args:
        shape: The model's shape.
        training: The settings; their rows are those of all processes.
        processes: The number of GPUs that the weights are sharded over.
        tokens: The most tokens in one forward pass; a longer row is alone in its pass.
    """
    own = replace(training, rows=min(-(-training.rows // processes), max(1, tokens // training.length)))
    states = adapter_parameters(shape, own.lora_r, own.target_modules) * (3 * FLOAT + 2 * FLOAT)
    table = shape.vocab_size * shape.hidden_size
    tables = table * (1 if shape.tie_word_embeddings else 2)
    layer = (parameters(shape) - tables) // shape.num_hidden_layers
    return Share(
        weights=parameters(shape) * NUMBER // processes,
        adapter=states // processes,
        gathered=0 if processes == 1 else NUMBER * (2 * layer + table),
        activations=training_bytes(shape, 0, own, NUMBER) - states,
    )


def lines(catalogue: Catalogue, rung: str, processes: tuple[int, ...], tokens: int) -> list[str]:
    """Return the rows of the table, in GiB; the last column names the smallest card that suffices."""
    shape, training = rung_of(catalogue, rung)
    found = []
    for count in processes:
        one = share(shape, training, count, tokens)
        card = next((name for name, size in CARDS.items() if one.total <= FREE * size), "none")
        cells = " | ".join(f"{size / GIB:.1f}" for size in (*one, one.total))
        found.append(f"| {rung} | {count} | {cells} | {card} |")
    return found


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--catalogue", default="qwen1_5", show_default=True, help="Name or file of a ladder.")
@click.option("--rung", "rungs", multiple=True, required=True, help="Key of a rung; repeat it.")
@click.option("--processes", type=click.IntRange(1), multiple=True, default=(1, 2, 4, 8), show_default=True)
@click.option("--tokens-per-forward", type=click.IntRange(64), default=4096, show_default=True)
def main(catalogue: str, rungs: tuple[str, ...], processes: tuple[int, ...], tokens_per_forward: int) -> None:
    """Print what each GPU holds where so many share a rung, in GiB."""
    ladder = read(catalogue)
    click.echo("| rung | GPUs | weights | adapter | gathered | activations | each GPU | fits on |")
    click.echo("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for rung in rungs:
        click.echo("\n".join(lines(ladder, rung, processes, tokens_per_forward)))


if __name__ == "__main__":
    main()
