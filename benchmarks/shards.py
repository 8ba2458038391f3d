"""What one GPU needs where a rung's weights are spread over several (FSDP, ZeRO-3): counted, not measured.

Example:
    python -m benchmarks.shards --catalogue qwen1_5 --rung qwen1_5_14b --rung qwen1_5_32b

The counts are those of ``chatladder.models.memory``, which a test holds to what torch keeps on one device. Spread over
the GPUs are the base's weights in bfloat16, and of the adapter its float32 weights, gradients and states of AdamW. Each
GPU has for itself:

- gathered: two layers, the one at work and the next, and one table of the vocabulary;
- activations: of its rows in one forward pass, with checkpointing: each layer's input, one layer in full, its
  gradients, and the logits of the answers;
- a gigabyte for torch and its kernels.

A step's batch stays what it is however many processes share it: each takes its share of the rows, as many in one pass
as ``--tokens-per-forward`` lets through. The process that writes the result gathers all weights once, in main memory,
as large as the base's; so does the one that loads them.
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
#: Bytes of a number in bfloat16.
NUMBER = 2
#: Cards that are asked for, in bytes, as they are sold: a few percent of them are never free.
CARDS = {"24 GB": 24 * 10**9, "40 GB": 40 * 10**9, "80 GB": 80 * 10**9}
FREE = 0.97


class Share(NamedTuple):
    """What one of several GPUs holds, in bytes."""

    weights: int
    adapter: int
    gathered: int
    activations: int

    @property
    def total(self) -> int:
        """All of it, with torch and its kernels."""
        return sum(self) + RUNTIME


def rung_of(catalogue: Catalogue, rung: str) -> tuple[Shape, Training]:
    """The shape of a rung, and the settings that decide its memory; ``rows`` is its batch.

    With checkpointing, and with AdamW's states in float32: the larger case, and the one that a launcher spreads.

    Raises:
        DataError: If the catalogue does not have the rung, or not its shape.
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
    """What each of so many GPUs holds.

    Args:
        shape: Of the model.
        training: Settings; its rows are those of all processes.
        processes: GPUs that the weights are spread over.
        tokens: Most tokens in one forward pass; a row of more goes by itself.
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
    """Rows of the table, in GiB; the last column names the smallest card that holds it."""
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
