"""The effect of one review on the demo's labels: how many wrong ones it corrects, and how many right ones it loses.

Run it in the repository's root, after ``dvc repro``; it works on copies in a temporary folder.

Example:
    python -m benchmarks.loop --seed 2405

The two simulated annotators answer the queue and the random part as the round after the latest, by ``chatladder
simulate-review``, and ``stages.label`` decides again, with that round and without it. The reviewers are first as
careless as in round 1, then three times as careful; an item that everyone misreads, they misread again. Only the
simulator knows how many labels are wrong. Labels, queue and annotations must come from one ``dvc repro``.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import click

from benchmarks.results import publish, save_option
from chatladder.cli.simulate import read_truth, true_items
from chatladder.io.console import SETTINGS, example
from chatladder.io.params import PARAMS, read_section
from chatladder.io.rows import LABELLED, QUESTIONS, read_rows
from chatladder.labels.review import read_review
from chatladder.labels.rounds import latest_answered

CARES = (1, 3)
TRUTH = Path("data/demo/truth.jsonl.bz2")
#: The files that a review reads; a copy needs no others of the project.
COPIED = (
    "params.yaml",
    "data/annotations",
    "data/demo",
    "data/review",
    "data/questions.parquet",
    "data/labelled.parquet",
)


def run(folder: Path, module: str, *words: str) -> str:
    """Run a module of this checkout in another folder, and return its output.

    Raises:
        click.ClickException: If it fails.
    """
    command = [sys.executable, "-m", module, *words]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise click.ClickException(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return done.stdout


def label(folder: Path, number: int) -> tuple[dict[str, dict[str, Any]], str]:
    """Decide the labels by the first rounds; return the rows by item, and the stage's line on the last round."""
    split = [word for name, value in read_section(PARAMS, "split").items() for word in (f"--{name}", str(value))]
    places = ["--questions", "data/questions.parquet", "--annotations", "data/annotations"]
    outs = ["--out", f"{number}.parquet", "--metrics", f"{number}.json"]
    said = run(folder, "stages.label", *places, *outs, "--round", str(number), *split)
    rows = {row["item_id"]: row for row in read_rows(folder / f"{number}.parquet", LABELLED).to_pylist()}
    return rows, next((line for line in said.splitlines() if line.startswith(f"round {number} ")), "")


def changes(folder: Path, number: int, truth: dict[str, str]) -> tuple[dict[str, Counter[str]], str]:
    """Return the last round's changes to the labels, by why an item was reviewed, and the stage's line on it."""
    before, _ = label(folder, number - 1)
    after, said = label(folder, number)
    review = read_review(folder / f"data/annotations/round_{number}")
    if review is None:
        raise click.ClickException(f"{folder}: expected a review in round {number}.")
    found = {"suspects": Counter[str](), "random part": Counter[str]()}
    for name, items in (("suspects", review.suspects), ("random part", sorted(review.random))):
        for item_id in items:
            old, new = (each.get(item_id, {}).get("label") for each in (before, after))
            if old is None:
                continue
            was, now = ("wrong" if each != truth[item_id] else "right" for each in (old, new))
            found[name].update(["looked at", was, f"{was} to {'left out' if new is None else now}"])
    return found, said


HEAD = (
    "care",
    "labels",
    "looked at",
    "of them wrong",
    "corrected",
    "wrong, left out",
    "turned wrong",
    "right, left out",
)


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--seed", type=int, required=True, help="Of the simulated reviewers.")
@save_option
def main(seed: int, save: Path | None) -> None:
    """Review the demo's labels once, by reviewers of two kinds, and print what that changed, as Markdown."""
    questions = read_rows(Path("data/questions.parquet"), QUESTIONS)
    truth = {item.item_id: item.label for item in true_items(questions, read_truth(TRUTH))}
    number = latest_answered(Path("data/annotations")) + 1
    lines, sayings, figures = [], [], {}
    for care in CARES:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            for name in COPIED:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                copy = shutil.copytree if Path(name).is_dir() else shutil.copy
                copy(name, folder / name)
            who = ("--annotator", "annotator_a", "--annotator", "annotator_b")
            command = ("--truth", str(TRUTH), "--seed", str(seed), "--care", str(care), *who)
            run(folder, "chatladder.cli.app", "simulate-review", *command)
            found, said = changes(folder, number, truth)
            sayings.append(f"- care {care}: {said}")
            for name, counts in found.items():
                counted = {
                    "looked_at": counts["looked at"],
                    "wrong": counts["wrong"],
                    "corrected": counts["wrong to right"],
                    "left_open": counts["wrong to left out"],
                    "turned_wrong": counts["right to wrong"],
                    "right_left_open": counts["right to left out"],
                }
                lines.append(f"| {care} | {name} | " + " | ".join(f"{count:,}" for count in counted.values()) + " |")
                figures |= {f"care_{care}_{name.split()[0]}_{what}": count for what, count in counted.items()}
    table = [f"| {' | '.join(HEAD)} |", f"| ---: | --- |{' ---: |' * (len(HEAD) - 2)}", *lines]
    text = "\n".join([*table, "", *sayings])
    publish(save, __spec__.name, text, ("data/labelled.parquet", "data/review"), figures)


if __name__ == "__main__":
    main()
