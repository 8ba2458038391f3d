r"""Answer each labelled question with two cheap classifiers of words that learned from other conversations.

These are logistic regression and gradient boosting on TF-IDF of the question and of the turns before it; they take
seconds, and need no base model. Like out-of-fold adapters, they are evidence about a label that does not depend on it.

Example:
    python -m stages.word_baselines --labelled data/labelled.parquet --folds 5 --repeats 2 --seed 0 \
        --out data/predictions/words --baselines data/predictions/baselines

The baselines of the result table are trained on all of these items, and answer those of the test split: the same two
classifiers, trees on fifteen counts that know no words, and, with two labels, a rule about names.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from threadpoolctl import threadpool_limits

from chatladder.evaluation.cheap_baselines import cheap_baselines, counts_out_of_fold
from chatladder.evaluation.predictions import CHEAP_BASELINES
from chatladder.evaluation.scores import Floats
from chatladder.evaluation.word_baselines import (
    Deals,
    Labels,
    cut_of,
    prediction_rows,
    targets_of,
    trained_baselines,
    word_baselines,
)
from chatladder.io.console import NOTHING_KEPT, SETTINGS, InputFile, OutputFolder, example, stoppable
from chatladder.io.files import whole_folder
from chatladder.io.options import options_of
from chatladder.io.rows import write_rows
from chatladder.labels.folds import check_folds, folds_of, labelled_rows, reviewable
from chatladder.vocabulary import IS_BINARY, prediction_schema


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--labelled", type=InputFile, required=True, help="Labelled questions (parquet).")
@options_of(Deals, "deals")
@click.option("--out", type=OutputFolder, required=True, help="Folder for line.parquet and trees.parquet.")
@click.option("--baselines", type=OutputFolder, help="Folder for what baselines answer to the test split.")
@stoppable(NOTHING_KEPT)
def main(labelled: Path, deals: Deals, out: Path, baselines: Path | None) -> None:
    """Write, for every labelled question outside the test split, what classifiers say that never saw its label."""
    # Boosted trees on some thousand rows gain nothing from threads, and lose minutes if a core is busy.
    threadpool_limits(1)
    items = reviewable(labelled)
    names = [item["label"] for item in items]
    check_folds(names, folds_of([item["conversation"] for item in items], deals.folds, deals.seed), labelled)
    labels = targets_of(names)
    answers = word_baselines(items, labels, deals)
    write_answers(out, items, answers)
    if baselines:
        tested = [item for item in labelled_rows(labelled) if item["split"] == "test"]
        cheap = cheap_baselines(items, labels, tested)
        counted = {CHEAP_BASELINES[-1]: counts_out_of_fold(items, labels, deals)}
        cuts = {name: cut_of(shares, labels) for name, shares in (answers | counted).items()} if IS_BINARY else {}
        write_answers(baselines, tested, cheap | trained_baselines(items, labels, tested, deals.seed), cuts)
    agreeing = ", ".join(f"{name} {_agreement(shares, labels):.3f}" for name, shares in answers.items())
    click.echo(f"{out}: {len(items):,} answers each; share that agrees with the labels: {agreeing}")


def _agreement(shares: Floats, labels: Labels) -> float:
    answers = shares > 0.5 if IS_BINARY else shares.argmax(axis=1)
    return float(np.mean(answers == labels))


def write_answers(
    out: Path,
    items: Sequence[Mapping[str, Any]],
    answers: Mapping[str, Floats],
    cuts: Mapping[str, float] | None = None,
) -> None:
    """Write a file of ``PREDICTIONS`` for each classifier, all of them or none.

    Args:
        out: The folder.
        items: Labelled questions.
        answers: Classifier -> the probability of "needed" for each item, shape ``(n,)``; or of each label, shape
            ``(n, labels)``.
        cuts: Classifier -> the probability above which its answer is "needed"; one half by default.
    """
    with whole_folder(out, *(f"{name}.parquet" for name in answers)) as folder:
        for name, shares in answers.items():
            write_rows(
                folder / f"{name}.parquet",
                prediction_rows(items, shares, (cuts or {}).get(name, 0.5)),
                prediction_schema(),
            )


if __name__ == "__main__":
    main()
