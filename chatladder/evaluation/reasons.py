"""What speaks against a label, in a few words."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from chatladder.evaluation.evidence import Evidence

#: Sources that are named, the surest ones.
_NAMED = 3
_BY_SIZE = "larger untouched models contradict the label more"


def reasons(evidence: Evidence, is_needed: NDArray[np.int64], by_size: NDArray[np.bool_]) -> Iterator[str]:
    """For each item which sources contradict its label, and whether larger untouched models do so more.

    Args:
        evidence: Log-odds of every source.
        is_needed: The labels, 0 or 1, shape ``(n,)``.
        by_size: As ``evidence.contradicted_by_size`` gives it.
    """
    sources = evidence.sources
    for row, sign in enumerate(np.where(is_needed == 1, 1, -1)):
        support = {name: float(sign * values[row]) for name, values in sources.items()}
        against = sorted((name for name in support if support[name] < 0), key=lambda name: (support[name], name))
        said = _worded(against, len(support), "not_needed" if sign > 0 else "needed")
        yield f"{said}; {_BY_SIZE}" if by_size[row] else said


def _worded(against: list[str], sources: int, other: str) -> str:
    if not against:
        return f"all {sources} sources agree with the label"
    named = ", ".join(against[:_NAMED]) + (", …" if len(against) > _NAMED else "")
    return f"{len(against)} of {sources} sources say {other}: {named}"
