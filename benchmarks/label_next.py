r"""Which questions should be labelled next? Labels saved by choosing them, compared with random orders.

Example:
    python -m benchmarks.label_next --labelled ../shared/data/labelled --save benchmarks/results/label_next.md

In each draw three in ten conversations are the test set, on which nothing is chosen. Labels of the others are bought in
batches, the first batch in the order of ``annotate``, the next by one of four rules. Two classifiers are fitted to the
bought labels and answer the test set at a threshold chosen out of fold on these labels. The rules differ only in their
labels: the features of all questions are computed once, without labels.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.real.chats import CHATS, Labels, needed, read_chat, scored, table
from benchmarks.results import publish, save_option
from chatladder.cli.import_labelled import read_labelled
from chatladder.evaluation.cheap_baselines import fifteen_counts, naming_rule
from chatladder.evaluation.scores import Floats
from chatladder.evaluation.word_baselines import (
    Deals,
    boosted,
    cross_fitted,
    cut_of,
    linear_features,
    logistic,
    tree_features,
)
from chatladder.io.console import SETTINGS, InputFolder, example
from chatladder.vocabulary import POSITIVE

#: The other sets, labelled by people or derived from people's marks.
LABELLED = ("gecor-camrest", "irc-replylink-weak", "trec-cast")
#: The share of conversations in the test set, and of a chosen batch that is drawn blind, to check the labels.
TEST, BLIND = 0.3, 0.2
#: The most rows of a set, and the number of batches after the first.
MOST_ROWS, STEPS = 1600, 6
DEALS = Deals(folds=3, repeats=1, seed=0)
BASELINE = "conversations at random"
#: A rule maps each voice's probabilities to a number for each question; the lowest is bought first.
RULES: dict[str, Callable[[Mapping[str, Floats], float], Floats] | None] = {
    BASELINE: None,
    "questions at random": None,
    "the uncertain first": lambda voices, cut: np.abs(voices["line"] - cut),
    "the disputed first": lambda voices, _: -np.std([_ranks(each) for each in voices.values()], axis=0),
}
#: The classifiers fitted to the bought labels: one that also chooses, and one without words.
LEARNERS = {"line": "words: line", "counts": "fifteen counts"}


class Pool(NamedTuple):
    """Labelled questions and their features.

    Attributes:
        name: The name of the set.
        labels: 1 for needed, shape ``(n,)``.
        conversations: The conversation of each question.
        features: Name of a classifier -> its features, ``n`` rows.
        rule: The answers of the naming rule, shape ``(n,)``.
    """

    name: str
    labels: Labels
    conversations: NDArray[np.str_]
    features: Mapping[str, Any]
    rule: Floats


def _ranks(values: Floats) -> Floats:
    """Return the share of values below each, ties in the middle, since voices may be calibrated differently."""
    ordered = np.sort(values)
    places = np.searchsorted(ordered, values) + np.searchsorted(ordered, values, "right")
    return np.asarray(places / (2 * len(values)))


def pool_of(name: str, rows: Sequence[Mapping[str, Any]], labels: Sequence[int]) -> Pool:
    """Return a set, cut to whole conversations if it is large."""
    conversations = np.array([row["conversation"] for row in rows])
    drawn = np.random.default_rng(0).permutation(np.unique(conversations))
    sizes = np.cumsum([np.sum(conversations == each) for each in drawn])
    kept = np.flatnonzero(np.isin(conversations, drawn[sizes <= MOST_ROWS]))
    some = [rows[place] for place in kept.tolist()]
    features = {"line": linear_features(some), "trees": tree_features(some, 0), "counts": fifteen_counts(some)}
    return Pool(name, np.array(labels, dtype=np.int64)[kept], conversations[kept], features, naming_rule(some))


def pools(labelled: Path) -> Iterator[Pool]:
    """Yield the two chats, where both readings agree, and the other sets, without questions that begin a talk."""
    for name in CHATS:
        chat = read_chat(name)
        agreed = scored(chat.readings[0]) & np.array([one == other for one, other in zip(*chat.readings, strict=True)])
        chosen = chat.where(agreed)
        yield pool_of(name, chosen.rows, needed(chosen.readings[0]).tolist())
    for name in LABELLED:
        given = [each for each in read_labelled(labelled / f"{name}.jsonl") if each.question["window"]]
        yield pool_of(name, [each.question for each in given], [int(each.label == POSITIVE) for each in given])


def learned(pool: Pool, name: str, bought: NDArray[np.int64], asked: NDArray[np.int64]) -> Floats:
    """Return the probability of "needed" of some questions by a classifier fitted to the bought labels."""
    features, classifier = pool.features[name], logistic if name == "line" else boosted
    return classifier(features[bought], pool.labels[bought], features[asked])


def threshold(pool: Pool, name: str, bought: NDArray[np.int64]) -> float:
    """Return the threshold of such a classifier, chosen out of fold on the bought labels."""
    features, classifier = pool.features[name], logistic if name == "line" else boosted
    labels = pool.labels[bought]
    return cut_of(
        cross_fitted(features[bought], labels, pool.conversations[bought].tolist(), classifier, DEALS), labels
    )


def macro_f1(pool: Pool, name: str, bought: NDArray[np.int64], test: NDArray[np.int64]) -> float:
    """Return the macro-F1 on the test set of a classifier fitted to the bought labels."""
    from sklearn.metrics import f1_score

    answers = learned(pool, name, bought, test) > threshold(pool, name, bought)
    return float(f1_score(pool.labels[test], answers, average="macro", zero_division=0))


def next_batch(
    pool: Pool, rule: str, bought: NDArray[np.int64], left: NDArray[np.int64], size: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Return the questions that a rule buys next from those left, which are in the order of ``annotate``."""
    if rule == BASELINE:
        return left[:size]
    shuffled = random.permutation(left)
    measure = RULES[rule]
    if measure is None:
        return shuffled[:size]
    blind, others = np.split(shuffled, [round(BLIND * size)])
    voices = {name: learned(pool, name, bought, others) for name in pool.features} | {"rule": pool.rule[others]}
    order = np.argsort(measure(voices, threshold(pool, "line", bought)), kind="stable")
    return np.concatenate([blind, others[order[: size - len(blind)]]])


def curves(pool: Pool, seed: int) -> tuple[NDArray[np.int64], Floats]:
    """Return one draw: numbers of labels, and macro-F1 of shape ``(rules, learners, numbers)``."""
    random = np.random.default_rng(seed)
    drawn = random.permutation(np.unique(pool.conversations))
    tests = drawn[: round(TEST * len(drawn))]
    test = np.flatnonzero(np.isin(pool.conversations, tests))
    # By conversation, in the set's order within each.
    places = {name: place for place, name in enumerate(drawn)}
    rest = np.flatnonzero(~np.isin(pool.conversations, tests))
    order = rest[np.argsort([places[each] for each in pool.conversations[rest]], kind="stable")]
    size = len(order) // (STEPS + 3)  # some remain to choose from until the end
    scores = []
    for rule in RULES:
        bought, left = order[:size], order[size:]
        own = [[macro_f1(pool, name, bought, test) for name in LEARNERS]]
        for _ in range(STEPS):
            batch = next_batch(pool, rule, bought, left, size, np.random.default_rng([seed, len(bought)]))
            bought, left = np.concatenate([bought, batch]), left[~np.isin(left, batch)]
            own.append([macro_f1(pool, name, bought, test) for name in LEARNERS])
        scores.append(np.transpose(own))
    return size * np.arange(1, STEPS + 2), np.array(scores)


def needs(numbers: NDArray[np.int64], curve: Floats, target: float) -> float:
    """Return how many labels a curve, made monotone, needs for a score; the last number if it never reaches it."""
    from sklearn.isotonic import isotonic_regression

    rising = isotonic_regression(curve)
    if rising[0] >= target:
        return float(numbers[0])
    above = int(np.argmax(rising >= target)) if rising[-1] >= target else len(numbers) - 1
    if rising[above] < target:
        return float(numbers[-1])
    share = (target - rising[above - 1]) / (rising[above] - rising[above - 1])
    return float(numbers[above - 1] + share * (numbers[above] - numbers[above - 1]))


def saved(numbers: NDArray[np.int64], own: Floats, baseline: Floats) -> float:
    """Return the labels saved by a rule at the macro-F1 that the baseline reaches with two thirds of all labels.

    Args:
        numbers: The numbers of labels.
        own: The rule's macro-F1, shape ``(draws, numbers)``.
        baseline: The baseline's macro-F1.
    """
    from sklearn.isotonic import isotonic_regression

    place = round(2 * len(numbers) / 3) - 1
    target = isotonic_regression(baseline.mean(axis=0))[place]
    return float(needs(numbers, baseline.mean(axis=0), target) - needs(numbers, own.mean(axis=0), target))


def in_words(values: Floats, form: str) -> str:
    """Return the first value with the 2.5th and 97.5th percentile of the others."""
    low, high = np.percentile(values[1:], [2.5, 97.5])
    return f"{values[0]:{form}} [{low:{form}}, {high:{form}}]"


def rows_of(pool: Pool, draws: Sequence[tuple[NDArray[np.int64], Floats]]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each learner and rule: means over draws, with bootstrap intervals over them."""
    numbers = np.min([each for each, _ in draws], axis=0)
    scores = np.array([each for _, each in draws])
    again = np.random.default_rng(0).integers(0, len(draws), (1000, len(draws)))
    resampled = [np.arange(len(draws)), *again]
    place = round(2 * len(numbers) / 3) - 1
    for at, learner in enumerate(LEARNERS.values()):
        baseline = scores[:, 0, at]
        for number, rule in enumerate(RULES):
            own = scores[:, number, at]
            cells = [f"{own[:, place].mean():.3f}", "", ""]
            if number:
                over = (own - baseline)[:, 1:].mean(axis=1)
                cells[1] = in_words(np.array([over[each].mean() for each in resampled]), "+.3f")
                cells[2] = in_words(np.array([saved(numbers, own[each], baseline[each]) for each in resampled]), "+.0f")
            yield (pool.name, learner, rule, f"{numbers[place]:,}", *cells)


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--labelled", type=InputFolder, required=True, help="Folder of the other labelled sets.")
@click.option("--draws", type=click.IntRange(5), default=10, show_default=True, help="Splits of each set.")
@save_option
def main(labelled: Path, draws: int, save: Path | None) -> None:
    """Print what each rule saves on each set."""
    rows: list[tuple[str, ...]] = []
    for pool in pools(labelled):
        with ProcessPoolExecutor(2) as workers:
            done = [workers.submit(curves, pool, seed) for seed in range(draws)]
            results = [each.result() for each in tqdm(done, desc=pool.name, disable=None)]
        rows += rows_of(pool, results)
    header = ("set", "learner", "rule", "labels", "macro-F1", "above the first rule", "labels saved")
    text = (
        f"{draws} draws. Labels: two thirds of those that each rule bought, and macro-F1 with so many. Above the first "
        "rule: mean of all batches but the first. Labels saved: at the macro-F1 that the first rule has with so many. "
        "Intervals are a bootstrap over draws, which share questions, so they are rather too narrow."
    )
    publish(save, __spec__.name, f"{text}\n\n{table(header, rows)}")


if __name__ == "__main__":
    main()
