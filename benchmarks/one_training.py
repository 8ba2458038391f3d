"""One training by chatladder, measured as ``benchmarks/peers/trl_sft.py`` measures one by TRL: a line of JSON.

    python -m benchmarks.one_training --rows rows.jsonl --settings settings.json [--profile]

Rows are token ids, {"prompt": [...], "completion": [...]}. Settings: ``model`` (a folder), ``dtype``, ``max_steps``,
and fields of ``TrainSettings``.
"""

import contextlib
import json
import os
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import click

from benchmarks.peers.trl_sft import forget_peak, memory

#: Kinds of torch operations by parts of their names; the first match counts.
KINDS = {
    "matrix products": ("mm", "linear", "bmm", "addmm", "matmul"),
    "attention": ("attention", "softmax"),
    "dropout": ("dropout", "bernoulli", "random", "_Dropped"),
    "copies and casts": ("copy", "cat", "contiguous", "clone", "fill", "zero", "empty", "to"),
}


def read(path: Path) -> Any:
    """Return the examples in a file of rows."""
    from chatladder.models.encoding import Example

    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Example(row["prompt"], row["completion"], 0) for row in rows]


def kind_of(name: str) -> str:
    """Return the kind of a torch operation."""
    return next((kind for kind, parts in KINDS.items() if any(part in name for part in parts)), "all else")


def shares(profile: Any) -> dict[str, float]:
    """Return the share of processor time by kind of operation, largest first."""
    times: dict[str, float] = {}
    for event in profile.key_averages():
        kind = kind_of(event.key.removeprefix("aten::"))
        times[kind] = times.get(kind, 0) + event.self_cpu_time_total
    total = sum(times.values())
    return {kind: time / total for kind, time in sorted(times.items(), key=lambda pair: -pair[1])}


def measure(rows: Path, given: dict[str, Any], *, profile: bool) -> dict[str, Any]:
    """Train and return the measurements; sizes in bytes, times in seconds, losses in nats an answer token."""
    from chatladder.models.devices import prepare_torch

    prepare_torch()
    import torch
    from transformers import AutoModelForCausalLM

    from chatladder.models.encoding import Encoded
    from chatladder.training.adapters import trainable
    from chatladder.training.settings import TrainSettings
    from chatladder.training.trainer import fit

    settings = dict(given)
    folder, dtype, steps = (settings.pop(name) for name in ("model", "dtype", "max_steps"))
    settings["target_modules"] = tuple(settings["target_modules"].split(","))
    seed = settings.pop("seed")
    chosen = TrainSettings(**settings, seeds=(seed,), num_train_epochs=1, max_length=1 << 20)
    examples = read(rows)[: steps * chosen.per_device_train_batch_size * chosen.gradient_accumulation_steps]
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), use_safetensors=True)
    model = trainable(model.to("cuda" if torch.cuda.is_available() else "cpu"), chosen, "base")
    losses: list[float] = []
    ends: list[float] = []

    def log(name: str, _: int, value: float) -> None:
        if name == "train/loss":
            losses.append(value)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            ends.append(perf_counter())

    before = memory("VmRSS")
    apart = forget_peak()
    with torch.profiler.profile() if profile else contextlib.nullcontext() as found:
        start = perf_counter()
        fit(model, 0, Encoded(examples, [], [], 0), Encoded([], [], [], 0), chosen, log)
    return {
        "tokens": sum(len(row.prompt) + len(row.answer) for row in examples),
        "seconds": ends[-1] - start,
        "step_seconds": [end - begin for begin, end in zip([start, *ends], ends, strict=False)],
        "losses": losses,
        "rss_before_bytes": before,
        "peak_rss_bytes": memory("VmHWM"),
        "peak_is_of_training": apart,
        "peak_gpu_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        **({"shares": shares(found)} if profile else {}),
    }


@click.command()
@click.option("--rows", type=click.Path(exists=True, path_type=Path), required=True, help="JSON lines of token ids.")
@click.option("--settings", type=click.Path(exists=True, path_type=Path), required=True, help="JSON of the settings.")
@click.option("--profile", is_flag=True, help="Say which operations the time goes to; slower.")
def main(rows: Path, settings: Path, profile: bool) -> None:
    """Print one line of JSON."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with contextlib.redirect_stdout(sys.stderr):
        measured = measure(rows, json.loads(settings.read_text(encoding="utf-8")), profile=profile)
    click.echo(json.dumps(measured))


if __name__ == "__main__":
    main()
