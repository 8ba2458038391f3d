"""How well wrong labels are found: errors put into right labels, ranked by chatladder and by cleanlab.

Run it in the repository's root; it needs ``pip install "cleanlab>=2.9,<3"``.

Example:
    python -m benchmarks.label_errors --set gecor=gecor-camrest.jsonl --set trec=trec-cast.jsonl --seeds 5

Labels are flipped in two ways. "Uniform": items drawn uniformly. "Hard": as a second, weaker annotator would err, drawn
in proportion to the square of that annotator's error probability. The weaker annotator is a naive Bayes classifier of
the question's single words (cross-fitted; it sees no history, and none of the rankings uses it).

The rankings:

- ours: ``stages.rank_labels`` on word baselines;
- cleanlab, same sources: self-confidence on the mean of the same out-of-fold probabilities;
- cleanlab, our probabilities: ``find_label_issues`` on the combined probability of ours, its issues first;
- cleanlab, TF-IDF: ``find_label_issues`` on out-of-fold logistic regression of TF-IDF, its issues first;
- chance.

Recall in the top 10 and 20 % of the items, precision at E (E: the number of errors) and average precision are means
over the seeds. The ratio is that of our average precision to the better of the two cleanlab rows that do not use our
probabilities, with a 95 % interval (Student's t over the seeds, of its logarithm).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.results import publish, save_option
from chatladder.cli.import_labelled import hide, read_labelled
from chatladder.evaluation.label_errors import Evidence, log_odds, probability_needed
from chatladder.evaluation.scores import Floats
from chatladder.evaluation.word_baselines import (
    Deals,
    boosted,
    cross_fitted,
    linear_features,
    logistic,
    overlap,
    texts_of,
    tree_features,
)
from chatladder.io.console import SETTINGS, InputFile, example
from chatladder.io.params import read_settings
from chatladder.privacy.pseudonyms import Pseudonyms

Labels = NDArray[np.int64]
#: Outputs of the graph that the demo's part depends on.
DEMO = ("data/labelled.parquet", "data/bases", "data/predictions/vanilla")
CONDITIONS = ((0.05, "uniform"), (0.10, "uniform"), (0.05, "hard"), (0.10, "hard"))
RIVALS = ("cleanlab, same sources", "cleanlab, TF-IDF")
#: The number of random orders over which rankings with ties are averaged.
ORDERS = 50


class Set(NamedTuple):
    """Items whose labels are right, as far as is known.

    Attributes:
        name: The name in the table.
        rows: Rows of QUESTIONS.
        labels: 1 for needed, shape ``(n,)``.
        conversations: The conversation of each item.
        hardness: The probability that a weaker annotator is wrong, shape ``(n,)``.
    """

    name: str
    rows: list[dict[str, Any]]
    labels: Labels
    conversations: list[str]
    hardness: Floats


class Found(NamedTuple):
    """How well one ranking found the errors."""

    top_10: float
    top_20: float
    precision: float
    average_precision: float


def weaker_annotator(rows: Sequence[Mapping[str, Any]], labels: Labels, conversations: Sequence[str]) -> Floats:
    """Return the probability that naive Bayes of the question's words is wrong about each item, shape ``(n,)``."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import BernoulliNB

    vectorizer = CountVectorizer(binary=True, min_df=2, token_pattern=r"(?u)\w+")
    words = vectorizer.fit_transform([row["text"] for row in rows])

    def bayes(learned: Any, given: Labels, asked: Any) -> Floats:
        return BernoulliNB().fit(learned, given).predict_proba(asked)[:, 1]

    needed = cross_fitted(words, labels, conversations, bayes, Deals(folds=3, repeats=1, seed=7))
    return np.where(labels == 1, 1 - needed, needed)


def labelled_set(name: str, path: Path) -> Set:
    items = [item for item in read_labelled(path) if item.question["window"]]
    hidden = hide(items, Pseudonyms("public data needs no secret"))
    rows = [item.question for item in hidden]
    labels = np.array([item.label == "needed" for item in hidden], dtype=np.int64)
    conversations = [row["conversation"] for row in rows]
    return Set(name, rows, labels, conversations, weaker_annotator(rows, labels, conversations))


def flipped(labels: Labels, hardness: Floats, share: float, kind: str, seed: int) -> Labels:
    """Return the labels with the given share of them flipped."""
    generator = np.random.Generator(np.random.PCG64(seed))
    weights = hardness**2 + 1e-6 if kind == "hard" else np.ones(len(labels))
    errors = generator.choice(len(labels), round(share * len(labels)), replace=False, p=weights / weights.sum())
    given = labels.copy()
    given[errors] ^= 1
    return given


def as_plain(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Return what a scikit-learn user would start with: TF-IDF of the question's characters and of the whole text."""
    from scipy.sparse import csr_matrix, hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    questions, histories = texts_of(rows)
    everything = [f"{history}\n{question}" for question, history in zip(questions, histories, strict=True)]
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), min_df=2, sublinear_tf=True)
    return csr_matrix(hstack([characters.fit_transform(questions), characters.fit_transform(everything)]))


class Prepared(NamedTuple):
    """Features of a set, which do not depend on labels."""

    line: Any
    trees: Floats
    plain: Any
    overlap: Floats


def rankings(data: Set, given: Labels, prepared: Prepared, deals: Deals) -> dict[str, Floats]:
    """Return the suspicion of every item by every ranking, shape ``(n,)`` each; equal values are ties."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    def fitted(features: Any, classifier: Any) -> Floats:
        return cross_fitted(features, given, data.conversations, classifier, deals)

    def two_columns(needed: Floats) -> Floats:
        return np.column_stack([1 - needed, needed])

    def issues_first(needed: Floats) -> Floats:
        columns = two_columns(needed)
        quality = get_label_quality_scores(given, columns)
        issues = find_label_issues(given, columns)
        return (1 - quality) + issues

    shares = {"line": fitted(prepared.line, logistic), "trees": fitted(prepared.trees, boosted)}
    evidence = Evidence({}, {}, {name: log_odds(values) for name, values in shares.items()})
    needed = probability_needed(evidence, prepared.overlap, given, data.conversations, seed=0)
    mean = np.mean([*shares.values()], axis=0)
    return {
        "ours": np.where(given == 1, 1 - needed, needed),
        "cleanlab, same sources": 1 - get_label_quality_scores(given, two_columns(mean)),
        "cleanlab, our probabilities": issues_first(needed),
        "cleanlab, TF-IDF": issues_first(fitted(prepared.plain, logistic)),
        "chance": np.zeros(len(given)),
    }


def measure(suspicion: Floats, wrong: NDArray[np.bool_]) -> Found:
    """Return how well a ranking finds the errors; with ties, the mean over random orders."""
    generator = np.random.Generator(np.random.PCG64(0))
    orders = ORDERS if len(np.unique(suspicion)) < len(suspicion) else 1
    total = np.zeros(4)
    for _ in range(orders):
        shuffled = generator.permutation(len(wrong))
        hits = wrong[shuffled[np.argsort(-suspicion[shuffled], kind="stable")]]
        errors = hits.sum()
        tenth, fifth = (round(share * len(hits)) for share in (0.1, 0.2))
        precision = (np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean()
        total += [hits[:tenth].sum() / errors, hits[:fifth].sum() / errors, hits[:errors].mean(), precision]
    return Found(*(float(value) for value in total / orders))


def conditions(data: Set, seeds: int) -> Iterator[tuple[str, list[Labels]]]:
    """Yield the labels that are ranked: the name of the condition, and one array for each seed."""
    for share, kind in CONDITIONS:
        yield f"{share:.0%} {kind}", [flipped(data.labels, data.hardness, share, kind, seed) for seed in range(seeds)]


def ratio(found: Mapping[str, Sequence[Found]]) -> str:
    """Return the ratio of our average precision to the better rival's, with its interval."""
    from scipy.stats import t

    means = {name: np.mean([each.average_precision for each in found[name]]) for name in RIVALS}
    best = max(means, key=lambda name: means[name])
    logs = [
        math.log(own.average_precision / other.average_precision)
        for own, other in zip(found["ours"], found[best], strict=True)
    ]
    value = math.exp(float(np.mean(logs)))
    if len(logs) < 2:
        return f"{value:.2f} ({best})"
    half = float(t.ppf(0.975, len(logs) - 1)) * float(np.std(logs, ddof=1)) / math.sqrt(len(logs))
    return f"{value:.2f} [{value * math.exp(-half):.2f}, {value * math.exp(half):.2f}] ({best})"


HEADS = ("labels", "errors", "ranking", "recall, top 10 %", "recall, top 20 %", "precision at E", "average precision")


def report(data: Set, seeds: int, deals: Deals) -> Iterator[str]:
    """Yield the rows of the table for one set."""
    prepared = Prepared(
        linear_features(data.rows), tree_features(data.rows, 0), as_plain(data.rows), overlap(data.rows)
    )
    for name, drawn in conditions(data, seeds):
        found: dict[str, list[Found]] = {}
        for given in tqdm(drawn, desc=f"{data.name} {name}", disable=None):
            for ranking, suspicion in rankings(data, given, prepared, deals).items():
                found.setdefault(ranking, []).append(measure(suspicion, given != data.labels))
        for ranking, each in found.items():
            figures = " | ".join(f"{value:.2f}" for value in np.mean(each, axis=0))
            yield f"| {data.name} | {name} | {ranking} | {figures} | {ratio(found) if ranking == 'ours' else ''} |"


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--set", "sets", multiple=True, required=True, help="NAME=FILE: labelled questions; repeat it.")
@click.option("--seeds", type=click.IntRange(1), default=5, show_default=True, help="Draws of errors, from seed 0 on.")
@save_option
def main(sets: tuple[str, ...], seeds: int, save: Path | None) -> None:
    """Print how well wrong labels are found, as Markdown."""
    deals = read_settings(Deals, Path("params.yaml"), "review.words")
    lines = [
        f"| {' | '.join(HEADS)} | ours to the better cleanlab |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    sizes = []
    for name, _, path in (pair.partition("=") for pair in sets):
        data = labelled_set(name, InputFile.convert(path, None, None))
        lines += report(data, seeds, deals)
        sizes.append(f"{data.name}: {len(data.rows):,} items, {100 * data.labels.mean():.0f} % needed")
    publish(save, __spec__.name, "\n".join([*lines, "", f"{'; '.join(sizes)}; {seeds} draws."]))


if __name__ == "__main__":
    main()
