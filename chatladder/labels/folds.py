"""Splits and folds by conversation, each assigned by its own id or date alone, so that no item moves another."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatladder.io.console import DataError
from chatladder.io.rows import LABELLED, SPLITS, read_rows
from chatladder.vocabulary import SCORED

_AGAIN = "Run stages.label again."


def fold_of(conversation: str, folds: int, seed: int) -> int:
    """Return the fold of a conversation, from 0; folds hold about equally many conversations."""
    return int(stable_fraction(conversation, f"fold:{seed}") * folds)


def folds_of(conversations: Sequence[str], folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of each item's conversation, shape ``(n,)``."""
    places = {name: fold_of(name, folds, seed) for name in dict.fromkeys(conversations)}
    return np.array([places[name] for name in conversations], dtype=np.int64)


def check_folds(labels: Sequence[str], places: NDArray[np.int64], where: Path) -> None:
    """Refuse folds that leave too little to train on.

    Args:
        labels: The label of each item.
        places: The fold of each item.
        where: The file to name in an error.

    Raises:
        DataError: If the items outside some fold are none, or have one label only.
    """
    for fold in np.unique(places):
        rest = {label for label, place in zip(labels, places, strict=True) if place != fold}
        if len(rest) < 2:
            raise DataError(
                f"{where}: expected two labels among the items that each fold leaves to learn from, got "
                f"{', '.join(sorted(rest)) or 'none'} beside fold {fold + 1}. Annotate more conversations."
            )


def labelled_rows(labelled: Path) -> list[dict[str, Any]]:
    """Return the labelled questions.

    Raises:
        DataError: If a row is not as ``stages.label`` writes it.
    """
    try:
        rows: list[dict[str, Any]] = read_rows(labelled, LABELLED).to_pylist()
    except UnicodeDecodeError as error:
        raise DataError(f"{labelled}: expected labelled items, got text that is no UTF-8. {_AGAIN}") from error
    seen: dict[str, int] = {}
    for number, item in enumerate(rows, start=1):
        if fault := _fault(item):
            raise DataError(f"{labelled}: row {number}: expected {fault}. {_AGAIN}")
        if (first := seen.setdefault(item["item_id"], number)) < number:
            raise DataError(f"{labelled}: row {number}: expected every item once, got that of row {first}. {_AGAIN}")
    return rows


def reviewable(labelled: Path) -> list[dict[str, Any]]:
    """Return the labelled questions that models may suspect: all but the test split, whose labels no model may touch.

    Raises:
        DataError: If there are none, all have one label, or a row is not as ``stages.label`` writes it.
    """
    items = [item for item in labelled_rows(labelled) if item["split"] != "test"]
    if not items:
        raise DataError(f"{labelled}: expected labelled items outside the test split, got none. Annotate more.")
    if len({item["label"] for item in items}) < 2:
        raise DataError(
            f"{labelled}: expected two labels outside the test split, got {items[0]['label']} alone. Annotate more."
        )
    return items


def _fault(item: Mapping[str, Any]) -> str | None:
    """Return what a labelled item lacks, or None; chat content is never quoted."""
    for name in ("item_id", "conversation", "sender", "text", "window"):
        if item[name] is None:
            return f"a {name}, got none"
    if any(turn is None or turn["text"] is None for turn in item["window"]):
        return "a text in every turn of its window, got a turn without"
    for name, known in (("label", SCORED), ("split", SPLITS)):
        if item[name] not in known:
            return f"its {name} to be {' or '.join(known)}, got {item[name]!a}"
    return None


def stable_fraction(key: str, purpose: str) -> float:
    """Return a number in [0, 1) that depends on ``key`` and ``purpose`` alone, uniform over keys."""
    digest = hashlib.sha256(f"{purpose}:{key}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48  # 48 bits are exact in a float


def split_conversations(
    starts: Mapping[str, int | None], *, validation: float, test: float, test_from: datetime | None
) -> dict[str, str]:
    """Assign each conversation to ``train``, ``validation`` or ``test``.

    Args:
        starts: Conversation -> time of its first question (UTC seconds, None if unknown).
        validation: Share of the conversations outside test that become validation.
        test: Share of all conversations that become test; ignored if ``test_from`` is given.
        test_from: Conversations that start at or after this instant are test.

    Raises:
        DataError: If ``test_from`` is given and a conversation has no time.
    """
    splits = {}
    for conversation, start in starts.items():
        if _is_test(conversation, start, test, test_from):
            splits[conversation] = "test"
        # A purpose of its own: with the same number, validation would be a slice next to test, not a random share.
        elif stable_fraction(conversation, "validation") < validation:
            splits[conversation] = "validation"
        else:
            splits[conversation] = "train"
    return splits


def _is_test(conversation: str, start: int | None, test: float, test_from: datetime | None) -> bool:
    if test_from is None:
        return stable_fraction(conversation, "test") < test
    if start is None:
        raise DataError(
            f"conversation {conversation!a}: expected a time, since test conversations are chosen by date; "
            "got none. Remove split.test_from, and split.test chooses them by chance."
        )
    return start >= test_from.timestamp()
