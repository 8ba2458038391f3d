"""Contrast pairs: two test questions of one conversation in the same words, of which one needs the history.

Whoever answers by the question alone gives both the same answer, and gets no pair right; guessing gets a quarter. Both
questions are of one conversation, so that people and topic are the same and what was said in between makes the
difference; pairs across conversations could be told apart by either. It also keeps a pair whole in a bootstrap of
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

#: Fewer pairs say too little: a share of 20 is known to about 20 points either way.
FEWEST_PAIRS = 20
_MENTIONS = re.compile(r"\s*(?:@\S+\s+)*")

Pairs = NDArray[np.int64]


def contrast_pairs(items: Items, texts: Sequence[str]) -> Pairs:
    """Return the pairs of items of one conversation with the same words and opposite labels.

    Args:
        items: The items.
        texts: The question of each.

    Returns:
        Places of the needed and of the other item, shape ``(pairs, 2)``; none of more than two labels, which are no
        opposites.
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
    """Return a question without the mentions that it begins with, white space, and punctuation at its end."""
    words = "".join(text[found.end() if (found := _MENTIONS.match(text)) else 0 :].split())
    while words and (unicodedata.category(words[-1]).startswith("P") or words[-1] in "~～"):
        words = words[:-1]
    return words


def pairs_right(pairs: Pairs, references: NDArray[np.int64], answers: NDArray[np.int64], sample: Bootstrap) -> Floats:
    """Return the share of pairs of which both items are answered right, under every draw.

    Args:
        pairs: Places of their items, shape ``(pairs, 2)``, at least one.
        references: Labels, shape ``(n,)``.
        answers: Answers, shape ``(n,)``.
        sample: The draws of conversations.

    Returns:
        Shape ``(1 + draws,)``; a draw without any pair has the share of all.
    """
    right = (references == answers)[pairs].all(axis=1)
    weights = sample.weights[:, sample.clusters[pairs[:, 0]]]
    total = weights.sum(axis=1)
    shares = np.full(len(weights), float(right.mean()))
    np.divide(weights @ right, total, out=shares, where=total > 0)
    return shares
