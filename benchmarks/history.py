"""How much the answers of a tuned rung depend on the history, and what a bag of characters makes of the same items.

Run it in the repository's root, after ``dvc repro``.

Example:
    python -m benchmarks.history --rung embedded_1576k --language zh --answer text --seed 0 --max-length 1400

Prints a Markdown table of macro-F1 on the test items:

- the tuned rung as it is;
- the same rung, each question asked under the history of a question of another conversation;
- TF-IDF of characters with logistic regression, on the question alone and on question and history.

Intervals are 95 % bootstrap intervals over whole conversations, paired wherever two rows are compared.
``--language``, ``--answer``, ``--seed`` and ``--max-length`` are those of ``prompt`` and ``max_length`` in params.yaml.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from chatladder.evaluation.scores import NEEDED, Bootstrap, Draws, Floats, answer_scores, bootstrap, interval
from chatladder.io.console import SETTINGS, DataError, InputFile, InputFolder, example
from chatladder.io.rows import LABELLED, read_rows
from chatladder.models.prompts import ANSWER_FORMS, LANGUAGES, PromptSettings, render_row
from chatladder.vocabulary import ANSWERS

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Row = dict[str, Any]
Codes = NDArray[np.int64]

#: Lengths of the character sequences that are counted.
NGRAMS = (1, 4)
#: Inverse strengths of regularisation that the baseline may choose from, by cross-validation on its training items.
STRENGTHS = (0.1, 1.0, 10.0, 100.0)
FOLDS = 5
BOOTSTRAP_SEED = 0


class Measured(NamedTuple):
    """One row of the table: its name, and its macro-F1 under every draw, shape ``(1 + draws,)``."""

    name: str
    draws: Floats


def codes(rows: Sequence[Row]) -> Codes:
    """Labels of rows as codes, shape ``(n,)``."""
    return np.array([ANSWERS.index(row["label"]) for row in rows], dtype=np.int64)


def with_other_histories(rows: Sequence[Row], seed: int) -> list[Row]:
    """The rows, each with the window of another; nobody keeps a window of its own conversation.

    Windows of one conversation overlap, so a neighbour's would often still hold what the question refers to. The rows
    are put in random order, conversation by conversation, and every window moves on by one random number of places
    that no conversation is long enough to reach across.

    Raises:
        DataError: If one conversation holds more than half of the rows.
    """
    random = Random(seed)
    by_conversation: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        by_conversation.setdefault(row["conversation"], []).append(index)
    longest = max(map(len, by_conversation.values()))
    if 2 * longest > len(rows):
        raise DataError(f"histories: expected no conversation with over half of {len(rows)} items, got {longest}.")
    groups = list(by_conversation.values())
    random.shuffle(groups)
    order = [index for group in groups for index in random.sample(group, len(group))]
    places = random.randint(longest, len(rows) - longest)
    givers = dict(zip(order, order[places:] + order[:places], strict=True))
    return [{**row, "window": rows[givers[index]]["window"]} for index, row in enumerate(rows)]


def bags(trained: Sequence[Row], tested: Sequence[Row], with_history: bool) -> "tuple[csr_matrix, csr_matrix]":
    """TF-IDF of the questions' characters, and of the histories' beside them, learned from ``trained``.

    Question and history have columns of their own, so the model can tell where a character stood.
    """
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts: list[Callable[[Row], str]] = [lambda row: row["text"]]
    if with_history:
        texts.append(lambda row: "\n".join(turn["text"] for turn in row["window"]))
    blocks = []
    for text in texts:
        vectorizer = TfidfVectorizer(analyzer="char", ngram_range=NGRAMS, sublinear_tf=True)
        learned = vectorizer.fit_transform([text(row) for row in trained])
        blocks.append((learned, vectorizer.transform([text(row) for row in tested])))
    learned_blocks, seen_blocks = zip(*blocks, strict=True)
    return hstack(learned_blocks).tocsr(), hstack(seen_blocks).tocsr()


def bag_answers(trained: Sequence[Row], tested: Sequence[Row], with_history: bool) -> Codes:
    """Answers of logistic regression on ``bags``, its settings chosen by cross-validation over conversations."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, GroupKFold

    learned, seen = bags(trained, tested, with_history)
    search = GridSearchCV(
        LogisticRegression(max_iter=2000),
        {"C": STRENGTHS, "class_weight": [None, "balanced"]},
        scoring="f1_macro",
        cv=GroupKFold(FOLDS),
    )
    search.fit(learned, codes(trained), groups=[row["conversation"] for row in trained])
    return search.predict(seen)


def measure(name: str, tested: Sequence[Row], answers: Codes, sample: Bootstrap) -> Measured:
    """Macro-F1 of answers to the test items, under every draw."""
    scored = answer_scores(codes(tested), answers, sample.clusters, sample.weights)
    return Measured(name, scored["macro_f1"])


def interval_text(draws: Floats, sign: str = "") -> str:
    """A value and its 95 % interval, for instance ``0.827 [0.790, 0.862]``."""
    value, low, high = interval(draws)
    return f"{value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def table(first: Measured, others: Sequence[Measured]) -> str:
    """Markdown: each row's macro-F1, and by how much the first row is above it."""
    lines = ["| answers | macro-F1 [95 %] | below the first row by [95 %] |", "| --- | --- | --- |"]
    lines.append(f"| {first.name} | {interval_text(first.draws)} | |")
    for name, draws in others:
        lines.append(f"| {name} | {interval_text(draws)} | {interval_text(first.draws - draws, sign='+')} |")
    return "\n".join(lines)


def say(text: str) -> None:
    """One line of progress, apart from the table."""
    click.echo(text, err=True)


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--rung", required=True, help="Key of the rung, for instance embedded_1576k.")
@click.option("--language", type=click.Choice(LANGUAGES), required=True, help="Of the prompt.")
@click.option("--answer", type=click.Choice(ANSWER_FORMS), required=True, help="Form of the answer.")
@click.option("--seed", type=int, required=True, help="Of the order of the options.")
@click.option("--max-length", type=click.IntRange(64), required=True, help="Most tokens of prompt and answer.")
@click.option("--labelled", type=InputFile, default="data/labelled.parquet", show_default=True, help="Labelled items.")
@click.option("--bases", type=InputFolder, default="data/bases", show_default=True, help="Folder of base models.")
@click.option("--adapters", type=InputFolder, default="data/adapters", show_default=True, help="Folder of adapters.")
@click.option("--permutations", type=click.IntRange(1), default=5, show_default=True, help="Of the histories.")
@click.option("--shuffle-seed", type=int, default=0, show_default=True, help="Of the first permutation; then +1 each.")
@click.option("--draws", type=click.IntRange(100), default=2000, show_default=True, help="Bootstrap draws.")
def main(
    rung: str,
    language: str,
    answer: str,
    seed: int,
    max_length: int,
    labelled: Path,
    bases: Path,
    adapters: Path,
    permutations: int,
    shuffle_seed: int,
    draws: int,
) -> None:
    """Print what a tuned rung loses under shuffled histories, and how far TF-IDF stays below it."""
    rows: list[Row] = read_rows(labelled, LABELLED).to_pylist()
    trained = [row for row in rows if row["split"] == "train"]
    tested = [row for row in rows if row["split"] == "test"]
    if not trained or not tested:
        raise DataError(f"{labelled}: expected train and test items, got {len(trained)} and {len(tested)}.")
    sample = bootstrap([row["conversation"] for row in tested], Draws(BOOTSTRAP_SEED, draws))

    from chatladder.models.loading import load
    from chatladder.models.scoring import score

    model, tokenizer = load(bases / rung, adapters / rung)

    def tuned(name: str, items: Sequence[Row]) -> Measured:
        say(f"{name}: {len(items)} items")
        prompts = [render_row(row, PromptSettings(language, answer, seed)) for row in items]
        scores, _ = score(model, tokenizer, prompts, max_length)
        return measure(name, items, scores.argmax(axis=1), sample)

    as_is = tuned(f"{rung}, tuned", tested)
    shuffled = [
        tuned(f"shuffled histories, permutation {number}", with_other_histories(tested, number))
        for number in range(shuffle_seed, shuffle_seed + permutations)
    ]
    alone = sorted(one.draws[0] for one in shuffled)
    name = f"the same, histories shuffled (mean of {permutations}: {alone[0]:.3f} to {alone[-1]:.3f})"
    others = [Measured(name, np.mean([one.draws for one in shuffled], axis=0))]
    for name, with_history in (("question alone", False), ("question and history", True)):
        say(f"TF-IDF, {name}: {len(trained)} training items")
        answers = bag_answers(trained, tested, with_history)
        others.append(measure(f"TF-IDF + logistic regression, {name}", tested, answers, sample))
    needed = int((codes(tested) == NEEDED).sum())
    click.echo(table(as_is, others))
    click.echo(f"\n{len(tested)} test items, {needed} needed; {len(trained)} training items.")


if __name__ == "__main__":
    main()
