"""The baselines that a tuned rung has to beat, read from metrics/models.json without importing scientific libraries."""

from collections.abc import Mapping
from typing import Any

from chatladder.vocabulary import IS_BINARY, KINDS, POSITIVE

#: Names of the baselines in tables and sentences, by their key in metrics/models.json.
BASELINES = {
    "floor": f"always {KINDS[POSITIVE].words}" if IS_BINARY else "most frequent label",
    "naming": "naming rule",
    "counts": "fifteen counts",
    "line": "words: line",
    "trees": "words: trees",
}


def not_above(rung: Mapping[str, Any]) -> str | None:
    """Return the best baseline if a tuned rung's macro-F1 is not credibly above the baseline's.

    It is credibly above if the interval of the difference, over conversations and seeds, lies wholly above 0.

    Args:
        rung: One rung of ``metrics/models.json``.

    Returns:
        The baseline's name in a sentence; None if the rung is above it, or nothing was compared.
    """
    above = rung.get("above_baselines")
    if above is None or (above["macro_f1_lo"] or 0) > 0:
        return None
    return BASELINES.get(above["best"], str(above["best"]))
