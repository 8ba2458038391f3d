r"""A judge trained on the chat itself: would a sentence end in a question mark, if its mark were removed?

Every sentence of the chat is an example. Its label is its question mark; its features are its words without the mark,
and pairs of adjacent words, including the sentence's start and end ("< how", "吗 >"). A linear model is fitted to them,
so no language and no topic is built in. A turn's score is that of its best sentence.

People often leave the mark out, so a sentence without one is unlabelled rather than a statement. If they leave it out
independently of the question, then P(mark) = c P(question), where c is the share of questions that have a mark: the
mean of P(mark) over the marked sentences. The score is 10 min(1, P(mark) / c), so from 5 on a question is at least as
likely as not. No sentence is scored by a model that was fitted to it or to the talk around it: the chat is cut into
blocks of successive turns, assigned to folds, and each fold is scored by the model of the others.

Source:
    Elkan and Noto, "Learning classifiers from only positive and unlabeled data", KDD 2008, section 2.

Example:
    python -m stages.score --judge punctuation --kind punctuation --seed 0 --turns data/turns.parquet \
        --out data/scores/punctuation
"""

import math
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chatladder.io.console import DataError
from chatladder.judges.texts import TextTurns, asked, sentences, spoken

if TYPE_CHECKING:
    from sklearn.linear_model import SGDClassifier

FOLDS = 5
#: Neighbouring turns share threads and phrases, so they share a fold; a small chat is cut into smaller blocks.
BLOCK_TURNS, FEWEST_BLOCKS = 200, 20
#: More turns than this hardly improve the model; the limit bounds memory whatever the size of the chat.
LEARN_FROM_TURNS = 100_000
FEWEST_MARKS = 50
FEATURES = 2**18
#: Weight of the examples against the penalty on the model, as in scikit-learn's C; the same for any chat size.
EXAMPLES_WEIGHT = 2.0
#: Epochs over the examples until the model has taken this many steps, within these bounds.
STEPS, FEWEST_EPOCHS, MOST_EPOCHS = 250_000, 5, 50

#: A Chinese character, or a word or number of another script.
WORD = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+(?:'\w+)?")


class Examples(NamedTuple):
    """The sentences of some turns, one row each."""

    features: Any  # sparse matrix, shape (sentences, FEATURES)
    marked: np.ndarray  # bool: True if closed by a question mark
    turn: np.ndarray  # position of the sentence's turn among the given ones, ascending


class Predicted(NamedTuple):
    """The models' predictions for some turns."""

    chance: np.ndarray  # P(mark) of each turn's best sentence, shape (turns,)
    sum_of_marked: float  # sum of P(mark) over the sentences with a mark
    marks: int  # number of sentences with a mark


def score(turns: TextTurns, seed: int) -> np.ndarray:
    """Score text turns with a model of the chat's own question marks.

    Args:
        turns: Text turns in the order of the chat.
        seed: Decides which turns share a fold, which ones are fitted, and in which order.

    Returns:
        A score from 0 to 10 for each turn, in order; shape ``(turns,)``.

    Raises:
        DataError: If the chat has too few question marks to fit a model.
    """
    folds = deal_folds(turns.num_rows, seed)
    models = _learn(turns, folds, seed)
    parts = list(turns.map(predict, models, folds))
    chance = np.concatenate([part.chance for part in parts])
    marks, expected = sum(part.marks for part in parts), math.fsum(part.sum_of_marked for part in parts)
    scores: np.ndarray = 10 * np.minimum(1, chance * marks / expected)
    return scores


def predict(texts: list[str], start: int, models: "list[SGDClassifier]", folds: np.ndarray) -> Predicted:
    """Predict for some texts, the first of which is text number ``start`` of the chat."""
    some = _examples(texts)
    predicted = _chance_of_mark(models, some, folds[start : start + len(texts)])
    chance = np.zeros(len(texts))
    np.maximum.at(chance, some.turn, predicted)
    return Predicted(chance, float(predicted[some.marked].sum()), int(some.marked.sum()))


def deal_folds(turns: int, seed: int) -> np.ndarray:
    """Assign blocks of successive turns to folds; return each turn's fold, shape ``(turns,)``."""
    block_turns = max(1, min(BLOCK_TURNS, turns // FEWEST_BLOCKS))
    blocks = np.arange(turns) // block_turns
    dealt = np.random.default_rng(seed).permutation(turns // block_turns + 1) % FOLDS
    return dealt[blocks]


def _learn(turns: TextTurns, folds: np.ndarray, seed: int) -> "list[SGDClassifier]":
    """Fit one model per fold on the sentences of the other folds."""
    from sklearn.linear_model import SGDClassifier

    chosen = _choose(turns.num_rows, seed)
    known = _examples(turns.take(chosen))
    fold = folds[chosen][known.turn]
    models = []
    for number in range(FOLDS):
        others = fold != number
        _check_marks(known.marked, others)
        examples = int(others.sum())
        model = SGDClassifier(
            loss="log_loss",
            alpha=1 / (EXAMPLES_WEIGHT * examples),
            max_iter=min(MOST_EPOCHS, max(FEWEST_EPOCHS, STEPS // examples)),
            tol=None,
            random_state=seed,
        )
        models.append(model.fit(known.features[others], known.marked[others]))
    return models


def _choose(turns: int, seed: int) -> np.ndarray:
    """Return the positions of the turns to fit, ascending."""
    if turns <= LEARN_FROM_TURNS:
        return np.arange(turns)
    return np.sort(np.random.default_rng(seed).choice(turns, LEARN_FROM_TURNS, replace=False))


def _check_marks(marked: np.ndarray, others: np.ndarray) -> None:
    marks = int(marked.sum())
    if marks < FEWEST_MARKS or not marked[others].any() or marked[others].all():
        raise DataError(
            f"expected at least {FEWEST_MARKS} sentences with a question mark, and others without, all through the "
            f"chat, to learn from; got {marks} among {len(marked)} sentences. Use more of the chat, or leave this "
            "judge out and pick by the rules alone."
        )


def _examples(texts: list[str]) -> Examples:
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(analyzer=_pieces, n_features=FEATURES, alternate_sign=False)
    words, marked, turn = [], [], []
    for position, text in enumerate(texts):
        for sentence, end in sentences(spoken(text)):
            words.append(sentence)
            marked.append(asked(end))
            turn.append(position)
    features = vectorizer.transform(words) if words else np.zeros((0, FEATURES))
    return Examples(features, np.array(marked, bool), np.array(turn, np.int64))


def _pieces(sentence: str) -> list[str]:
    """Return words and pairs of adjacent words, with "<" and ">" for the sentence's start and end."""
    words = ["<", *WORD.findall(sentence.lower()), ">"]
    return words[1:-1] + [f"{first} {second}" for first, second in pairwise(words)]


def _chance_of_mark(models: "list[SGDClassifier]", some: Examples, folds: np.ndarray) -> np.ndarray:
    """Return P(mark) of each sentence by the model that was not fitted to its fold."""
    fold = folds[some.turn]
    chance = np.zeros(len(fold))
    for number, model in enumerate(models):
        inside = fold == number
        if inside.any():
            chance[inside] = model.predict_proba(some.features[inside])[:, 1]
    return chance
