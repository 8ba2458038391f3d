"""Does the demo show the same for other chats of the simulator? The whole graph, once for each further chat.

Run it in the repository's root, after ``dvc repro``; each chat takes as long as that.

Example:
    python -m benchmarks.seeds --seed 2406 --seed 2407 --seed 2408

For each seed the tracked files are copied to a temporary folder, without the demo's chat, answers and results. There a
chat is simulated, its questions are picked, its answers simulated, and everything else is built by ``dvc repro``. Its
bases and adapters are its own, too: with n seeds in params.yaml the k-th further chat takes the seeds from kn on for
pretraining and for LoRA, so it shares none of the committed result's luck. Prints Markdown tables, whose first rows are
the committed demo's, read from ``metrics/``.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import click

from benchmarks.results import publish, save_option
from chatladder.io.console import SETTINGS, DataError, InputFolder, OutputFolder, example
from chatladder.io.files import read_json
from chatladder.io.params import read_yaml, round_trip

#: Seed of the chat under data/raw.
COMMITTED = 2405
#: Chosen before any of them was run.
FURTHER = (2406, 2407, 2408)
#: Files of the committed chat, which are made again for another.
LEFT_OUT = ("data/raw/demo", "data/demo/", "data/annotations/", "metrics/", "dvc.lock")
#: The entry of metrics/models.json for baselines that are not models: name -> scores.
BASELINES = "baselines"
#: The share of contrast pairs of which both questions were answered right.
PAIRS = "pairs_right"
#: The number of lines of a failed command's output to show.
TAIL = 30


class Result(NamedTuple):
    """The metrics of one chat's graph."""

    seed: int
    questions: dict[str, Any]
    models: dict[str, Any]
    scaling: dict[str, Any]

    @property
    def rungs(self) -> dict[str, Any]:
        """The scores of each tuned rung, smallest first."""
        return {name: kinds for name, kinds in self.models.items() if isinstance(kinds, dict) and "tuned" in kinds}


def read_result(project: Path, seed: int) -> Result:
    """Read the metrics of a built project."""
    parts = (read_json(project / "metrics" / f"{name}.json") for name in Result._fields[1:])
    return Result(seed, *parts)


def copy_tracked(repository: Path, folder: Path) -> None:
    """Copy the tracked files as they are now, without those of the committed chat."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=repository, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if not name.startswith(LEFT_OUT):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(repository / name, folder / name)


def run(folder: Path, what: str, *command: str) -> None:
    """Run one step with this Python in ``folder`` and print how long it took.

    Raises:
        DataError: If it fails, with the end of its output.
    """
    binaries = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        # The copy's stages, not the installed ones.
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


def shifted(seeds: Any, chat: int) -> Any:
    """Return the model seeds of the k-th further chat, in the form in params.yaml: a list, or a text with commas."""
    count = len(seeds.split(",") if isinstance(seeds, str) else seeds)
    own = range(count * chat, count * (chat + 1))
    return ",".join(map(str, own)) if isinstance(seeds, str) else list(own)


def give_own_seeds(params: Path, chat: int) -> None:
    """Let a copy's bases and adapters be trained with seeds that no other chat has."""
    content = read_yaml(params)
    for section in ("pretraining", "train"):
        if "seeds" in content[section]:
            content[section]["seeds"] = shifted(content[section]["seeds"], chat)
    with params.open("w", encoding="utf-8") as file:
        round_trip().dump(content, file)


def build(folder: Path, seed: int, lines: int, chat: int) -> None:
    """Simulate the k-th further chat in a copy of the repository, and build everything from it."""
    give_own_seeds(folder / "params.yaml", chat)
    # DVC needs a repository around it.
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    chatladder, truth = ("chatladder.cli.app",), ("--truth", "data/demo/truth.jsonl.bz2")
    simulated = ("--lines", str(lines), "--seed", str(seed), "--out", "data/raw/demo.txt.bz2", *truth)
    answered = ("--questions", "data/questions.parquet", "--seed", str(seed), "--out", "data/annotations", *truth)
    run(folder, f"{seed}: chat", *chatladder, "simulate", *simulated)
    run(folder, f"{seed}: questions", "dvc", "repro", "pick_questions")
    run(folder, f"{seed}: answers", *chatladder, "simulate-answers", *answered)
    run(folder, f"{seed}: models", "dvc", "repro")


def interval_text(values: Mapping[str, float], name: str) -> str:
    """Return a change and its 95 % interval, such as ``+0.098 [+0.060, +0.136]``."""
    return f"{values[name]:+.3f} [{values[f'{name}_lo']:+.3f}, {values[f'{name}_hi']:+.3f}]"


def mean_text(values: Mapping[str, float]) -> str:
    """Return macro-F1, with its standard deviation over seeds if there are several."""
    spread = values.get("macro_f1_sd")
    return f"{values['macro_f1']:.3f}" + ("" if spread is None else f" ± {spread:.3f}")


def gains_table(results: Sequence[Result]) -> str:
    """Return a Markdown table of macro-F1 of every rung of every chat before and after LoRA, on the test items."""
    lines = [
        "| chat | rung | vanilla macro-F1, ± SD | tuned macro-F1, ± SD | gain [95 %] | contrast pairs right |",
        "| --- | --- | ---: | ---: | --- | ---: |",
    ]
    for result in results:
        for rung, kinds in result.rungs.items():
            pairs = kinds["tuned"].get(PAIRS)
            cells = (
                mean_text(kinds["vanilla"]),
                mean_text(kinds["tuned"]),
                interval_text(kinds["gain"], "macro_f1"),
                "" if pairs is None else f"{pairs:.3f}",
            )
            lines.append(f"| {result.seed} | {rung} | {' | '.join(cells)} |")
    return "\n".join(lines)


def baselines_table(results: Sequence[Result]) -> str:
    """Return a Markdown table of macro-F1 of the baselines compared with the best tuned rung of every chat."""
    names = list(dict.fromkeys(name for result in results for name in result.models.get(BASELINES, ())))
    lines = [f"| chat | best tuned rung | {' | '.join(names)} |", f"| --- |{' ---: |' * (len(names) + 1)}"]
    for result in results:
        best = max(kinds["tuned"]["macro_f1"] for kinds in result.rungs.values())
        found = result.models.get(BASELINES, {})
        cells = (f"{found[name]['macro_f1']:.3f}" if name in found else "" for name in names)
        lines.append(f"| {' | '.join([str(result.seed), f'{best:.3f}', *cells])} |")
    return "\n".join(lines)


def slopes_table(results: Sequence[Result]) -> str:
    """Return a Markdown table of the growth of untouched models' scores per doubling, and the gate's verdict."""
    lines = [
        "| chat | questions | labelled | test items | AUROC per doubling [95 %] | precision per doubling [95 %] "
        "| gate |",
        "| --- | ---: | ---: | ---: | --- | --- | --- |",
    ]
    for seed, questions, models, scaling in results:
        counts = (questions["questions"], scaling["items"], models["test_items"])
        slopes = (interval_text(scaling[metric], "slope") for metric in ("auroc", "precision"))
        lines.append(f"| {' | '.join([str(seed), *(f'{count:,}' for count in counts), *slopes, scaling['gate']])} |")
    return "\n".join(lines)


def figures_of(further: Sequence[Result]) -> dict[str, float]:
    """Return the numbers quoted in sentences: cells, gains above zero, and chats that pass the gate."""
    gains = [kinds["gain"]["macro_f1_lo"] > 0 for result in further for kinds in result.rungs.values()]
    passes = [result.scaling["gate"] == "pass" for result in further]
    return {"chats": len(further), "cells": len(gains), "gains_above_zero": sum(gains), "gates_passed": sum(passes)}


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--seed", "seeds", type=int, multiple=True, default=FURTHER, show_default=True, help="Once for each.")
@click.option("--lines", type=click.IntRange(1), default=58_000, show_default=True, help="Raw lines of each chat.")
@click.option("--repository", type=InputFolder, default=".", help="Root of the repository.  [default: this folder]")
@click.option("--committed", type=int, default=COMMITTED, show_default=True, help="Seed of the repository's own chat.")
@click.option("--keep", type=OutputFolder, help="Keep each seed's project in this folder.")
@save_option
def main(
    seeds: tuple[int, ...], lines: int, repository: Path, committed: int, keep: Path | None, save: Path | None
) -> None:
    """Print the demo's result for other seeds of the simulated chat, beside the committed one's."""
    results = [read_result(repository, committed)]
    with tempfile.TemporaryDirectory() as temporary:
        # Copied once, so that edits of the repository meanwhile do not change more than the seeds' chats.
        copied = Path(temporary) / "repository"
        copy_tracked(repository, copied)
        for chat, seed in enumerate(seeds, 1):
            folder = (keep or Path(temporary)).resolve() / f"seed_{seed}"
            if folder.exists():
                raise DataError(f"{folder}: expected no such folder yet; delete it, or name another with --keep.")
            shutil.copytree(copied, folder)
            build(folder, seed, lines, chat)
            results.append(read_result(folder, seed))
    tables = [gains_table(results), slopes_table(results)]
    if any(BASELINES in result.models for result in results):
        tables.insert(1, baselines_table(results))
    demo = ("data/labelled.parquet", "data/predictions/vanilla", "data/predictions/tuned")
    publish(save, __spec__.name, "\n\n".join(tables), demo, figures_of(results[1:]))


if __name__ == "__main__":
    main()
