"""What a tuned rung is held against; read from metrics/models.json, without the libraries that compute."""

from collections.abc import Mapping
from typing import Any

#: What a tuned rung is held against, by the key of the difference in metrics/models.json.
HELD_AGAINST = {"above_words": "a classifier of words", "above_floor": 'always answering "needed"'}


def not_above(rung: Mapping[str, Any]) -> dict[str, str]:
    """Return what a tuned rung's macro-F1 is not credibly above.

    That is a difference whose interval, which holds conversations and seeds, is not wholly above 0.

    Args:
        rung: One rung of ``metrics/models.json``.

    Returns:
        Key of the difference -> what it is with, in words; nothing where all is well, or nothing was compared.
    """
    return {
        key: words
        for key, words in HELD_AGAINST.items()
        if key in rung and (rung[key]["macro_f1_lo"] is None or rung[key]["macro_f1_lo"] <= 0)
    }
