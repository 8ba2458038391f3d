"""The queue: the most suspicious labels, copies of one text side by side, and controls mixed in, unmarked."""

import hashlib
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from chatladder.evaluation.features import Floats

SUSPECT, CONTROL = "suspect", "control"


class Queue(NamedTuple):
    """What is looked at again.

    Attributes:
        order: Rows of the items, in the order in which they are shown.
        roles: For every item ``suspect``, ``control``, or nothing where it is not in the queue.
    """

    order: list[int]
    roles: list[str]


def _draw(purpose: str, seed: int, item_id: str) -> int:
    digest = hashlib.blake2b(f"{purpose}:{seed}:{item_id}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def same_text(text: str) -> str:
    """What two questions share that read the same: width, case and spaces do not tell them apart."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def make_queue(
    item_ids: Sequence[str],
    texts: Sequence[str],
    suspicion: Floats,
    agreed: Sequence[bool],
    *,
    share: float,
    controls: float,
    seed: int,
) -> Queue:
    """Choose suspects and controls, and their order.

    Args:
        item_ids: Of each item.
        texts: The question's own text.
        suspicion: How likely each label is wrong, shape ``(n,)``.
        agreed: Whether all annotators gave the label.
        share: Of the items that become suspects, at least one.
        controls: Share of the queue that are controls, as many as there are.
        seed: Of the draw of the controls and of their places.

    Returns:
        Suspects from the most suspicious on, each followed by the suspects with its text. Controls are drawn from the
        less suspicious half whose annotators agree, as a hash of their id decides, and spread over the queue, so that
        whoever stops early has met their share of them.
    """
    ranked = sorted(range(len(item_ids)), key=lambda row: (-suspicion[row], item_ids[row]))
    suspects = ranked[: max(1, round(share * len(ranked)))]
    roles = [""] * len(item_ids)
    for row in suspects:
        roles[row] = SUSPECT
    trusted = [row for row in ranked[len(ranked) // 2 :] if agreed[row] and not roles[row]]
    wanted = round(len(suspects) * controls / (1 - controls))
    drawn = sorted(trusted, key=lambda row: _draw("control", seed, item_ids[row]))[:wanted]
    for row in drawn:
        roles[row] = CONTROL
    return Queue(_mixed(_side_by_side(suspects, texts), drawn, item_ids, seed), roles)


def _side_by_side(ranked: Sequence[int], texts: Sequence[str]) -> list[list[int]]:
    """The rows in their order, but that rows of one text stand together, where the first of them does."""
    by_text: dict[str, list[int]] = {}
    for row in ranked:
        by_text.setdefault(same_text(texts[row]), []).append(row)
    return list(by_text.values())


def _mixed(suspects: Sequence[list[int]], controls: Sequence[int], item_ids: Sequence[str], seed: int) -> list[int]:
    """Controls between the suspects: one in each of as many stretches of the queue, where in it a hash decides."""
    total = len(suspects) + len(controls)
    bounds = np.linspace(0, total, len(controls) + 1).astype(int)
    places = {}
    for row, start, end in zip(controls, bounds, bounds[1:], strict=False):
        places[int(start) + _draw("place", seed, item_ids[row]) % int(end - start)] = [row]
    waiting = iter(suspects)
    return [row for place in range(total) for row in (places.get(place) or next(waiting))]
