r"""A judge for tasks that are asked of any message: is a text addressed to nobody? 10 where it is, 0 where it is not.

A turn is addressed if a line of it begins with a name, or if it answers a message, as the export says.

Example:
    python -m stages.score --judge unaddressed --kind unaddressed --seed 0 --turns data/turns.parquet \
        --out data/scores/unaddressed
"""

import numpy as np

from chatladder.judges.texts import TextTurns, whom


def score(turns: TextTurns, seed: int) -> np.ndarray:
    """Score text turns; nothing is drawn.

    Args:
        turns: Text turns in the order of the chat.
        seed: Of no effect.

    Returns:
        10 or 0 for each turn, in order; shape ``(turns,)``.
    """
    addressed = np.fromiter((bool(whom(text)) for texts in turns.texts() for text in texts), bool, turns.num_rows)
    return np.where(addressed | turns.replies(), 0.0, 10.0)
