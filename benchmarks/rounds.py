"""The changes of the second annotation round, for docs/how-to/rounds.md, and the number of wrong labels then.

Run it in the repository's root, after ``dvc repro``, with the commits of both rounds in the history.

Example:
    python -m benchmarks.rounds --save benchmarks/results/rounds.md

Prints some lines of ``dvc metrics diff`` for the two commits. Wrong labels are counted on the questions that both
rounds labelled and that were not chosen by a model or a doubt, by the truth that only a simulated chat has.
"""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.results import known, publish, save_option
from chatladder.cli.simulate import read_truth, true_items
from chatladder.io.console import SETTINGS, DataError, InputFile, example
from chatladder.io.rows import LABEL_SETS, QUESTIONS, read_rows

ROUNDS = (1, 2)
METRICS = ("metrics/annotation.json", "metrics/scaling.json")
KEPT = re.compile(
    r"adjudicated|disagreed|flipped|needed|not_needed|settled|items|auroc\.slope\w*"
    r"|label_sets\.round 2 against round 1\.untouched\.(points\w*|power)"
)
COLUMNS = 5


def commit(number: int) -> str:
    """Return the latest commit of the results of a round.

    Raises:
        DataError: If there is no such commit.
    """
    command = ["git", "log", "-1", "--format=%h", f"--grep=^Results of round {number}"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if not found:
        raise DataError(f"git log: expected a commit whose message begins with 'Results of round {number}', got none.")
    return found


def shown(printed: str) -> str:
    """Return the lines of ``dvc metrics diff`` that the page shows, with rounds for commits, in narrow columns."""
    head, *lines = (re.split(r"\s{2,}", line.strip()) for line in printed.strip().splitlines())
    named = [*head[:2], *(f"round {number}" for number in ROUNDS), *head[4:]]
    rows = [named, *(line for line in lines if len(line) == COLUMNS and KEPT.fullmatch(line[1]))]
    widths = [max(len(row[column]) for row in rows) for column in range(COLUMNS)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def wrong(label_sets: Path, questions: Path, truth: Path) -> dict[str, int]:
    """Return how many questions both rounds labelled, and how many labels of each were wrong."""
    rows: Sequence[dict[str, str]] = [
        row
        for row in read_rows(label_sets, LABEL_SETS).to_pylist()
        if (row["kind"], row["first"], row["second"]) == ("rounds", "round 2", "round 1")
    ]
    true = {item.item_id: item.label for item in true_items(read_rows(questions, QUESTIONS), read_truth(truth))}
    before, after = (sum(row[side] != true[row["item_id"]] for row in rows) for side in ("second_label", "first_label"))
    return {"items": len(rows), "wrong_before": before, "wrong_after": after}


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--label-sets", type=InputFile, default="data/label_sets.parquet", show_default=True)
@click.option("--questions", type=InputFile, default="data/questions.parquet", show_default=True)
@click.option("--truth", type=InputFile, default="data/demo/truth.jsonl.bz2", show_default=True)
@save_option
def main(label_sets: Path, questions: Path, truth: Path, save: Path | None) -> None:
    """Print what the second round changed."""
    command = [sys.executable, "-m", "dvc", "metrics", "diff", *map(commit, ROUNDS), "--targets", *METRICS]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    text = f"```\n{shown(printed)}\n```"
    rests_on = known(label_sets, questions, Path("data/predictions/vanilla"))
    publish(save, __spec__.name, text, rests_on, wrong(label_sets, questions, truth))


if __name__ == "__main__":
    main()
