"""Evidence about each label, from models that did not see it, put together into one probability."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chatladder.evaluation.baselines import cross_fitted
from chatladder.evaluation.features import Floats

#: Probabilities are held this far from 0 and 1: no model is that sure.
_SUREST = 1e-4
#: Digits of a probability that are kept: beyond them processors differ.
DIGITS = 9
#: How the weights of the sources are learned.
FOLDS, REPEATS = 5, 4


class Evidence(NamedTuple):
    """What the sources say of each item.

    Attributes:
        vanilla: Rung, smallest first -> log-odds of "needed" by the untouched model, shape ``(n,)``; centred, so that
            a model's leaning to one answer is no evidence.
        tuned: Rung -> the same by adapters that did not see the item's conversation.
        baselines: Baseline -> the same.
    """

    vanilla: dict[str, Floats]
    tuned: dict[str, Floats]
    baselines: dict[str, Floats]

    @property
    def sources(self) -> dict[str, Floats]:
        """All of them by name: ``untouched <rung>``, ``tuned <rung>``, ``words: <baseline>``."""
        return {
            **{f"untouched {rung}": values for rung, values in self.vanilla.items()},
            **{f"tuned {rung}": values for rung, values in self.tuned.items()},
            **{f"words: {name}": values for name, values in self.baselines.items()},
        }


def log_odds(shares: Floats) -> Floats:
    """Of probabilities, none of them surer than 1 in 10,000."""
    held = np.clip(shares, _SUREST, 1 - _SUREST)
    return np.log(held / (1 - held))


def probability_needed(
    evidence: Evidence,
    overlap: Floats,
    is_needed: NDArray[np.int64],
    conversations: Sequence[str],
    *,
    seed: int,
) -> Floats:
    """The probability that each item is "needed" on all evidence, whatever its own label says.

    A logistic regression learns how much each source is worth from the labels of other conversations: a rung that knows
    nothing gets no weight, and one whose size helps gets more. So correctness that falls as models grow counts against
    a label without a rule of its own.

    Args:
        evidence: Log-odds of every source.
        overlap: Figures of each question, shape ``(n, figures)``.
        is_needed: The labels, 0 or 1, shape ``(n,)``.
        conversations: Of each item.
        seed: Of the folds.

    Returns:
        Shape ``(n,)``, to ``DIGITS``.

    Source:
        Stacked generalization (Wolpert, 1992), cross-fitted by conversation.
    """
    limit = float(log_odds(np.array([1.0]))[0])
    columns = [np.clip(values, -limit, limit) for values in evidence.sources.values()]
    stacked = cross_fitted(
        np.column_stack([*columns, overlap]),
        is_needed,
        conversations,
        _standardized,
        folds=FOLDS,
        repeats=REPEATS,
        seed=seed,
    )
    return np.round(stacked, DIGITS)


def _standardized(learned: Floats, labels: NDArray[np.int64], asked: Floats) -> Floats:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=2000)).fit(learned, labels)
    return np.asarray(model.predict_proba(asked)[:, 1])


def growth(vanilla: Mapping[str, Floats], params: Mapping[str, int], is_needed: NDArray[np.int64]) -> Floats:
    """How the untouched models' support of each label changes per doubling of their parameters, shape ``(n,)``.

    Below 0, the larger models are, the more they contradict. Log-odds; 0 with fewer than two sizes.
    """
    rungs = [rung for rung in vanilla if rung in params]
    doublings = np.log2([params[rung] for rung in rungs])
    if len(rungs) < 2 or np.ptp(doublings) == 0:
        return np.zeros(len(is_needed))
    centred = doublings - doublings.mean()
    support = np.stack([vanilla[rung] for rung in rungs]) * np.where(is_needed == 1, 1, -1)
    slopes: Floats = centred @ support / (centred @ centred)
    return slopes


def contradicted_by_size(
    vanilla: Mapping[str, Floats], params: Mapping[str, int], is_needed: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether untouched models contradict each label more the larger they are, and the largest does; shape ``(n,)``.

    Args:
        vanilla: Rung, smallest first -> log-odds of "needed", shape ``(n,)``.
        params: Rung -> its parameters; rungs that are left out here have no size to go by.
        is_needed: The labels, 0 or 1, shape ``(n,)``.
    """
    falling = growth(vanilla, params, is_needed) < 0
    if not falling.any():
        return falling
    largest = max((rung for rung in vanilla if rung in params), key=lambda rung: params[rung])
    return falling & (vanilla[largest] * np.where(is_needed == 1, 1, -1) < 0)
