"""How many labels are enough? Scores of a tuned model and of classifiers of words by the number of labels.

Example:
    python -m benchmarks.real.learning

The model is trained on the first training rows of one random order (benchmarks/real/fewer.py), the classifiers of words
on the same rows and the validation rows, on which the model's threshold is chosen. All answer the test items.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from benchmarks.real.chats import CHATS, DRAWS, ROOT, in_brackets, publish, table
from chatladder.evaluation.comparison import Exam, Scored, exam_of, score
from chatladder.evaluation.predictions import Items, Predictions, log_odds_of, read_items, read_seeds
from chatladder.evaluation.scores import NEEDED, NOT_NEEDED, Interval, over_seeds
from chatladder.evaluation.threshold import choose, decide
from chatladder.evaluation.word_baselines import Deals, cut_of, trained_baselines, word_baselines
from chatladder.io.console import SETTINGS, example
from chatladder.io.files import read_json
from chatladder.io.params import read_yaml
from chatladder.labels.folds import labelled_rows
from chatladder.vocabulary import POSITIVE

DEALS = Deals(folds=5, repeats=2, seed=0)


class Labels(NamedTuple):
    """The labels for training, and the items to answer.

    Attributes:
        exam: The test items.
        chosen_on: The validation items.
        learned: Labelled questions to fit to, including those for validation.
        tested: The test items as labelled questions.
    """

    exam: Exam
    chosen_on: Items
    learned: list[dict[str, Any]]
    tested: list[dict[str, Any]]


def labels_of(folder: Path, rows: int | None) -> Labels:
    """Return the labels of a chat with so many training rows, or all of them for None."""
    path = folder / "data" / "labelled.parquet"
    by_id = {row["item_id"]: row for row in labelled_rows(path)}
    alpaca = folder / "data" / ("alpaca" if rows is None else f"fewer/{rows}")
    kept = {row["item_id"] for split in ("train", "validation") for row in read_json(alpaca / f"{split}.json")}
    exam = exam_of(path, DRAWS)
    chosen_on = read_items(path, "validation", is_small=True)
    return Labels(
        exam,
        chosen_on,
        [row for row in by_id.values() if row["item_id"] in kept],
        [by_id[each] for each in exam.items.ids],
    )


def tuned(labels: Labels, path: Path) -> Scored:
    """Return the scores of a tuned model, each seed at the threshold chosen on the validation items."""
    validation, test = (read_seeds(path, items.ids) for items in (labels.chosen_on, labels.exam.items))
    references = labels.chosen_on.references
    return score(labels.exam, {seed: decide(each, choose(validation[seed], references)) for seed, each in test.items()})


def by_words(labels: Labels) -> dict[str, Scored]:
    """Return the scores of the classifiers of words, each at a threshold chosen out of fold."""
    is_needed = np.array([row["label"] == POSITIVE for row in labels.learned], dtype=np.int64)
    folded = word_baselines(labels.learned, is_needed, DEALS)
    shares = trained_baselines(labels.learned, is_needed, labels.tested, DEALS.seed)
    scored = {}
    for name, each in shares.items():
        answers = np.where(each > cut_of(folded[name], is_needed), NEEDED, NOT_NEEDED)
        log_odds, known = log_odds_of(each, 1 - each), np.ones(len(each), dtype=np.bool_)
        predictions = Predictions(answers, log_odds, np.zeros(len(each)), known, float(log_odds.mean()), known)
        scored[name] = score(labels.exam, {0: predictions})
    return scored


def difference(one: Scored, other: Scored, metric: str) -> Interval:
    """Return the difference between two scores, on the same items and draws."""
    return over_seeds(one.draws[metric] - other.draws[metric], one.conversations).mean


def rows_of(folder: Path, fewer: Mapping[str, Sequence[Any]]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each number of labels and each model with answers."""
    for rows in (*fewer["rows"], None):
        labels = labels_of(folder, rows)
        words = by_words(labels)
        best = max(words.values(), key=lambda each: float(each.draws["macro_f1"][0, 0]))
        count = f"{len(labels.learned):,}"
        for name, each in words.items():
            yield (f"words: {name}", count, *(in_brackets(each.of(metric).mean) for metric in METRICS), "")
        for rung in fewer["rungs"]:
            answers = f"fewer/{rung}_{rows}" if rows else f"tuned/{rung}"
            path = folder / "predictions" / f"{answers}.parquet"
            if path.exists():
                each = tuned(labels, path)
                scores = (in_brackets(each.of(metric).mean) for metric in METRICS)
                yield (rung, count, *scores, in_brackets(difference(each, best, "macro_f1"), "+.3f"))


METRICS = ("macro_f1", "auroc")


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
def main() -> None:
    """Write the learning curve of each chat."""
    parts = [
        "Labels: those that are learned from, and those for validation, on which a model's threshold is chosen. The "
        "last column is the model's macro-F1 less that of the better classifier of words with as many labels."
    ]
    header = ("answers", "labels", "macro-F1", "AUROC", "above words")
    for chat in CHATS:
        fewer = read_yaml(ROOT / chat / "params.yaml")["fewer"]
        if fewer["rungs"]:
            parts += [f"## {chat}", table(header, list(rows_of(ROOT / chat, fewer)))]
    publish("learning", "How many labels are enough?", parts)


if __name__ == "__main__":
    main()
