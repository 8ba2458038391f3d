"""Contrast pairs: two test questions of one conversation in the same words, of which only one needs the history.

A model that reads the question alone answers both alike, and gets no pair right; guessing gets a quarter right. Both
questions come from one conversation, so that people and topic are the same and only the messages in between differ;
across conversations, people or topic could separate a pair. It also keeps each pair whole in a bootstrap over
conversations.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chatladder.evaluation.predictions import Items
from chatladder.evaluation.scores import NEEDED, NOT_NEEDED, Bootstrap, Floats
from chatladder.vocabulary import IS_BINARY

#: Fewer pairs are too imprecise: a share of 20 pairs is known to about 20 points either way.
FEWEST_PAIRS = 20
_MENTIONS = re.compile(r"\s*(?:@\S+\s+)*")

Pairs = NDArray[np.int64]


def contrast_pairs(items: Items, texts: Sequence[str]) -> Pairs:
    """Return the pairs of items of one conversation with the same words and opposite labels.

    Args:
        items: The items.
        texts: The text of each question.

    Returns:
        Indices of the needed and of the other item, shape ``(pairs, 2)``; no pairs with more than two labels, which
        are not opposites.
    """
    if not IS_BINARY:
        return np.empty((0, 2), dtype=np.int64)
    groups: dict[tuple[str, str], tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    rows = zip(items.conversations, texts, items.references.tolist(), strict=True)
    for place, (conversation, text, label) in enumerate(rows):
        groups[conversation, words_of(text)][label].append(place)
    pairs = [(one, other) for group in groups.values() for one in group[NEEDED] for other in group[NOT_NEEDED]]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def words_of(text: str) -> str:
    """Return a question without leading mentions, white space, and final punctuation."""
    words = "".join(text[found.end() if (found := _MENTIONS.match(text)) else 0 :].split())
    while words and (unicodedata.category(words[-1]).startswith("P") or words[-1] in "~～"):
        words = words[:-1]
    return words


def pairs_right(pairs: Pairs, references: NDArray[np.int64], answers: NDArray[np.int64], sample: Bootstrap) -> Floats:
    """Return the share of pairs with both items answered right, under every draw.

    Args:
        pairs: Indices of their items, shape ``(pairs, 2)``; at least one pair.
        references: Labels, shape ``(n,)``.
        answers: Answers, shape ``(n,)``.
        sample: The draws of conversations.

    Returns:
        The shares, shape ``(1 + draws,)``; a draw without any pair gets the share of all pairs.
    """
    right = (references == answers)[pairs].all(axis=1)
    weights = sample.weights[:, sample.clusters[pairs[:, 0]]]
    total = weights.sum(axis=1)
    shares = np.full(len(weights), float(right.mean()))
    np.divide(weights @ right, total, out=shares, where=total > 0)
    return shares
