"""The whole loop on the demo, by commands alone: round 1, gate and queue, a blind review, and what it changed.

Run it in the repository's root, after ``dvc repro``; it works on a clone in a temporary folder and shares DVC's cache.

Example:
    python -m benchmarks.loop --seed 2405

The clone forgets round 2 of the committed annotations, so that the review of round 1's queue becomes round 2. Two
simulated annotators answer it: more carefully than in round 1, and misled by what misled them then. The commands that
were run are printed with what they said, then ``dvc metrics diff``, then how many labels are wrong, which only the
simulator knows.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import click

from chatladder.cli.simulate import read_truth, true_items
from chatladder.io.console import SETTINGS, example
from chatladder.io.rows import LABELLED, QUESTIONS, read_rows

#: Metrics that a round of review is judged by.
SHOWN = (
    "metrics/annotation.json",
    "metrics/scaling.json",
    "metrics/models.json",
    "metrics/review.json",
)
#: And of them the lines that are shown.
JUDGED_BY = re.compile(
    r"Path |---|_rate |\.excess|disagreed|\bflipped|scaling.*(items|gate) "
    r"|json\W+(precision|macro_f1)\.slope|tuned\.macro_f1 |contradicted"
)


class Clone:
    """A clone of the repository, in which commands are run and said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def run(self, command: str, *, shown: bool = True) -> str:
        """Run one command line; its output is printed and given back.

        Raises:
            click.ClickException: If it fails.
        """
        if shown:
            click.echo(f"$ {command}")
        done = subprocess.run(
            shlex.split(command), cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        if done.returncode:
            raise click.ClickException(f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        if shown:
            click.echo("".join(f"{line}\n" for line in _worth_reading(done.stdout)), nl=False)
        return done.stdout

    def commit(self, message: str) -> str:
        """Commit everything, and give the commit's name."""
        self.run("git add -A", shown=False)
        self.run(f"git -c user.name=loop -c user.email=loop@localhost commit -qm {shlex.quote(message)}", shown=False)
        return self.run("git rev-parse --short HEAD", shown=False).strip()

    def rounds(self, number: int) -> None:
        """Let so many rounds count."""
        path = self.folder / "params.yaml"
        text = path.read_text(encoding="utf-8")
        line = next(line for line in text.splitlines() if line.startswith("  round: "))
        path.write_text(text.replace(line, f"  round: {number}"), encoding="utf-8")
        click.echo(f"# params.yaml: annotation.round: {number}")

    def wrong(self) -> Counter[str]:
        """Labels and wrong labels, of the test split and of the rest."""
        questions = read_rows(self.folder / "data/questions.parquet", QUESTIONS)
        truths = read_truth(self.folder / "data/demo/truth.jsonl.bz2")
        truth = {item.item_id: item.label for item in true_items(questions, truths)}
        counts: Counter[str] = Counter()
        for row in read_rows(self.folder / "data/labelled.parquet", LABELLED).to_pylist():
            part = "test" if row["split"] == "test" else "reviewable"
            counts[part] += 1
            counts[f"{part} wrong"] += truth[row["item_id"]] != row["label"]
        return counts


def _worth_reading(output: str) -> list[str]:
    """What stages say of gate, queue and review, and of a difference the lines that a round is judged by."""
    said = ("gate", "data/review:", "round ")
    return [
        line
        for line in output.splitlines()
        if line.startswith(said) or (line.startswith("|") and JUDGED_BY.search(line))
    ]


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--seed", type=int, required=True, help="Of the simulated reviewers.")
def main(seed: int) -> None:
    """Review round 1 of the demo's labels, and print what that changed."""
    cache = Path(".dvc/cache").resolve()
    with tempfile.TemporaryDirectory() as temporary:
        clone = Clone(Path(temporary) / "chatladder")
        subprocess.run(["git", "clone", "-q", ".", str(clone.folder)], check=True)
        clone.run(f"dvc cache dir --local {shlex.quote(str(cache))}", shown=False)
        shutil.rmtree(clone.folder / "data/annotations/round_2")
        clone.rounds(1)
        clone.run("dvc repro")
        before, first = clone.wrong(), clone.commit("Round 1")
        clone.run(
            f"chatladder simulate-review --truth data/demo/truth.jsonl.bz2 --seed {seed} "
            "--annotator annotator_a --annotator annotator_b"
        )
        clone.rounds(2)
        clone.run("dvc repro")
        after, second = clone.wrong(), clone.commit("Round 2")
        clone.run(f"dvc metrics diff --md {first} {second} --targets {' '.join(SHOWN)}")
        click.echo("\n| labels | before | after |\n| --- | ---: | ---: |")
        for part in ("reviewable", "reviewable wrong", "test", "test wrong"):
            click.echo(f"| {part} | {before[part]:,} | {after[part]:,} |")


if __name__ == "__main__":
    main()
