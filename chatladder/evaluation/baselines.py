"""Two cheap classifiers of words, trained on the labels themselves: what they cannot learn from others is suspect.

They cost seconds, need no base model, and know nothing but this chat; where the ladder is weak they carry the evidence.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatladder.evaluation.features import Floats, for_a_line, for_trees
from chatladder.labels.folds import folds_of

Labels = NDArray[np.int64]
#: The baselines, by the names of the files that hold their answers.
BASELINES = ("line", "trees")
#: Digits that are kept: the last ones depend on the number of threads.
_DIGITS = 6
#: Fits a classifier to features and labels, and gives the probability of label 1 of other features.
Classifier = Callable[[Any, Labels, Any], Floats]


def logistic(learned: Any, labels: Labels, asked: Any) -> Floats:
    """Logistic regression with an L2 penalty."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=3, max_iter=2000).fit(learned, labels)
    return np.asarray(model.predict_proba(asked)[:, 1])


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
    return np.asarray(model.fit(learned, labels).predict_proba(asked)[:, 1])


def cross_fitted(
    features: Any,
    labels: Labels,
    conversations: Sequence[str],
    classifier: Classifier,
    *,
    folds: int,
    repeats: int,
    seed: int,
) -> Floats:
    """The probability of label 1 of each item, by classifiers that saw nothing of its conversation.

    Args:
        features: Shape ``(n, features)``, dense or sparse.
        labels: 0 or 1, shape ``(n,)``.
        conversations: Of each item.
        classifier: What is fitted.
        folds: Parts that the conversations are dealt into.
        repeats: How often they are dealt anew; the mean is given, which varies less than any one deal.
        seed: Of the first deal.

    Returns:
        Shape ``(n,)``. Where a deal leaves one label only to learn from, the share of label 1 there.
    """
    total = np.zeros(len(labels))
    for repeat in range(repeats):
        places = folds_of(conversations, folds, seed + repeat)
        for fold in np.unique(places):
            rest, own = places != fold, places == fold
            if len(np.unique(labels[rest])) < 2:
                total[own] += labels[rest].mean() if rest.any() else 0.5
            else:
                total[own] += classifier(features[rest], labels[rest], features[own])
    return total / repeats


def word_baselines(
    rows: Sequence[Mapping[str, Any]], labels: Labels, *, folds: int, repeats: int, seed: int
) -> dict[str, Floats]:
    """The probability of label 1 of each item by either baseline, from items of other conversations.

    Args:
        rows: Rows of ``QUESTIONS``.
        labels: 0 or 1, shape ``(n,)``.
        folds: As ``cross_fitted``.
        repeats: As ``cross_fitted``.
        seed: Of deals and decomposition.

    Returns:
        Name -> probabilities, shape ``(n,)``, to six digits.
    """
    conversations = [row["conversation"] for row in rows]
    settings: dict[str, Any] = {"folds": folds, "repeats": repeats, "seed": seed}
    found = (
        cross_fitted(for_a_line(rows), labels, conversations, logistic, **settings),
        cross_fitted(for_trees(rows, seed), labels, conversations, boosted, **settings),
    )
    return {name: np.round(shares, _DIGITS) for name, shares in zip(BASELINES, found, strict=True)}
