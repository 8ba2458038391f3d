"""How a score grows with model size: its slope per doubling of the parameters."""

from collections.abc import Sequence

import numpy as np

from chatladder.evaluation.scores import Floats
from chatladder.io.console import DataError


def slope_per_doubling(params: Sequence[int], values: Floats) -> Floats:
    """Least-squares slope of a score against log2(parameters), in every bootstrap draw.

    Args:
        params: Parameter counts, shape ``(rungs,)``.
        values: The score of each rung, shape ``(draws, rungs)``.

    Returns:
        Change of the score per doubling, shape ``(draws,)``. Draws that share their items across rungs give
        a paired interval: what makes an item hard for every rung cancels.

    Raises:
        DataError: If there are not two different sizes.
    """
    if len({*params}) < 2:
        raise DataError(f"slope: expected rungs of at least two sizes, got {sorted({*params})}. Add one to the ladder.")
    doublings = np.log2(np.asarray(params, dtype=np.float64))
    centred = doublings - doublings.mean()
    slopes: np.ndarray = values @ centred / (centred @ centred)
    return slopes
