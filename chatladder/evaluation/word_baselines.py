"""Two cheap classifiers of words, trained on the labels: a label that they cannot learn from the others is suspect.

They cost seconds, need no base model, and know only this chat; if the ladder is weak, they carry the evidence.
Their features are words and characters, and how much of the history a question repeats.

With two labels a classifier gives the probability of label 1, shape ``(n,)``; with more, that of each label, shape
``(n, labels)``.
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

#: The number of earlier turns that are used, since a question mostly refers to something said shortly before it.
LAST_TURNS = 4
#: Words of scripts with spaces, single characters of scripts without.
_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
#: Weights of the history's characters and of the ``overlap`` features, relative to the question's words.
_HISTORY, _OVERLAP = 0.5, 0.3
#: Dimensions of each kind of term for the trees.
_DIMENSIONS = 40


Labels = NDArray[np.int64]
#: Digits of a probability; further ones depend on the number of threads.
DIGITS = 6
#: Fits a classifier to features and labels, and predicts the probability of label 1, or of each label, for others.
Classifier = Callable[[Any, Labels, Any], Floats]


@dataclass(frozen=True)
class Deals:
    """The cross-validation by conversation: no classifier predicts items of a conversation that it learned from."""

    folds: int = setting("Parts that conversations are dealt into.", least=2, most=50)
    repeats: int = setting("How often they are dealt anew; answers are means.", least=1, most=50)
    seed: int = setting("Seed of the deals.", least=0)


def targets_of(labels: Sequence[str]) -> Labels:
    """Code labels for classifiers, shape ``(n,)``: 1 for "needed", else 0; or with more, indices into ``SCORED``."""
    return np.array([label == POSITIVE if IS_BINARY else SCORED.index(label) for label in labels], dtype=np.int64)


def texts_of(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Return the texts of the questions, and of the turns before each; from rows of ``QUESTIONS``."""
    questions = [row["text"] for row in rows]
    return questions, ["\n".join(turn["text"] for turn in row["window"][-LAST_TURNS:]) for row in rows]


def tf_idf(rows: Sequence[Mapping[str, Any]], learned: int | None = None) -> "list[csr_matrix]":
    """Return TF-IDF of the questions' characters (1 to 5), of their words (1 to 2), and of the history's characters.

    Args:
        rows: Rows of ``QUESTIONS``.
        learned: The number of leading rows that the terms and their weights are fitted on; None for all.

    Returns:
        Up to three matrices of shape ``(n, terms)``; a kind without any term is left out. Terms occur in at least two
        of the fitted rows, or in one if there are no such terms. Labels are not used.

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
        # In a handful of rows no term may occur twice; then terms that occur once have to do.
        for least in (2, 1):
            try:
                terms = TfidfVectorizer(min_df=least, sublinear_tf=True, **settings).fit(texts[:learned])
                matrices.append(weight * terms.transform(texts))
                break
            except ValueError:
                continue
    return matrices


def overlap(rows: Sequence[Mapping[str, Any]], learned: int | None = None) -> Floats:
    """Return the length of each question and its overlap with the turns before it.

    Args:
        rows: Rows of ``QUESTIONS``.
        learned: The number of leading rows over which columns have mean 0 and deviation 1; None for all.

    Returns:
        Features of shape ``(n, 8)``: log characters, log words, share of words that the history has, number of words
        that it lacks, presence of a question mark, commas, log characters of the history, share of the question's
        distinct characters that the history has.
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
                "?" in question or "？" in question,  # full width, as in Chinese
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
    """Return the features of the linear classifier: every term and the overlap, shape ``(n, terms + 8)``."""
    from scipy.sparse import csr_matrix, hstack

    return csr_matrix(hstack([*tf_idf(rows, learned), csr_matrix(_OVERLAP * overlap(rows, learned))]))


def tree_features(rows: Sequence[Mapping[str, Any]], seed: int, learned: int | None = None) -> Floats:
    """Return the features of the decision trees: each kind of term in 40 dimensions, and the overlap.

    Args:
        rows: Rows of ``QUESTIONS``.
        seed: The seed of the decomposition.
        learned: The number of leading rows that terms and dimensions are fitted on; None for all.

    Returns:
        Features of shape ``(n, at most 128)``.
    """
    from sklearn.decomposition import TruncatedSVD

    dense = []
    for terms in tf_idf(rows, learned):
        known = terms[:learned]
        dimensions = min(_DIMENSIONS, known.shape[1] - 1, known.shape[0] - 1)
        if dimensions > 0:
            # The explained variance ratio, which is not used, is 0 / 0 if all rows are equal.
            with np.errstate(divide="ignore", invalid="ignore"):
                found = TruncatedSVD(dimensions, random_state=seed)
                dense.append(found.fit_transform(terms) if learned is None else found.fit(known).transform(terms))
    return np.hstack([*dense, overlap(rows, learned)])


def logistic(learned: Any, labels: Labels, asked: Any) -> Floats:
    """Predict by logistic regression with an L2 penalty."""
    from sklearn.linear_model import LogisticRegression

    return shares_of(LogisticRegression(C=3, max_iter=2000).fit(learned, labels), asked)


def boosted(learned: Any, labels: Labels, asked: Any) -> Floats:
    """Predict by gradient boosting of small decision trees."""
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
    """Return the probabilities of a fitted scikit-learn classifier; a label that it never saw has probability 0."""
    known = model.predict_proba(asked)
    if IS_BINARY:
        return np.asarray(known[:, 1])
    shares = np.zeros((len(known), len(SCORED)))
    shares[:, model.classes_] = known
    return shares


def cross_fitted(
    features: Any, labels: Labels, conversations: Sequence[str], classifier: Classifier, deals: Deals
) -> Floats:
    """Return the held-out probability of label 1, or of each label, by cross-validation over conversations.

    Args:
        features: The items' features, shape ``(n, features)``, dense or sparse.
        labels: The labels as ``targets_of`` codes them, shape ``(n,)``.
        conversations: The conversation of each item.
        classifier: The classifier to fit.
        deals: The folds. The mean over several repeats varies less than a single one.

    Returns:
        The probabilities, shape ``(n,)`` or ``(n, labels)``. If the training part of a fold has a single label, the
        share of each label in it.
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
    """Return each baseline's held-out probability of label 1, or of each label, for each item.

    Args:
        rows: Rows of ``QUESTIONS``.
        labels: The labels as ``targets_of`` codes them, shape ``(n,)``.
        deals: The folds; their seed is also that of the decomposition.

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
    """Return the same for other items, by each baseline trained on all labelled rows.

    Args:
        learned: Training rows, of ``QUESTIONS``; terms are fitted on them too.
        labels: Their labels as ``targets_of`` codes them, shape ``(n,)``; at least two must occur.
        asked: Rows to predict.
        seed: The seed of the decomposition.
    """
    rows, count = [*learned, *asked], len(learned)
    line, trees = linear_features(rows, count), tree_features(rows, seed, count)
    shares = (logistic(line[:count], labels, line[count:]), boosted(trees[:count], labels, trees[count:]))
    return {name: np.round(share, DIGITS) for name, share in zip(WORD_BASELINES, shares, strict=True)}


def cut_of(shares: Floats, labels: Labels) -> float:
    """Return the decision threshold of a classifier, as a probability of label 1, chosen as a tuned rung's is.

    Args:
        shares: The held-out probability of label 1 of each item, shape ``(n,)``.
        labels: Their labels, 0 or 1, shape ``(n,)``.
    """
    if np.ptp(shares) == 0:
        return 0.5
    log_odds = central_threshold(log_odds_of(shares, 1 - shares), np.where(labels == 1, NEEDED, NOT_NEEDED))
    return float(np.round(1 / (1 + np.exp(-log_odds)), DIGITS))


def prediction_rows(items: Sequence[Mapping[str, Any]], shares: Floats, cut: float = 0.5) -> list[dict[str, Any]]:
    """Return rows of ``PREDICTIONS``; a classifier never answers "do not know".

    Args:
        items: Labelled questions.
        shares: The probability of "needed" for each item, shape ``(n,)``; or of each label, shape ``(n, labels)``.
        cut: The probability above which the answer is "needed"; with more than two labels, the most probable label is
            the answer.
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
