"""What speaks against a label, in a few words."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.suspicion.evidence import Evidence
from stages.suspicion.features import Floats

#: Sources that are named, the surest ones.
_NAMED = 3


def reasons(evidence: Evidence, is_needed: NDArray[np.int64], growing: Floats) -> Iterator[str]:
    """For each item which sources contradict its label, and whether larger untouched models do so more.

    Args:
        evidence: Log-odds of every source.
        is_needed: The labels, 0 or 1, shape ``(n,)``.
        growing: As ``evidence.growth`` gives it.
    """
    sources: dict[str, Any] = evidence.sources
    signs = np.where(is_needed == 1, 1, -1)
    largest = list(evidence.vanilla.values())[-1] if evidence.vanilla else np.zeros(len(signs))
    for row, sign in enumerate(signs):
        support = {name: float(sign * values[row]) for name, values in sources.items()}
        against = sorted((name for name in support if support[name] < 0), key=lambda name: (support[name], name))
        yield _worded(against, len(support), "not_needed" if sign > 0 else "needed") + (
            "; larger untouched models contradict the label more"
            if growing[row] < 0 and sign * largest[row] < 0
            else ""
        )


def _worded(against: list[str], sources: int, other: str) -> str:
    if not against:
        return f"all {sources} sources agree with the label"
    named = ", ".join(against[:_NAMED]) + (", …" if len(against) > _NAMED else "")
    return f"{len(against)} of {sources} sources say {other}: {named}"
