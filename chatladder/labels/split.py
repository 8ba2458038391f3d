"""Train, validation and test, by conversation, so that no history is on two sides.

Where a conversation goes depends on its own id (or its own date) alone: neither another round of annotation
nor another conversation ever moves an item from one split to another.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime

from chatladder.io.console import DataError


def stable_fraction(key: str, purpose: str) -> float:
    """A number in [0, 1) that depends on ``key`` and ``purpose`` alone, evenly spread over keys."""
    digest = hashlib.sha256(f"{purpose}:{key}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48  # 48 bits are exact in a float


def split_conversations(
    starts: Mapping[str, int | None], *, validation: float, test: float, test_from: datetime | None
) -> dict[str, str]:
    """Assign each conversation to ``train``, ``validation`` or ``test``.

    Args:
        starts: Conversation -> time of its first question (UTC seconds, None if unknown).
        validation: Share of the conversations that are not test which become validation.
        test: Share of all conversations which become test; passed over if ``test_from`` is given.
        test_from: Conversations that start at or after this instant are test.

    Raises:
        DataError: If ``test_from`` is given and a conversation has no time.
    """
    splits = {}
    for conversation, start in starts.items():
        if _is_test(conversation, start, test, test_from):
            splits[conversation] = "test"
        # Its own purpose: were it the same number, validation would be a slice next to test, not a share.
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
            "got none. Leave --test-from out, and --test chooses them by chance."
        )
    return start >= test_from.timestamp()
