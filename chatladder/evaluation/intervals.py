"""Bootstrap intervals over conversations.

Questions of one conversation share their history, speakers and topic, so they are not independent: whole
conversations are drawn, and an interval over single items would be too narrow. One matrix of weights serves
every rung, before and after training, so differences between them are paired.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chatladder.evaluation.scores import Floats
from chatladder.io.console import DataError

#: Share of the draws left out on either side: 95 % intervals.
TAIL = 0.025
#: Digits kept in metrics files: what ``dvc metrics diff`` shows.
DIGITS = 5


@dataclass(frozen=True)
class Bootstrap:
    """Weights of conversations.

    Attributes:
        clusters: Index of each item's conversation, shape ``(n,)``.
        weights: How often each conversation was drawn, shape ``(1 + draws, conversations)``. Row 0 is all
            ones, so the score itself and its draws come from one computation.
    """

    clusters: NDArray[np.int64]
    weights: Floats


def bootstrap(conversations: Sequence[str], draws: int, seed: int) -> Bootstrap:
    """Draw conversations with replacement, as many as there are.

    Args:
        conversations: The conversation of each item, shape ``(n,)``.
        draws: Number of draws.
        seed: Seed of the generator (PCG64).

    Raises:
        DataError: If there are fewer than two conversations.
    """
    index = {conversation: place for place, conversation in enumerate(dict.fromkeys(conversations))}
    if len(index) < 2:
        raise DataError(
            f"intervals: expected items of two conversations or more, got {len(index)}. Annotate more conversations."
        )
    generator = np.random.Generator(np.random.PCG64(seed))
    drawn = generator.multinomial(len(index), np.full(len(index), 1 / len(index)), size=draws)
    return Bootstrap(
        clusters=np.array([index[conversation] for conversation in conversations], dtype=np.int64),
        weights=np.concatenate([np.ones((1, len(index))), drawn]),
    )


def interval(name: str, values: Floats) -> dict[str, float]:
    """The value and its 95 % percentile interval, as ``name``, ``name_lo`` and ``name_hi``.

    Args:
        name: Name of the metric.
        values: The value (first) and its draws, shape ``(1 + draws,)``.
    """
    low, high = np.quantile(values[1:], [TAIL, 1 - TAIL])
    named = {name: values[0], f"{name}_lo": low, f"{name}_hi": high}
    # Adding zero turns -0.0, which would look like a change in a diff, into 0.0.
    return {key: round(float(value), DIGITS) + 0.0 for key, value in named.items()}
