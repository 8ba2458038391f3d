"""Two cheap classifiers of words, trained on the labels themselves: what they cannot learn from others is suspect.

They cost seconds, need no base model, and know nothing but this chat; where the ladder is weak they carry the evidence.
They learn from words and characters, and from how much of the history a question repeats.

With two labels a classifier gives the probability of label 1, shape ``(n,)``; with more that of each, ``(n, labels)``.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chatladder.evaluation.predictions import WORD_BASELINES, log_odds_of
from chatladder.evaluation.scores import NEEDED, NOT_NEEDED, Floats
from chatladder.evaluation.threshold import central_threshold
from chatladder.io.options import setting
from chatladder.labels.folds import folds_of
from chatladder.vocabulary import CHANCES, IS_BINARY, POSITIVE, SCORED

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

#: Earlier turns that are looked at: what a question leaves out is mostly said shortly before it.
LAST_TURNS = 4
#: Words of scripts with spaces, single characters of those without.
_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
#: Weight of the history's characters, and of the figures of ``overlap``, beside the question's own words.
_HISTORY, _OVERLAP = 0.5, 0.3
#: Dimensions that the trees see of each kind of text.
_DIMENSIONS = 40


Labels = NDArray[np.int64]
#: Digits that are kept: the last ones depend on the number of threads.
DIGITS = 6
#: Fits a classifier to features and labels, and gives the probability of label 1, or of each label, of other features.
Classifier = Callable[[Any, Labels, Any], Floats]


@dataclass(frozen=True)
class Deals:
    """The folds that conversations are dealt into, so that a classifier answers items of none that it learned from."""

    folds: int = setting("Parts that conversations are dealt into.", least=2, most=50)
    repeats: int = setting("How often they are dealt anew; answers are means.", least=1, most=50)
    seed: int = setting("Seed of the deals.", least=0)


def targets_of(labels: Sequence[str]) -> Labels:
    """Return labels as classifiers learn them, shape ``(n,)``: 1 for "needed", else 0; of more, their places."""
    return np.array([label == POSITIVE if IS_BINARY else SCORED.index(label) for label in labels], dtype=np.int64)


def texts_of(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Each question's own text, and that of the turns before it; rows of ``QUESTIONS``."""
    questions = [row["text"] for row in rows]
    return questions, ["\n".join(turn["text"] for turn in row["window"][-LAST_TURNS:]) for row in rows]


def tf_idf(rows: Sequence[Mapping[str, Any]], learned: int | None = None) -> "list[csr_matrix]":
    """TF-IDF of the questions' characters (1 to 5), of their words (1 to 2), and of the history's characters.

    Args:
        rows: Rows of ``QUESTIONS``.
        learned: How many of them, from the first, the terms and their weights are taken from; None for all.

    Returns:
        Up to three matrices of shape ``(n, terms)``, none where no row holds a term of a kind. The terms are those of
        two learned rows or more, if there are any; no label is looked at.

    Source:
        scikit-learn ``TfidfVectorizer`` with ``sublinear_tf``.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    questions, histories = texts_of(rows)
    characters: dict[str, Any] = {"analyzer": "char_wb", "ngram_range": (1, 5)}
    words: dict[str, Any] = {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\w+|[^\w\s]"}
    kinds = ((questions, characters, 1.0), (questions, words, 1.0), (histories, characters, _HISTORY))
    matrices = []
    for texts, settings, weight in kinds:
        # Of a handful of rows no term may occur twice; one that occurs once then has to do.
        for least in (2, 1):
            try:
                terms = TfidfVectorizer(min_df=least, sublinear_tf=True, **settings).fit(texts[:learned])
                matrices.append(weight * terms.transform(texts))
                break
            except ValueError:
                continue
    return matrices


def overlap(rows: Sequence[Mapping[str, Any]], learned: int | None = None) -> Floats:
    """Return how long each question is and how much of it the turns before hold.

    Args:
        rows: Rows of ``QUESTIONS``.
        learned: Over how many of them, from the first, columns have mean 0 and deviation 1; None for all.

    Returns:
        Shape ``(n, 8)``: log characters, log words, share of words and number of words that the history has and lacks,
        whether it has a question mark, commas, log characters of the history, share of its characters seen there.
    """
    figures = []
    for question, history in zip(*texts_of(rows), strict=True):
        words, known = _TOKEN.findall(question.lower()), {*_TOKEN.findall(history.lower())}
        repeated = sum(word in known for word in words)
        figures.append(
            [
                np.log1p(len(question)),
                np.log1p(len(words)),
                repeated / max(1, len(words)),
                len(words) - repeated,
                "?" in question or "？" in question,  # the full-width one of Chinese
                question.count(",") + question.count("，"),
                np.log1p(len(history)),
                len({*question} & {*history}) / max(1, len({*question})),
            ]
        )
    values = np.array(figures, dtype=np.float64)
    deviations = values[:learned].std(axis=0)
    standardized: Floats = (values - values[:learned].mean(axis=0)) / np.where(deviations > 0, deviations, 1)
    return standardized


def linear_features(rows: Sequence[Mapping[str, Any]], learned: int | None = None) -> "csr_matrix":
    """Return what a linear classifier learns from: every term and the overlap, shape ``(n, terms + 8)``."""
    from scipy.sparse import csr_matrix, hstack

    return csr_matrix(hstack([*tf_idf(rows, learned), csr_matrix(_OVERLAP * overlap(rows, learned))]))


def tree_features(rows: Sequence[Mapping[str, Any]], seed: int, learned: int | None = None) -> Floats:
    """Return what decision trees learn from: each kind of term in 40 dimensions, and the overlap.

    Args:
        rows: Rows of ``QUESTIONS``.
        seed: Seed of the decomposition.
        learned: How many rows, from the first, terms and dimensions are taken from; None for all.

    Returns:
        Shape ``(n, at most 128)``.
    """
    from sklearn.decomposition import TruncatedSVD

    dense = []
    for terms in tf_idf(rows, learned):
        known = terms[:learned]
        dimensions = min(_DIMENSIONS, known.shape[1] - 1, known.shape[0] - 1)
        if dimensions > 0:
            # The share of variance that it explains, which nobody asks for here, is 0 / 0 where all rows are equal.
            with np.errstate(divide="ignore", invalid="ignore"):
                found = TruncatedSVD(dimensions, random_state=seed)
                dense.append(found.fit_transform(terms) if learned is None else found.fit(known).transform(terms))
    return np.hstack([*dense, overlap(rows, learned)])


def logistic(learned: Any, labels: Labels, asked: Any) -> Floats:
    """Logistic regression with an L2 penalty."""
    from sklearn.linear_model import LogisticRegression

    return shares_of(LogisticRegression(C=3, max_iter=2000).fit(learned, labels), asked)


def boosted(learned: Any, labels: Labels, asked: Any) -> Floats:
    """Gradient boosting of small decision trees."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        max_iter=150,
        learning_rate=0.06,
        max_leaf_nodes=15,
        min_samples_leaf=15,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=0,
    )
    return shares_of(model.fit(learned, labels), asked)


def shares_of(model: Any, asked: Any) -> Floats:
    """Return what a fitted classifier of scikit-learn gives; a label that it saw no item of has the probability 0."""
    known = model.predict_proba(asked)
    if IS_BINARY:
        return np.asarray(known[:, 1])
    shares = np.zeros((len(known), len(SCORED)))
    shares[:, model.classes_] = known
    return shares


def cross_fitted(
    features: Any, labels: Labels, conversations: Sequence[str], classifier: Classifier, deals: Deals
) -> Floats:
    """Return the probability of label 1, or of each label, by classifiers that saw nothing of an item's conversation.

    Args:
        features: The items' features, shape ``(n, features)``, dense or sparse.
        labels: The labels, as of ``targets_of``, shape ``(n,)``.
        conversations: The conversation of each item.
        classifier: The classifier to fit.
        deals: The folds. A mean over several deals varies less than any one of them.

    Returns:
        Shape ``(n,)``, or ``(n, labels)``. Where a deal leaves one label only to learn from, the share of each there.
    """
    is_label = labels if IS_BINARY else np.eye(len(SCORED))[labels]
    total = np.zeros(is_label.shape)
    for repeat in range(deals.repeats):
        places = folds_of(conversations, deals.folds, deals.seed + repeat)
        for fold in np.unique(places):
            rest, asked = places != fold, places == fold
            if len(np.unique(labels[rest])) < 2:
                total[asked] += is_label[rest].mean(axis=0) if rest.any() else 1 / len(SCORED)
            else:
                total[asked] += classifier(features[rest], labels[rest], features[asked])
    return total / deals.repeats


def word_baselines(rows: Sequence[Mapping[str, Any]], labels: Labels, deals: Deals) -> dict[str, Floats]:
    """Return the probability of label 1, or of each, of each item by either baseline, from other conversations.

    Args:
        rows: Rows of ``QUESTIONS``.
        labels: The labels, as of ``targets_of``, shape ``(n,)``.
        deals: The folds; their seed is that of the decomposition, too.

    Returns:
        Name -> probabilities, shape ``(n,)`` or ``(n, labels)``, to six digits.
    """
    conversations = [row["conversation"] for row in rows]
    shares = (
        cross_fitted(linear_features(rows), labels, conversations, logistic, deals),
        cross_fitted(tree_features(rows, deals.seed), labels, conversations, boosted, deals),
    )
    return {name: np.round(share, DIGITS) for name, share in zip(WORD_BASELINES, shares, strict=True)}


def trained_baselines(
    learned: Sequence[Mapping[str, Any]], labels: Labels, asked: Sequence[Mapping[str, Any]], seed: int
) -> dict[str, Floats]:
    """Return the same of items that are asked about, by either baseline trained on all others.

    Args:
        learned: Rows of ``QUESTIONS`` to learn from, terms too.
        labels: Their labels, as of ``targets_of``, shape ``(n,)``, two of them there.
        asked: Rows to answer.
        seed: Seed of the decomposition.
    """
    rows, count = [*learned, *asked], len(learned)
    line, trees = linear_features(rows, count), tree_features(rows, seed, count)
    shares = (logistic(line[:count], labels, line[count:]), boosted(trees[:count], labels, trees[count:]))
    return {name: np.round(share, DIGITS) for name, share in zip(WORD_BASELINES, shares, strict=True)}


def cut_of(shares: Floats, labels: Labels) -> float:
    """Return the probability of label 1 at which a classifier's answers are decided, as a tuned rung's are.

    Args:
        shares: The probability of label 1 of items that the classifier did not learn from, shape ``(n,)``.
        labels: Their labels, 0 or 1, shape ``(n,)``.
    """
    if np.ptp(shares) == 0:
        return 0.5
    log_odds = central_threshold(log_odds_of(shares, 1 - shares), np.where(labels == 1, NEEDED, NOT_NEEDED))
    return float(np.round(1 / (1 + np.exp(-log_odds)), DIGITS))


def prediction_rows(items: Sequence[Mapping[str, Any]], shares: Floats, cut: float = 0.5) -> list[dict[str, Any]]:
    """Return rows of ``PREDICTIONS``; a classifier of labels never answers that it does not know.

    Args:
        items: Labelled questions.
        shares: The probability of "needed" of each, shape ``(n,)``; or of each label, ``(n, labels)``.
        cut: The probability above which the answer is "needed"; of more than two labels the most probable one is.
    """
    unknown = np.zeros(len(shares))
    of_labels = shares if shares.ndim > 1 else np.stack([shares, 1 - shares], axis=1)
    places = shares.argmax(axis=1) if shares.ndim > 1 else np.where(shares > cut, 0, 1)
    return [
        {
            "item_id": item["item_id"],
            **dict(zip(CHANCES, row, strict=True)),
            "seed": 0,
            "answer": SCORED[place],
            "parsed": True,
        }
        for item, row, place in zip(items, np.column_stack([of_labels, unknown]).tolist(), places, strict=True)
    ]
