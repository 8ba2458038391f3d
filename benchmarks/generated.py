r"""What asking untouched models by generating changes against scoring their options: equal answers, unread, precision.

Example:
    python -m benchmarks.generated --labelled data/labelled.parquet --bases data/bases

Every embedded or local rung in the folder answers all labelled items in one order of the options, each item's own, once
by each way. Prints a Markdown table. Precision is as answered: the share of "needed" among the items to which a model
answers "needed"; an answer that is none of the options counts as neither.
"""

from pathlib import Path

import click
import numpy as np

from chatladder.distributed import workers
from chatladder.evaluation.rungs import read_rungs
from chatladder.io.console import SETTINGS, InputFile, InputFolder, example
from chatladder.io.options import options_of
from chatladder.io.rows import LABELLED, read_rows
from chatladder.models.generating import generate_rung, named_rows
from chatladder.models.prompts import PromptSettings, render_row
from chatladder.models.scoring import prediction_rows, score_rung
from chatladder.vocabulary import POSITIVE

HEADS = ("rung", "items", "equal answers", "none of the options", "precision, scored", "precision, generated")


def precision(answers: np.ndarray, labels: np.ndarray) -> str:
    """Return the precision in percent, and of how many answers, as a table shows it."""
    given = answers == POSITIVE
    return f"{100 * (labels[given] == POSITIVE).mean():.1f} % of {given.sum():,}" if given.any() else "none given"


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--labelled", type=InputFile, default="data/labelled.parquet", show_default=True, help="Labelled items.")
@click.option("--bases", type=InputFolder, default="data/bases", show_default=True, help="Folder of base folders.")
@click.option("--max-length", type=click.IntRange(64), default=1400, show_default=True, help="Tokens of a prompt.")
@options_of(PromptSettings, "prompt")
def main(labelled: Path, bases: Path, max_length: int, prompt: PromptSettings) -> None:
    """Print the table of both ways of asking, a row a rung."""
    items = read_rows(labelled, LABELLED).to_pylist()
    prompts = [render_row(item, prompt) for item in items]
    labels = np.array([item["label"] for item in items])
    click.echo(f"| {' | '.join(HEADS)} |\n|---|{'---:|' * (len(HEADS) - 1)}")
    for rung in read_rungs(bases, sorted(path.parent.name for path in bases.glob("*/rung.json"))).dense:
        base = bases / rung.key
        with workers() as pool:
            scores, _, _ = score_rung(base, None, prompts, max_length, pool)
            texts, _, _ = generate_rung(base, None, prompts, max_length, pool)
        scored = np.array([row["answer"] for row in prediction_rows(items, scores)])
        rows = named_rows(items, prompts, texts)
        written = np.array([row["answer"] for row in rows])
        parsed = np.array([row["parsed"] for row in rows])
        equal = 100 * (parsed & (scored == written)).mean()
        cells = (rung.key, f"{len(items):,}", f"{equal:.1f} %", f"{(~parsed).sum():,}")
        click.echo(f"| {' | '.join([*cells, precision(scored, labels), precision(written, labels)])} |")


if __name__ == "__main__":
    main()
