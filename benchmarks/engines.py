r"""From raw lines to questions by both engines: seconds, memory of the largest process, and whether bytes are equal.

Example:
    python -m benchmarks.engines --lines 50000 --groups 4 --folder /tmp/engines

Simulated WeChat records, as many of each group. Each stage is a process of its own, as in ``dvc repro``; for ray it
starts a cluster on this machine and stops it (with RAY_ADDRESS set it joins that one instead, whose processes are not
sampled). Memory is the resident set of the stage's process, and of the largest of those that it started, sampled ten
times a second: what lies in the object store counts in every process that maps it.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import click
import psutil

from stages.engine import VARIABLE
from stages.privacy.secret import DEMO_GROUP, KEY_VARIABLE

SEED = 2405
SECONDS_BETWEEN_SAMPLES = 0.1
MIB = 2**20


class Cost(NamedTuple):
    """What one stage took."""

    seconds: float
    own: int  # bytes, largest resident set of the stage's process
    largest: int  # bytes, largest of any that it started


def simulate(lines: int, groups: int, raw: Path) -> None:
    """Write so many lines into an export for each group."""
    raw.mkdir(parents=True)
    for number in range(groups):
        path = raw / f"{number}.txt"
        command = ["simulate", "--lines", str(lines // groups), "--seed", str(SEED + number)]
        truth = str(raw.parent / "truth.jsonl")
        subprocess.run(
            [sys.executable, "-m", "stages.app", *command, "--truth", truth, "--out", str(path)],
            check=True,
            capture_output=True,
        )
        path.write_text(path.read_text(encoding="utf-8").replace(DEMO_GROUP, f"{number}@chatroom"), encoding="utf-8")


def commands(raw: Path, out: Path) -> dict[str, list[str]]:
    """The data stages by name, with the params of the demo."""
    messages, turns, questions = (str(out / f"{name}.parquet") for name in ("messages", "turns", "questions"))
    reading = ["stages.ingest", "--raw", str(raw), "--format", "auto", "--timezone", "UTC", "--date-order", "auto"]
    found = {
        "ingest": [*reading, "--out", messages, "--counts", str(out / "ingest.json")],
        "merge": ["stages.merge", "--messages", messages, "--gap-seconds", "18", "--out", turns],
    }
    found["merge"] += ["--counts", str(out / "merge.json")]
    picking = ["stages.pick_questions", "--turns", turns, "--join", "all", "--min-characters", "7", "--window", "12"]
    picking += ["--conversation-gap", "1800", "--max-conversation-turns", "500", "--reply-reach", "86400"]
    for judge in ("rules", "punctuation"):
        scores = str(out / f"{judge}.parquet")
        found[judge] = ["stages.score", "--judge", judge, "--kind", judge, "--seed", "0", "--turns", turns]
        found[judge] += ["--out", scores, "--counts", str(out / f"{judge}.json")]
        picking += ["--scores", f"{judge}={scores}", "--threshold", f"{judge}=5"]
    return found | {"pick_questions": [*picking, "--out", questions, "--metrics", str(out / "questions.json")]}


def run(command: list[str], engine: str) -> Cost:
    """Run a stage to its end and sample its processes."""
    environment = {KEY_VARIABLE: "a key for benchmarks alone", **os.environ, VARIABLE: engine}
    started = time.monotonic()
    # Into a file: a pipe that nobody reads would fill up.
    with tempfile.TemporaryFile("w+") as errors:
        process = psutil.Popen(
            [sys.executable, "-m", *command], env=environment, stdout=subprocess.DEVNULL, stderr=errors
        )
        own = largest = 0
        while process.poll() is None:
            own = max(own, _resident(process))
            largest = max([largest, *map(_resident, _children(process))])
            time.sleep(SECONDS_BETWEEN_SAMPLES)
        if process.returncode:
            errors.seek(0)
            raise click.ClickException(f"{' '.join(command)}\n{errors.read()[-2000:]}")
    return Cost(time.monotonic() - started, own, largest)


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0


@click.command()
@click.option("--lines", type=int, required=True, help="Of all groups together.")
@click.option("--groups", type=int, required=True, help="Of equal size.")
@click.option("--folder", type=click.Path(path_type=Path), required=True, help="Where everything lies; must be new.")
def main(lines: int, groups: int, folder: Path) -> None:
    """Print what every stage took by either engine, and stop if their bytes differ."""
    simulate(lines, groups, folder / "raw")
    click.echo("| lines | groups | stage | engine | seconds | MiB of the stage | MiB of its largest process |")
    click.echo("| ---: | ---: | --- | --- | ---: | ---: | ---: |")
    outs = {engine: folder / engine for engine in ("local", "ray")}
    for out in outs.values():
        out.mkdir()
    ways = {engine: commands(folder / "raw", out) for engine, out in outs.items()}
    for stage in ways["local"]:
        for engine, way in ways.items():
            cost = run(way[stage], engine)
            memory = f"{cost.own / MIB:.0f} | {cost.largest / MIB:.0f}"
            click.echo(f"| {lines:,} | {groups} | {stage} | {engine} | {cost.seconds:.1f} | {memory} |")
    names = sorted(path.name for path in outs["local"].iterdir())
    other = [name for name in names if (outs["local"] / name).read_bytes() != (outs["ray"] / name).read_bytes()]
    if other or names != sorted(path.name for path in outs["ray"].iterdir()):
        raise click.ClickException(f"the engines made different files: {', '.join(other) or 'some are missing'}")
    click.echo(f"\n{len(names)} files, the same bytes from both engines.")


if __name__ == "__main__":
    main()
