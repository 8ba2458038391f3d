"""Scored options as rows of predictions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from chatladder.vocabulary import ANSWERS

if TYPE_CHECKING:
    from numpy.typing import NDArray


def prediction_rows(items: Sequence[dict[str, Any]], shares: "NDArray[Any]") -> list[dict[str, Any]]:
    """Rows of ``predictions``, in the order of the items.

    Args:
        items: Questions.
        shares: Probability of each answer, shape (n, 3), columns as ``ANSWERS``.
    """
    return [
        {
            "item_id": item["item_id"],
            **{f"p_{name}": float(share) for name, share in zip(ANSWERS, row, strict=True)},
            "answer": ANSWERS[row.argmax()],
            # Options are scored, not read from generated text: there is nothing to misread.
            "parsed": True,
        }
        for item, row in zip(items, shares, strict=True)
    ]
