"""Scores of a tuned model and of classifiers of words by the number of labels, of this chat and of another.

Example:
    python -m benchmarks.real.learning

The model is trained on the first training rows of one random order (benchmarks/real/fewer.py), the classifiers of words
on the same rows and the validation rows, on which the model's threshold is chosen. All answer the test items. Some
models also learned from all labels of the other chat, in another language, or from nothing else.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from benchmarks.real.chats import CHATS, DRAWS, ROOT, in_brackets, publish, table
from chatladder.evaluation.comparison import Exam, Scored, exam_of, score
from chatladder.evaluation.predictions import Items, Predictions, log_odds_of, read_items, read_seeds
from chatladder.evaluation.scores import NEEDED, NOT_NEEDED, Interval, bootstrap, over_seeds
from chatladder.evaluation.threshold import choose, decide
from chatladder.evaluation.word_baselines import Deals, cut_of, trained_baselines, word_baselines
from chatladder.io.console import SETTINGS, example
from chatladder.io.files import read_json, write_json
from chatladder.io.params import read_yaml
from chatladder.io.rows import LABELLED, read_rows
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
    """Return the labels of a chat with so many training rows, which may be none, or all of them for None."""
    path = folder / "data" / "labelled.parquet"
    by_id = {row["item_id"]: row for row in labelled_rows(path)}
    alpaca = folder / "data" / (f"fewer/{rows}" if rows else "alpaca")
    splits = ("validation",) if rows == 0 else ("train", "validation")
    kept = {row["item_id"] for split in splits for row in read_json(alpaca / f"{split}.json")}
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


def models_of(folder: Path, params: Mapping[str, Any], rows: int | None) -> Iterator[tuple[str, Path]]:
    """Yield the name and the answers of each model that learned from so many rows of this chat."""
    other, predictions = params["other"], folder / "predictions"
    count = f"{read_rows(ROOT / other / 'data/labelled.parquet', LABELLED).num_rows:,} of {other}"
    if rows != 0:
        for rung in params["fewer"]["rungs"] if rows else params["ladder"]:
            yield rung, predictions / (f"fewer/{rung}_{rows}.parquet" if rows else f"tuned/{rung}.parquet")
    else:
        learned = len(read_json(ROOT / other / "data/alpaca/train.json"))
        for rung in params["transferred"]:
            yield f"{rung}, from {learned:,} of {other}", predictions / f"transferred/{rung}.parquet"
    for rung in params["helped"]["rungs"] if rows in params["helped"]["rows"] else ():
        yield f"{rung}, {'and' if rows else 'from'} {count}", predictions / f"helped/{rung}_{rows}.parquet"


class Line(NamedTuple):
    """One line of the table.

    Attributes:
        name: The model or the classifier that answered.
        labels: The number of this chat's labels that it rests on.
        scored: Its scores.
        above: Its macro-F1 less that of the better classifier of words; None for those.
        answers: The file of its answers; None for classifiers of words.
    """

    name: str
    labels: int
    scored: Scored
    above: Interval | None = None
    answers: Path | None = None

    def cells(self) -> tuple[str, ...]:
        """Return the cells of the table."""
        scores = (in_brackets(self.scored.of(metric).mean) for metric in METRICS)
        return (self.name, f"{self.labels:,}", *scores, in_brackets(self.above, "+.3f") if self.above else "")

    def figures(self) -> dict[str, Any]:
        """Return the numbers of a model, for sentences."""
        given = {**{metric: self.scored.of(metric).mean for metric in METRICS}, "above": self.above}
        ends = {"": "value", "_lo": "lo", "_hi": "hi"}
        return {"labels": self.labels} | {
            f"{name}{end}": round(getattr(each, field), 4)
            for name, each in given.items()
            for end, field in ends.items()
        }


def lines_of(folder: Path, params: Mapping[str, Any]) -> Iterator[Line]:
    """Yield a line for each number of labels and each model with answers."""
    for rows in (0, *params["fewer"]["rows"], None):
        labels = labels_of(folder, rows)
        words, count = by_words(labels), len(labels.learned)
        best = max(words.values(), key=lambda each: float(each.draws["macro_f1"][0, 0]))
        yield from (Line(f"words: {name}", count, each) for name, each in words.items())
        for name, path in models_of(folder, params, rows):
            if path.exists():
                each = tuned(labels, path)
                yield Line(name, count, each, difference(each, best, "macro_f1"), path)


def transferred(folder: Path, params: Mapping[str, Any]) -> Iterator[tuple[str, Interval, int]]:
    """Yield each model of the other chat, its AUROC on all labelled questions here, and their number."""
    path = folder / "data/labelled.parquet"
    items = read_items(path, None)
    exam = Exam(items, bootstrap(items.conversations, DRAWS), np.zeros((0, 2), dtype=np.int64))
    for rung in params["transferred"]:
        answers = folder / "predictions/transferred" / f"{rung}.parquet"
        if answers.exists():
            yield rung, score(exam, read_seeds(answers, items.ids)).of("auroc").mean, len(items.ids)


METRICS = ("macro_f1", "auroc")


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
def main() -> None:
    """Write the learning curve of each chat."""
    parts = [
        "Labels: those that are learned from, and those for validation, on which a model's threshold is chosen. The "
        "last column is the model's macro-F1 less that of the better classifier of words with as many labels. The two "
        "chats differ in language and people; both are about Ubuntu, and one language model read both."
    ]
    header = ("answers", "labels", "macro-F1", "AUROC", "above words")
    for chat in CHATS:
        folder = ROOT / chat
        params = read_yaml(folder / "params.yaml")
        lines = list(lines_of(folder, params))
        parts += [f"## {chat}", table(header, [line.cells() for line in lines])]
        figures: dict[str, dict[str, Any]] = {}
        for line in lines:
            if line.answers:
                figures.setdefault(line.answers.parent.name, {})[line.answers.stem] = line.figures()
        for rung, area, count in transferred(folder, params):
            figures["transferred"][rung] |= {"all": count, "auroc_of_all": round(area.value, 4)}
            source = f"{rung} from {params['other']} alone"
            parts.append(f"On all {count:,} labelled questions, {source} has an AUROC of {in_brackets(area)}.")
        write_json(folder / "metrics/learning.json", figures)
    publish("learning", "How many labels are enough?", parts)


if __name__ == "__main__":
    main()
