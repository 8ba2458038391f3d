r"""From raw lines to questions on simulated chats of growing size: time and memory of every stage.

Example:
    python -m benchmarks.scale --lines 100000 --lines 1000000 --lines 10000000 --folder /tmp/scale

Each stage is a process of its own, as in ``dvc repro``. Time is the processor's (user and system), which other work on
the machine moves less than the clock's; both are printed. Memory is the process's largest resident set. The exponent
is the slope of log(seconds) against log(lines) between the smallest size and the largest.
"""

import json
import math
from pathlib import Path

import click

from benchmarks.to_questions import Cost, run, to_questions

SEED = "2405"
GIB = 2**30


def measure(lines: int, folder: Path) -> dict[str, Cost]:
    """Simulate a chat of so many lines below ``folder`` and take it to questions."""
    raw, out = folder / "raw", folder / "out"
    raw.mkdir(parents=True, exist_ok=True)
    chat = raw / "chat.txt"
    costs = {}
    made = ["--seed", SEED, "--truth", str(folder / "truth.jsonl"), "--out", str(chat)]
    costs["simulate"] = run("stages.app", "simulate", "--lines", str(lines), *made)
    size = chat.stat().st_size
    costs |= to_questions(raw, out)
    found = json.loads((out / "questions.json").read_text())
    click.echo(
        f"{lines:,} lines, {size / GIB:.2f} GiB: {found['turns']:,} turns, {found['questions']:,} questions", err=True
    )
    return costs


@click.command()
@click.option("--lines", "sizes", type=int, multiple=True, required=True, help="Size of a chat; repeat it.")
@click.option("--folder", type=click.Path(path_type=Path), required=True, help="Where the chats lie; needs the space.")
def main(sizes: tuple[int, ...], folder: Path) -> None:
    """Print time and memory of every stage at each size."""
    found = {lines: measure(lines, folder / str(lines)) for lines in sorted(sizes)}
    heads = " | ".join(f"{lines:,} lines" for lines in found)
    click.echo(f"| stage | {heads} | exponent | most memory |")
    click.echo(f"| --- |{' ---: |' * len(found)} ---: | ---: |")
    least, most = min(found), max(found)
    stages = [name for name in found[most] if name != "simulate"]
    for name in [*stages, "all stages"]:
        chosen = stages if name == "all stages" else [name]
        cpu = {lines: sum(costs[each].cpu for each in chosen) for lines, costs in found.items()}
        wall = {lines: sum(costs[each].wall for each in chosen) for lines, costs in found.items()}
        memory = max(costs[each].memory for costs in found.values() for each in chosen)
        exponent = math.log(cpu[most] / cpu[least]) / math.log(most / least) if most > least else math.nan
        cells = " | ".join(f"{cpu[lines]:.1f} s ({wall[lines]:.1f} s)" for lines in found)
        click.echo(f"| {name} | {cells} | {exponent:.2f} | {memory / GIB:.2f} GiB |")


if __name__ == "__main__":
    main()
