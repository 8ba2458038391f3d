r"""Training speed and memory compared with TRL's SFTTrainer: the same model, rows, batch, data type and LoRA.

Example:
    python -m venv /tmp/trl && /tmp/trl/bin/pip install torch==2.13.0 "trl>=1.16,<2" "peft>=0.21.2,<0.22"
    python -m benchmarks.train --base data/bases/smollm2_135m --alpaca data/alpaca --peer /tmp/trl/bin/python \
        --steps 3 --rounds 3

Each run is a separate process; the two sides take turns, so that other load on the machine affects both. TRL runs with
its defaults, except for the settings that make the two equal, and once more at its best on this machine: no
checkpointing, no autocast, batches of rows of similar length. Tokens are those of the rows, without padding, so tokens
per second compare useful work. Memory is the process's peak in training (resident set; on a GPU, of tensors), and that
before it, which is mostly the weights.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import click

from benchmarks.results import publish, save_option
from chatladder.io.console import InputFile, InputFolder, example

GIB = 2**30
PEER = Path(__file__).parent / "peers" / "trl_sft.py"
#: TRL's settings besides the shared ones: none, and those that suit a CPU best.
TRL = {
    "TRL, as it comes": {},
    "TRL, at its best": {
        "gradient_checkpointing": False,
        "bf16": False,
        "train_sampling_strategy": "group_by_length",
    },
}


def write_rows(base: Path, alpaca: Path, count: int, path: Path) -> None:
    """Write rows as token ids, in a seeded random order."""
    from random import Random

    from chatladder.models.encoding import encode_rows
    from chatladder.models.loading import load
    from chatladder.models.prompts import read_alpaca

    _, tokenizer = load(base)
    examples = encode_rows(tokenizer, read_alpaca(alpaca / "train.json"), 1400).examples
    if len(examples) < count:
        raise click.UsageError(f"{alpaca}/train.json: expected {count} rows for these steps, got {len(examples)}.")
    Random(0).shuffle(examples)
    rows = [json.dumps({"prompt": row.prompt, "completion": row.answer}) for row in examples[:count]]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def run(command: list[str], folder: Path, settings: dict[str, Any], *more: str) -> dict[str, Any]:
    """Run one training in a separate process."""
    path = folder / "settings.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    given = ["--rows", str(folder / "rows.jsonl"), "--settings", str(path), *more]
    ended = subprocess.run([*command, *given], capture_output=True, text=True, check=False)
    if ended.returncode:
        raise click.ClickException(f"{' '.join(command)} failed:\n{ended.stderr[-2000:]}")
    measured: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return measured


def product_throughput() -> float:
    """Return billions of floating-point operations a second of a matrix product of a layer's usual shape here."""
    from time import perf_counter

    import torch

    rows, inner, outer = 1024, 576, 1536
    left, right = torch.randn(rows, inner), torch.randn(outer, inner)
    rates = []
    for _ in range(20):
        start = perf_counter()
        for _ in range(10):
            torch.nn.functional.linear(left, right)
        rates.append(10 * 2 * rows * inner * outer / (perf_counter() - start) / 1e9)
    return median(rates)


def row_of(name: str, runs: list[dict[str, Any]], peer: list[dict[str, Any]]) -> str:
    """Return a line of the table: medians, the range, and ratios to the peer's median."""
    speeds = [each["tokens"] / each["seconds"] for each in runs]
    most = [each["peak_gpu_bytes"] or each["peak_rss_bytes"] for each in runs]
    speed, memory = median(speeds), median(most)
    speed_of_peer = median(each["tokens"] / each["seconds"] for each in peer)
    memory_of_peer = median(each["peak_gpu_bytes"] or each["peak_rss_bytes"] for each in peer)
    before = median(each["rss_before_bytes"] for each in runs) / GIB
    return (
        f"| {name} | {speed:,.0f} ({min(speeds):,.0f}-{max(speeds):,.0f}) | {speed / speed_of_peer:.2f} | "
        f"{memory / GIB:.2f} ({before:.2f} before) | {memory / memory_of_peer:.2f} | {runs[0]['losses'][0]:.3f} |"
    )


@click.command(epilog=example(__doc__))
@click.option("--base", type=InputFolder, required=True, help="Base folder that stages.base wrote.")
@click.option("--alpaca", type=InputFolder, required=True, help="Folder that stages.to_alpaca wrote.")
@click.option("--peer", type=InputFile, required=True, help="A Python that has trl.")
@click.option("--steps", default=3, show_default=True, help="Steps of each run.")
@click.option("--batch", default=16, show_default=True, help="Rows a step.")
@click.option("--rounds", default=3, show_default=True, help="Runs of each side.")
@click.option("--dtype", type=click.Choice(("float32", "bfloat16")), default="float32", show_default=True)
@click.option("--tokens-per-forward", default=1024, show_default=True, help="Of ours.")
@save_option
def main(
    base: Path,
    alpaca: Path,
    peer: Path,
    steps: int,
    batch: int,
    rounds: int,
    dtype: str,
    tokens_per_forward: int,
    save: Path | None,
) -> None:
    """Print tokens a second and memory of both, and where our time goes."""
    from chatladder.models.loading import place, read_rung

    shared = {
        "model": str(place(base, read_rung(base)).resolve()),
        "dtype": dtype,
        "max_steps": steps,
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": 1,
        "learning_rate": 5.0e-4,
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "lora_r": 16,
        "lora_alpha": 32.0,
        "lora_dropout": 0.05,
        "target_modules": "all-linear",
        "seed": 0,
    }
    ours = {**shared, "tokens_per_forward": tokens_per_forward}
    own = [sys.executable, "-m", "benchmarks.one_training"]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in ("chatladder", *TRL)}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_rows(base, alpaca, steps * batch, folder / "rows.jsonl")
        for number in range(rounds):
            for name, runs in found.items():
                command, settings = (
                    (own, ours) if name == "chatladder" else ([str(peer), str(PEER)], shared | TRL[name])
                )
                runs.append(run(command, folder, settings))
                speed = runs[-1]["tokens"] / runs[-1]["seconds"]
                click.echo(f"round {number + 1}, {name}: {speed:,.0f} tokens/s", err=True)
        profiled = run(own, folder, ours, "--profile")
    lines = ["| training | tokens/s (range) | speed | GiB at most | memory | first loss |"]
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: |")
    peers = found["TRL, as it comes"]
    lines += [row_of(name, runs, peers) for name, runs in found.items()]
    shares = ", ".join(f"{kind} {share:.0%}" for kind, share in profiled["shares"].items())
    product = f"A matrix product of 1,024 x 576 x 1,536 in float32 here: {product_throughput():,.0f} GFLOP/s."
    speed, of_peer = (
        median(each["tokens"] / each["seconds"] for each in runs) for runs in (found["chatladder"], peers)
    )
    text = "\n".join([*lines, "", f"Our time: {shares}. {product}"])
    publish(save, __spec__.name, text, figures={"speed": round(speed / of_peer, 2)})


if __name__ == "__main__":
    main()
