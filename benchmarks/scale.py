r"""From raw lines to questions on simulated chats of growing size: time and memory of every stage, by either engine.

Example:
    python -m benchmarks.scale --lines 100000 --lines 1000000 --lines 10000000 --folder /tmp/scale
    python -m benchmarks.scale --lines 50000 --groups 4 --engine local --engine ray --folder /tmp/engines
    python -m benchmarks.scale --raw data/raw --engine local --engine ray --nodes 2 --folder /tmp/nodes

Each stage is a separate process, as in ``dvc repro``. For ray it starts a local cluster and stops it; with RAY_ADDRESS
set it joins that one, or with --nodes one whose nodes have one processor each; their processes are not measured. Groups
are of equal size, each an export; --raw takes existing exports.

- Time is the processor's (user and system), which other load on the machine affects less than the clock's; both are
  printed. For child processes it is the time at the last sample; samples are taken every 0.2 s.
- Memory is the peak resident set of the stage's process, and the largest one of any child process; the content of Ray's
  object store counts in every process that maps it.
- The exponent is the slope of log(processor seconds) against log(lines) between the smallest size and the largest.

Measurements are kept in the folder, by chat, nodes, engine and stage: run it again to resume after a stop, or to print
the table. Only hashes of the output files are kept: those of both engines must be equal. A chat is made once for all
engines and deleted after them.
"""

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from hashlib import file_digest
from pathlib import Path
from typing import NamedTuple

import click
import psutil

from benchmarks.results import publish, save_option
from chatladder.distributed import VARIABLE
from chatladder.io.console import InputFolder
from chatladder.io.files import write_json
from chatladder.privacy.secret import DEMO_GROUP, KEY_VARIABLE

SEED = 2405
KEY = "a key for benchmarks alone"
SECONDS_BETWEEN_LOOKS = 0.2
GIB = 2**30
ENGINES = ("local", "ray")


class Cost(NamedTuple):
    """The time and memory of one stage."""

    cpu: float  # seconds, of all its processes
    wall: float  # seconds
    own: int  # bytes, peak resident set of the stage's process
    largest: int  # bytes, peak of any child process; 0 if there was none


@dataclass
class Measured:
    """The measurements of one size by one engine so far."""

    costs: dict[str, Cost] = field(default_factory=dict)  # by stage, in order
    digests: dict[str, str] = field(default_factory=dict)  # SHA-256 of each output
    lines: int = 0
    turns: int = 0
    questions: int = 0


def simulate(lines: int, groups: int, folder: Path) -> Path:
    """Return the folder with an export for each group, with ``lines`` lines in all; made if it does not exist."""
    raw = folder / "raw"
    if raw.exists():
        return raw
    making = folder / "making"
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    truth = folder / "truth.jsonl"
    for number in range(groups):
        made = making / f"{number}.txt"
        size = str(lines // groups + (number < lines % groups))
        command = ["simulate", "--lines", size, "--seed", str(SEED + number), "--truth", str(truth), "--out", str(made)]
        subprocess.run([sys.executable, "-m", "chatladder.cli.app", *command], check=True, capture_output=True)
        if groups > 1:
            rename_group(made, f"{number}@chatroom")
    truth.unlink()
    making.rename(raw)
    return raw


def rename_group(path: Path, name: str) -> None:
    """Replace the group's name in an export, line by line."""
    other = path.with_suffix(".other")
    with path.open(encoding="utf-8", newline="") as read, other.open("w", encoding="utf-8", newline="") as write:
        write.writelines(line.replace(DEMO_GROUP, name) for line in read)
    other.replace(path)


def commands(raw: Path, out: Path) -> dict[str, list[str]]:
    """Return the data stages by name, with the params of the demo."""
    messages, turns, questions = (str(out / f"{name}.parquet") for name in ("messages", "turns", "questions"))
    ingest, merge = str(out / "counts" / "ingest.json"), str(out / "counts" / "merge.json")
    reading = ["stages.ingest", "--raw", str(raw), "--format", "auto", "--timezone", "UTC", "--date-order", "auto"]
    found = {
        "ingest": [*reading, "--out", messages, "--counts", ingest],
        "merge": ["stages.merge", "--messages", messages, "--gap-seconds", "18", "--out", turns, "--counts", merge],
    }
    picking = ["stages.pick_questions", "--turns", turns, "--join", "all"]
    picking += ["--counts", str(out / "counts"), "--scores", str(out / "scores")]
    picking += ["--min-characters", "7", "--window", "12", "--conversation-gap", "1800"]
    picking += ["--max-conversation-turns", "500", "--reply-reach", "86400"]
    for judge in ("rules", "punctuation"):
        found[judge] = ["stages.score", "--judge", judge, "--kind", judge, "--seed", "0", "--turns", turns]
        found[judge] += ["--out", str(out / "scores" / judge)]
        picking += ["--judge", f"{judge}=5"]
    return found | {"pick_questions": [*picking, "--out", questions, "--metrics", str(out / "questions.json")]}


def run(command: list[str], engine: str) -> Cost:
    """Run a stage to its end, sampling its processes."""
    environment = {KEY_VARIABLE: KEY, **os.environ, VARIABLE: engine}
    started = time.monotonic()
    # Into a file: a pipe without a reader would fill up.
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], env=environment, stdout=subprocess.DEVNULL, stderr=errors
        )
        seen = Processes(process.pid)
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            seen.look()
            time.sleep(SECONDS_BETWEEN_LOOKS)
        if status:
            errors.seek(0)
            raise click.ClickException(f"{' '.join(command)}\n{errors.read()[-2000:]}")
    wall = time.monotonic() - started
    if seen.largest:
        return Cost(sum(seen.seconds.values()), wall, seen.own, seen.largest)
    # Exact, but includes child processes that it waited for, if any.
    return Cost(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss * 1024, 0)


class Processes:
    """A stage's process and its child processes, as of the last sample."""

    def __init__(self, pid: int) -> None:
        self.seconds: dict[psutil.Process, float] = {}  # processor seconds by process
        self.own = self.largest = 0  # bytes, peak resident set of the stage's process, and of any other
        self._first = psutil.Process(pid)

    def look(self) -> None:
        """Take a sample."""
        try:
            started = self._first.children(recursive=True)
        except psutil.Error:
            started = []
        for process in (self._first, *started):
            try:
                taken = process.cpu_times()
                self.seconds[process] = taken.user + taken.system
                # The larger of both: a process that has just ended has no memory any more.
                if process == self._first:
                    self.own = max(self.own, peak(process))
                else:
                    self.largest = max(self.largest, peak(process))
            except (psutil.Error, OSError):
                continue  # it has ended


def peak(process: psutil.Process) -> int:
    """Return the peak resident set of a process in bytes; if the system does not record it, the present one."""
    status = Path(f"/proc/{process.pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    kib = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), None)
    return process.memory_info().rss if kib is None else int(kib) * 1024


def measure(chat: Callable[[], Path], what: str, engine: str, folder: Path) -> Measured:
    """Process a chat to questions with an engine, from the first stage that was not measured yet.

    Args:
        chat: Returns the folder of its exports, when they are needed.
        what: A short description of the chat.
        engine: One of ``ENGINES``.
        folder: The folder of outputs and measurements.
    """
    kept, out = folder / f"{engine}.json", folder / engine
    found = read(kept) if kept.exists() else Measured()
    if not found.digests and not out.exists():
        found = Measured()
        out.mkdir(parents=True)
    for stage in commands(out, out):
        if stage in found.costs:
            continue
        command = commands(chat(), out)[stage]
        click.echo(f"{what}, {engine}: {stage}", err=True)
        found.costs[stage] = run(command, engine)
        write_json(kept, asdict(found))
    if not found.digests:
        files = [path for path in sorted(out.rglob("*")) if path.is_file()]
        found.digests = {path.relative_to(out).as_posix(): digest(path) for path in files}
        numbers = json.loads((out / "questions.json").read_text())
        found.lines, found.turns, found.questions = numbers["raw_lines"], numbers["turns"], numbers["questions"]
        write_json(kept, asdict(found))
    shutil.rmtree(out, ignore_errors=True)
    return found


def read(kept: Path) -> Measured:
    """Read earlier measurements."""
    found = json.loads(kept.read_text())
    return Measured(**{**found, "costs": {stage: Cost(*cost) for stage, cost in found["costs"].items()}})


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def table(found: dict[int, dict[str, Measured]], engines: tuple[str, ...]) -> list[str]:
    """Return the Markdown rows of every stage and engine, with sizes side by side."""
    least, most = min(found), max(found)
    heads = " | ".join(f"{lines:,} lines" for lines in found)
    rows = [
        f"| stage | engine | {heads} | exponent | most memory | largest worker |",
        f"| --- | --- |{' ---: |' * len(found)} ---: | ---: | ---: |",
    ]
    stages = list(found[most][engines[0]].costs)
    for name in [*stages, "all stages"]:
        for engine in engines:
            costs = {lines: chosen(by_engine[engine], name) for lines, by_engine in found.items()}
            cpu = {lines: sum(cost.cpu for cost in some) for lines, some in costs.items()}
            wall = {lines: sum(cost.wall for cost in some) for lines, some in costs.items()}
            slope = f"{math.log(cpu[most] / cpu[least]) / math.log(most / least):.2f}" if most > least else ""
            own, largest = (max(getattr(c, m) for some in costs.values() for c in some) for m in ("own", "largest"))
            cells = " | ".join(f"{cpu[lines]:.1f} s ({wall[lines]:.1f} s)" for lines in found)
            worker = f"{largest / GIB:.2f} GiB" if largest else ""
            rows.append(f"| {name} | {engine} | {cells} | {slope} | {own / GIB:.2f} GiB | {worker} |")
    return rows


def chosen(measured: Measured, name: str) -> list[Cost]:
    """Return the costs of one stage, or of all."""
    return list(measured.costs.values()) if name == "all stages" else [measured.costs[name]]


def differing(by_engine: dict[str, Measured]) -> list[str]:
    """Return the names of the files that differ between engines."""
    digests = [measured.digests for measured in by_engine.values()]
    names = sorted(set().union(*digests))
    return [name for name in names if len({each.get(name) for each in digests}) > 1]


@contextmanager
def cluster(nodes: int) -> Iterator[None]:
    """Start a Ray cluster of so many nodes with one processor each, which stages join; with 0 each starts its own."""
    if not nodes:
        yield
        return
    from ray.cluster_utils import Cluster

    from chatladder.distributed.ray_workers import ADDRESS, QUIET

    os.environ.update(QUIET)
    os.environ.setdefault(KEY_VARIABLE, KEY)
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(nodes - 1):
        started.add_node(num_cpus=1)
    os.environ[ADDRESS] = started.address
    try:
        yield
    finally:
        started.shutdown()


@click.command()
@click.option("--lines", "sizes", type=int, multiple=True, help="Size of a simulated chat; repeat it.")
@click.option("--groups", type=click.IntRange(1), default=1, show_default=True, help="That share the lines evenly.")
@click.option("--raw", type=InputFolder, help="A folder of exports, instead of simulated ones.")
@click.option(
    "--engine",
    "engines",
    type=click.Choice(ENGINES),
    multiple=True,
    default=["local"],
    show_default=True,
    help="Where stages work; repeat it.",
)
@click.option("--nodes", type=click.IntRange(0), default=0, help="Of a cluster here, of a processor each, for ray.")
@click.option("--folder", type=click.Path(path_type=Path), required=True, help="Where all lies; needs the space.")
@save_option
def main(
    sizes: tuple[int, ...],
    groups: int,
    raw: Path | None,
    engines: tuple[str, ...],
    nodes: int,
    folder: Path,
    save: Path | None,
) -> None:
    """Print time and memory of every stage at each size, and stop if engines differ in a byte."""
    if bool(sizes) == bool(raw):
        raise click.UsageError("either --lines or --raw says which chat.")
    engines = tuple(dict.fromkeys(engines))
    suffix = f"-{nodes}-nodes" if nodes else ""
    found: list[dict[str, Measured]] = []
    with cluster(nodes):
        if raw:
            own = folder / (str(raw.resolve()).strip("/").replace("/", "-") + suffix)
            found.append({engine: measure(lambda: raw, str(raw), engine, own) for engine in engines})
        for lines in sorted(set(sizes)):
            own = folder / f"{lines}x{groups}{suffix}"
            chat = partial(simulate, lines, groups, own)
            what = f"{lines:,} lines, {groups} group(s)"
            found.append({engine: measure(chat, what, engine, own) for engine in engines})
            shutil.rmtree(own / "raw", ignore_errors=True)
    page = [*table({next(iter(each.values())).lines: each for each in found}, engines), ""]
    figures = {}
    for by_engine in found:
        first = next(iter(by_engine.values()))
        said = f"- {first.lines:,} lines: {first.turns:,} turns, {first.questions:,} questions"
        if other := differing(by_engine):
            raise click.ClickException(f"the engines made different files: {', '.join(other)}")
        same = (
            f"; {len(first.digests)} files, the same bytes from {' and '.join(by_engine)}" if len(by_engine) > 1 else ""
        )
        page.append(f"{said}{same}.")
        # The last ones kept are those of the largest size.
        figures = {
            f"{engine}_seconds": round(sum(cost.wall for cost in each.costs.values()), 1)
            for engine, each in by_engine.items()
        }
    publish(save, __spec__.name, "\n".join(page), figures=figures)


if __name__ == "__main__":
    main()
