r"""Answer each labelled question with two cheap classifiers of words that learned from other conversations.

Logistic regression and gradient boosting on TF-IDF of the question and of the turns before it: seconds of work, no base
model. Like out-of-fold adapters, they are evidence about a label that owes nothing to that label.

Example:
    python -m stages.word_baselines --labelled data/labelled.parquet --folds 5 --repeats 2 --seed 0 \
        --out data/predictions/words
"""

from pathlib import Path

import click
import numpy as np

from chatladder.evaluation.word_baselines import Deals, prediction_rows, word_baselines
from chatladder.io.console import NOTHING_KEPT, SETTINGS, InputFile, OutputFolder, example, stoppable
from chatladder.io.files import whole_folder
from chatladder.io.options import options_of
from chatladder.io.rows import PREDICTIONS, write_rows
from chatladder.labels.folds import check_folds, folds_of, reviewable
from chatladder.vocabulary import POSITIVE


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--labelled", type=InputFile, required=True, help="Labelled questions (parquet).")
@options_of(Deals, "deals")
@click.option("--out", type=OutputFolder, required=True, help="Folder for line.parquet and trees.parquet.")
@stoppable(NOTHING_KEPT)
def main(labelled: Path, deals: Deals, out: Path) -> None:
    """Write, for every labelled question outside the test split, what classifiers say that never saw its label."""
    items = reviewable(labelled)
    labels = [item["label"] for item in items]
    check_folds(labels, folds_of([item["conversation"] for item in items], deals.folds, deals.seed), labelled)
    is_needed = np.array([label == POSITIVE for label in labels], dtype=np.int64)
    answers = word_baselines(items, is_needed, deals)
    with whole_folder(out, *(f"{name}.parquet" for name in answers)) as folder:
        for name, shares in answers.items():
            write_rows(folder / f"{name}.parquet", prediction_rows(items, shares), PREDICTIONS)
    agreeing = ", ".join(f"{name} {np.mean((shares > 0.5) == is_needed):.3f}" for name, shares in answers.items())
    click.echo(f"{out}: {len(items):,} answers each; share that agrees with the labels: {agreeing}")


if __name__ == "__main__":
    main()
