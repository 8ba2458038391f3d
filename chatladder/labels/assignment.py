"""Who annotates which item, and in what order. Both follow from the item itself: another item changes neither."""

import os
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path

from chatladder.io.console import DataError
from chatladder.io.files import create_json, read_json

#: Beside the logs of a round.
FILE = "assignment.json"


def _rank(*parts: str) -> bytes:
    return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()


def assigned(item_id: str, annotators: Iterable[str], overlap: int) -> list[str]:
    """The annotators who get an item: those whose hash together with it is lowest.

    Each gets ``overlap / len(annotators)`` of the items, give or take the chance of a fair draw, and each pair
    shares as many as any other. It depends on nothing but the id and the names, and another annotator takes
    items over without moving any between the others.

    Source:
        Thaler and Ravishankar (1998), rendezvous hashing.
    """
    return sorted(sorted(annotators, key=lambda name: _rank("assign", item_id, name))[:overlap])


def order_items(
    item_ids: Sequence[str], conversations: Sequence[str], *, annotator: str, round_number: int
) -> list[str]:
    """The order in which one annotator sees the items: conversation after conversation, in the order of the chat.

    Within a conversation, what was read for one question helps with the next. The conversations themselves are
    shuffled by a hash that differs between annotators and rounds, so that not everybody is tired, or new to it,
    at the same items. New items slot in; the others keep their order.

    Args:
        item_ids: Shape ``(n,)``, in the order of the chat.
        conversations: The conversation of each, shape ``(n,)``.
        annotator: Who will see them.
        round_number: In which round.
    """
    ranks = {name: (_rank("order", str(round_number), annotator, name), name) for name in set(conversations)}
    rows = sorted(range(len(item_ids)), key=lambda row: (ranks[conversations[row]], row))
    return list(dict.fromkeys(item_ids[row] for row in rows))


def settle(folder: Path, annotators: Sequence[str], overlap: int | None) -> tuple[list[str], int] | None:
    """The assignment of a round: written at its beginning, and the same for everybody from then on.

    Args:
        folder: ``round_<n>``, where ``assignment.json`` lies.
        annotators: Who shares the round; empty to take what the round has.
        overlap: How many annotators get each item; None to take what the round has.

    Returns:
        The annotators and the overlap, or None if everybody gets every item.

    Raises:
        DataError: If the round has another assignment, or the file is damaged.
    """
    path = folder / FILE
    wanted = (sorted(annotators), overlap) if annotators and overlap is not None else None
    if not os.path.lexists(path):
        if wanted is None:
            return None
        create_json(path, {"annotators": wanted[0], "overlap": wanted[1]})
    settled = _read(path)
    if wanted not in (None, settled):
        raise DataError(
            f"{path}: this round is shared by {', '.join(settled[0])}, {settled[1]} for each item. Leave "
            "--annotators and --overlap out to follow it, or begin another --round."
        )
    return settled


def _read(path: Path) -> tuple[list[str], int]:
    row = read_json(path)
    names, overlap = (row.get("annotators"), row.get("overlap")) if isinstance(row, dict) else (None, None)
    if (
        not isinstance(names, list)
        or not all(isinstance(name, str) for name in names)
        or type(overlap) is not int
        or not 1 <= overlap <= len(set(names)) == len(names)
    ):
        raise DataError(f'{path}: expected {{"annotators": [names], "overlap": how many get each item}}. Restore it.')
    return sorted(names), overlap
