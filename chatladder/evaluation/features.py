"""Questions as numbers that a small classifier learns from: words and characters, and how much history they repeat."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Floats = NDArray[np.float64]
#: Earlier turns that are looked at: what a question leaves out is mostly said shortly before it.
LAST_TURNS = 4
#: Words of scripts with spaces, single characters of those without.
_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
#: Weight of the history's characters, and of the figures of ``overlap``, beside the question's own words.
_HISTORY, _OVERLAP = 0.5, 0.3
#: Dimensions that the trees see of each kind of text.
_DIMENSIONS = 40


def texts_of(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Each question's own text, and that of the turns before it; rows of ``QUESTIONS``."""
    questions = [row["text"] for row in rows]
    return questions, ["\n".join(turn["text"] for turn in row["window"][-LAST_TURNS:]) for row in rows]


def tf_idf(rows: Sequence[Mapping[str, Any]]) -> "list[csr_matrix]":
    """TF-IDF of the questions' characters (1 to 5), of their words (1 to 2), and of the history's characters.

    Returns:
        Up to three matrices of shape ``(n, terms)``, none where no row holds a term of a kind. The terms are those of
        two rows or more, if there are any; no label is looked at.

    Source:
        scikit-learn ``TfidfVectorizer`` with ``sublinear_tf``.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    questions, histories = texts_of(rows)
    characters: dict[str, Any] = {"analyzer": "char_wb", "ngram_range": (1, 5)}
    words: dict[str, Any] = {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\w+|[^\w\s]"}
    kinds = ((questions, characters, 1.0), (questions, words, 1.0), (histories, characters, _HISTORY))
    found = []
    for texts, settings, weight in kinds:
        # Of a handful of rows no term may occur twice; one that occurs once then has to do.
        for least in (2, 1):
            try:
                found.append(weight * TfidfVectorizer(min_df=least, sublinear_tf=True, **settings).fit_transform(texts))
                break
            except ValueError:
                continue
    return found


def overlap(rows: Sequence[Mapping[str, Any]]) -> Floats:
    """How long a question is and how much of it the turns before it hold, each column with mean 0 and deviation 1.

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
    spread = values.std(axis=0)
    standardized: Floats = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1)
    return standardized


def for_a_line(rows: Sequence[Mapping[str, Any]]) -> "csr_matrix":
    """What a linear classifier sees: every term and the overlap, shape ``(n, terms + 8)``."""
    from scipy.sparse import csr_matrix, hstack

    return csr_matrix(hstack([*tf_idf(rows), csr_matrix(_OVERLAP * overlap(rows))]))


def for_trees(rows: Sequence[Mapping[str, Any]], seed: int) -> Floats:
    """What decision trees see: each kind of term in 40 dimensions, and the overlap.

    Args:
        rows: Rows of ``QUESTIONS``.
        seed: Of the decomposition.

    Returns:
        Shape ``(n, at most 128)``.
    """
    from sklearn.decomposition import TruncatedSVD

    dense = []
    for terms in tf_idf(rows):
        dimensions = min(_DIMENSIONS, terms.shape[1] - 1, terms.shape[0] - 1)
        if dimensions > 0:
            # The share of variance that it explains, which nobody asks for here, is 0 / 0 where all rows are equal.
            with np.errstate(divide="ignore", invalid="ignore"):
                dense.append(TruncatedSVD(dimensions, random_state=seed).fit_transform(terms))
    return np.hstack([*dense, overlap(rows)])
