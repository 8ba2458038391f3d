"""Folds by conversation: where one goes depends on its own id alone, so a new item moves no other."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.annotation.split import stable_fraction
from stages.cli import DataError
from stages.rows import LABELLED, read_rows


def fold_of(conversation: str, folds: int, seed: int) -> int:
    """The fold of a conversation, from 0; folds are of about equal numbers of conversations."""
    return int(stable_fraction(conversation, f"fold:{seed}") * folds)


def folds_of(conversations: Sequence[str], folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each item's conversation, shape ``(n,)``."""
    places = {name: fold_of(name, folds, seed) for name in dict.fromkeys(conversations)}
    return np.array([places[name] for name in conversations], dtype=np.int64)


def check_folds(labels: Sequence[str], places: NDArray[np.int64], where: Path) -> None:
    """Hold every fold against what it leaves to learn from.

    Args:
        labels: Of each item.
        places: The fold of each.
        where: What to name in an error.

    Raises:
        DataError: If some fold leaves nothing, or one label only.
    """
    for fold in np.unique(places):
        rest = {label for label, place in zip(labels, places, strict=True) if place != fold}
        if len(rest) < 2:
            raise DataError(
                f"{where}: expected both labels among the items that each fold leaves to learn from, got "
                f"{', '.join(sorted(rest)) or 'none'} beside fold {fold + 1}. Annotate more conversations."
            )


def reviewable(labelled: Path) -> list[dict[str, Any]]:
    """The labelled questions that may be looked at again: all but the test split, whose labels no model may touch.

    Raises:
        DataError: If there are none.
    """
    items = [item for item in read_rows(labelled, LABELLED).to_pylist() if item["split"] != "test"]
    if not items:
        raise DataError(f"{labelled}: expected labelled items outside the test split, got none. Annotate more.")
    return items
