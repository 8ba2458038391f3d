r"""Answer each labelled question with two cheap classifiers of words that learned from other conversations.

Logistic regression and gradient boosting on TF-IDF of the question and of the turns before it: seconds of work, no base
model. Like out-of-fold adapters, they are evidence about a label that owes nothing to that label.

Example:
    python -m stages.word_baselines --labelled data/labelled.parquet --folds 5 --repeats 2 --seed 0 \
        --out data/predictions/words
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from chatladder.evaluation.baselines import word_baselines
from chatladder.evaluation.features import Floats
from chatladder.io.console import NOTHING_KEPT, SETTINGS, InputFile, OutputFolder, example, stoppable
from chatladder.io.files import whole_folder
from chatladder.io.rows import PREDICTIONS, write_rows
from chatladder.labels.folds import check_folds, folds_of, reviewable


def prediction_rows(items: Sequence[dict[str, Any]], shares: Floats) -> list[dict[str, Any]]:
    """Rows of ``PREDICTIONS``; a classifier of two labels never answers that it does not know.

    Args:
        items: Labelled questions.
        shares: Probability of "needed" of each, shape ``(n,)``.
    """
    return [
        {
            "item_id": item["item_id"],
            "p_needed": float(share),
            "p_not_needed": float(1 - share),
            "p_unknown": 0.0,
            "answer": "needed" if share > 0.5 else "not_needed",
            "parsed": True,
        }
        for item, share in zip(items, shares, strict=True)
    ]


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--labelled", type=InputFile, required=True, help="Labelled questions (parquet).")
@click.option("--folds", type=click.IntRange(2, 50), required=True, help="Parts that conversations are dealt into.")
@click.option("--repeats", type=click.IntRange(1, 50), required=True, help="How often they are dealt anew.")
@click.option("--seed", type=click.IntRange(0), required=True, help="Seed of the deals.")
@click.option("--out", type=OutputFolder, required=True, help="Folder for line.parquet and trees.parquet.")
@stoppable(NOTHING_KEPT)
def main(labelled: Path, folds: int, repeats: int, seed: int, out: Path) -> None:
    """Write, for every labelled question outside the test split, what classifiers say that never saw its label."""
    items = reviewable(labelled)
    labels = [item["label"] for item in items]
    check_folds(labels, folds_of([item["conversation"] for item in items], folds, seed), labelled)
    is_needed = np.array([label == "needed" for label in labels], dtype=np.int64)
    found = word_baselines(items, is_needed, folds=folds, repeats=repeats, seed=seed)
    with whole_folder(out, *(f"{name}.parquet" for name in found)) as folder:
        for name, shares in found.items():
            write_rows(folder / f"{name}.parquet", prediction_rows(items, shares), PREDICTIONS)
    right = {name: float(np.mean((shares > 0.5) == (is_needed == 1))) for name, shares in found.items()}
    agreeing = ", ".join(f"{name} {share:.3f}" for name, share in right.items())
    click.echo(f"{out}: {len(items):,} answers each; share that agrees with the labels: {agreeing}")


if __name__ == "__main__":
    main()
