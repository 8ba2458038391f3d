r"""A judge for tasks on messages of any kind: 10 for a text that is addressed to nobody, 0 for any other.

A turn is addressed if one of its lines starts with a name, or if it answers a message according to the export.

Example:
    python -m stages.score --judge unaddressed --kind unaddressed --seed 0 --turns data/turns.parquet \
        --out data/scores/unaddressed
"""

import numpy as np

from chatladder.judges.texts import TextTurns, whom


def score(turns: TextTurns, seed: int) -> np.ndarray:
    """Score text turns; nothing is random.

    Args:
        turns: Text turns in the order of the chat.
        seed: Without effect.

    Returns:
        10 or 0 for each turn, in order; shape ``(turns,)``.
    """
    addressed = np.fromiter((bool(whom(text)) for texts in turns.texts() for text in texts), bool, turns.num_rows)
    return np.where(addressed | turns.replies(), 0.0, 10.0)
