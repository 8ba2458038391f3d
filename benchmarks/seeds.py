"""Whether the demo shows the same for other chats of the simulator: the whole graph, once for each further seed.

Run it in the repository's root, after ``dvc repro``; a seed takes up to ten minutes on two cores.

Example:
    python -m benchmarks.seeds --seed 2406 --seed 2407 --seed 2408

For each seed the tracked files are copied into a temporary folder, without the demo's chat, answers and results;
there a chat is simulated, its questions picked, its answers simulated, and everything else built by ``dvc repro``.
Only the chat changes: the seeds of pretraining and LoRA stay those of params.yaml. Prints two Markdown tables, whose
first rows are the committed demo's, read from ``metrics/``.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import click

from chatladder.io.console import SETTINGS, DataError, InputFolder, OutputFolder, example
from chatladder.io.files import read_json

#: Seed of the chat under data/raw.
COMMITTED = 2405
#: Fixed before any of them was run.
FURTHER = (2406, 2407, 2408)
#: What belongs to the committed chat and is made anew for another.
LEFT_OUT = ("data/raw/demo", "data/demo/", "data/annotations/", "metrics/", "dvc.lock")
#: Names in metrics/models.json that are no rungs.
NO_RUNGS = ("floor", "test_items", "test_needed")
#: Lines of a failed command's output that are shown.
TAIL = 30


class Result(NamedTuple):
    """What one seed's graph wrote under ``metrics/``."""

    seed: int
    questions: dict[str, Any]
    models: dict[str, Any]
    scaling: dict[str, Any]


def read_result(project: Path, seed: int) -> Result:
    """Read the metrics of a built project."""
    parts = (read_json(project / "metrics" / f"{name}.json") for name in Result._fields[1:])
    return Result(seed, *parts)


def copy_tracked(repository: Path, folder: Path) -> None:
    """Copy the tracked files as they are now, less what belongs to the committed chat."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=repository, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if not name.startswith(LEFT_OUT):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(repository / name, folder / name)


def run(folder: Path, what: str, *command: str) -> None:
    """Run one step of this Python in ``folder`` and say how long it took.

    Raises:
        DataError: If it fails, with the end of what it printed.
    """
    binaries = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        # The copy's stages, not those that are installed.
        "PYTHONPATH": str(folder),
    }
    start = monotonic()
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-TAIL:])
        raise DataError(f"{what}: {' '.join(command)} exited with {done.returncode}:\n{tail}")
    click.echo(f"{what}: {monotonic() - start:.0f} s", err=True)


def build(folder: Path, seed: int, lines: int) -> None:
    """Simulate a chat in a copy of the repository, and build everything from it."""
    # DVC wants a repository around it.
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    chatladder, truth = ("chatladder.cli.app",), ("--truth", "data/demo/truth.jsonl.bz2")
    simulated = ("--lines", str(lines), "--seed", str(seed), "--out", "data/raw/demo.txt.bz2", *truth)
    answered = ("--questions", "data/questions.parquet", "--seed", str(seed), "--out", "data/annotations", *truth)
    run(folder, f"{seed}: chat", *chatladder, "simulate", *simulated)
    run(folder, f"{seed}: questions", "dvc", "repro", "pick_questions")
    run(folder, f"{seed}: answers", *chatladder, "simulate-answers", *answered)
    run(folder, f"{seed}: models", "dvc", "repro")


def interval_text(values: dict[str, float], name: str) -> str:
    """A change and its 95 % interval, for instance ``+0.098 [+0.060, +0.136]``."""
    return f"{values[name]:+.3f} [{values[f'{name}_lo']:+.3f}, {values[f'{name}_hi']:+.3f}]"


def above_zero(values: dict[str, float], name: str) -> str:
    """Whether the whole interval is above zero."""
    return "yes" if values[f"{name}_lo"] > 0 else "no"


def gains_table(results: Sequence[Result]) -> str:
    """Markdown: macro-F1 of every rung of every seed before and after LoRA, on the test items."""
    lines = [
        "| seed | rung | vanilla macro-F1 | tuned macro-F1 | gain [95 %] | above zero |",
        "| --- | --- | ---: | ---: | --- | --- |",
    ]
    for result in results:
        for rung, kinds in result.models.items():
            if rung not in NO_RUNGS:
                vanilla, tuned, gain = kinds["vanilla"], kinds["tuned"], kinds["gain"]
                lines.append(
                    f"| {result.seed} | {rung} | {vanilla['macro_f1']:.3f} | {tuned['macro_f1']:.3f} "
                    f"| {interval_text(gain, 'macro_f1')} | {above_zero(gain, 'macro_f1')} |"
                )
    return "\n".join(lines)


def slopes_table(results: Sequence[Result]) -> str:
    """Markdown: how much untouched models' scores grow per doubling of the parameters, and the gate's verdict."""
    lines = [
        "| seed | questions | labelled | test items | AUROC per doubling [95 %] | precision per doubling [95 %] "
        "| gate |",
        "| --- | ---: | ---: | ---: | --- | --- | --- |",
    ]
    for seed, questions, models, scaling in results:
        counts = (questions["questions"], scaling["items"], models["test_items"])
        slopes = (interval_text(scaling[metric], "slope") for metric in ("auroc", "precision"))
        lines.append(f"| {' | '.join([str(seed), *(f'{count:,}' for count in counts), *slopes, scaling['gate']])} |")
    return "\n".join(lines)


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--seed", "seeds", type=int, multiple=True, default=FURTHER, show_default=True, help="Once for each.")
@click.option("--lines", type=click.IntRange(1), default=58_000, show_default=True, help="Raw lines of each chat.")
@click.option("--repository", type=InputFolder, default=".", help="Root of the repository.  [default: this folder]")
@click.option("--committed", type=int, default=COMMITTED, show_default=True, help="Seed of the repository's own chat.")
@click.option("--keep", type=OutputFolder, help="Keep each seed's project in this folder.")
def main(seeds: tuple[int, ...], lines: int, repository: Path, committed: int, keep: Path | None) -> None:
    """Print the demo's result for other seeds of the simulated chat, beside the committed one's."""
    results = [read_result(repository, committed)]
    with tempfile.TemporaryDirectory() as temporary:
        # Once, so that editing the repository meanwhile does not make the seeds differ in more than their chat.
        copied = Path(temporary) / "repository"
        copy_tracked(repository, copied)
        for seed in seeds:
            folder = (keep or Path(temporary)).resolve() / f"seed_{seed}"
            if folder.exists():
                raise DataError(f"{folder}: expected no such folder yet; delete it, or name another with --keep.")
            shutil.copytree(copied, folder)
            build(folder, seed, lines)
            results.append(read_result(folder, seed))
    click.echo(f"{gains_table(results)}\n\n{slopes_table(results)}")


if __name__ == "__main__":
    main()
