"""The files that a round's annotators hold to from its beginning: who gets which item, and under which guidelines.

Who gets an item, and in what order, follows from the item itself: another item changes neither.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b, sha256
from pathlib import Path

from chatladder.io.console import DataError
from chatladder.io.files import create_json, read_json, write_json

#: The annotators of a round, and how many of them get each item.
Sharing = tuple[list[str], int]
#: The meaning of the labels, unless --guidelines names another text.
GUIDELINES = Path(__file__).with_name("guidelines.md")
#: Beside the logs of a round.
ASSIGNMENT_FILE, GUIDELINES_FILE = "assignment.json", "guidelines.json"


def _rank(*parts: str) -> bytes:
    return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()


def assigned(item_id: str, annotators: Iterable[str], overlap: int) -> list[str]:
    """Choose the annotators who get an item: those whose hash together with it is lowest.

    Each gets ``overlap / len(annotators)`` of the items, give or take the chance of a fair draw, and each pair
    shares as many as any other. It depends on nothing but the id and the names, and another annotator takes
    items over without moving any between the others.

    Source:
        Thaler and Ravishankar (1998), rendezvous hashing.
    """
    return sorted(sorted(annotators, key=lambda name: _rank("assign", item_id, name))[:overlap])


def own_share(item_ids: list[str], annotator: str, shared: Sharing | None, folder: Path) -> list[str]:
    """Return the items that one annotator gets.

    Args:
        item_ids: Those of the round, in the order in which they are shown.
        annotator: Name of the person who answers.
        shared: As ``settle_assignment`` gives it.
        folder: ``round_<n>``, for errors.

    Raises:
        DataError: If the round is shared by others, or none is theirs.
    """
    if shared is None:
        return item_ids
    annotators, overlap = shared
    if annotator not in annotators:
        raise DataError(f"{folder}: expected one of {', '.join(annotators)}, who share this round; got {annotator!a}.")
    own = [item_id for item_id in item_ids if annotator in assigned(item_id, annotators, overlap)]
    if not own:
        raise DataError(f"{folder}: none of {len(item_ids):,} items falls to {annotator!a}. Raise the overlap.")
    return own


def chat_order(item_ids: Sequence[str], conversations: Sequence[str]) -> list[str]:
    """Order items conversation after conversation, in the order in which these begin.

    Args:
        item_ids: Shape ``(n,)``, in the order of the chat.
        conversations: The conversation of each, shape ``(n,)``.
    """
    return _ordered(item_ids, conversations, {name: at for at, name in enumerate(dict.fromkeys(conversations))})


def order_items(
    item_ids: Sequence[str], conversations: Sequence[str], *, annotator: str, round_number: int
) -> list[str]:
    """Order items as one annotator sees them: conversation after conversation, in the order of the chat.

    Within a conversation, what was read for one question helps with the next. The conversations themselves are
    shuffled by a hash that differs between annotators and rounds, so that not everybody is tired, or new to it,
    at the same items. New items slot in; the others keep their order.

    Args:
        item_ids: Shape ``(n,)``, in the order of the chat.
        conversations: The conversation of each, shape ``(n,)``.
        annotator: Name of the person who will see them.
        round_number: In which round.
    """
    ranks = {name: (_rank("order", str(round_number), annotator, name), name) for name in conversations}
    return _ordered(item_ids, conversations, ranks)


def _ordered(item_ids: Sequence[str], conversations: Sequence[str], ranks: Mapping[str, object]) -> list[str]:
    # Sorting is stable: within a conversation the chat's order stays.
    return [item_ids[row] for row in sorted(range(len(item_ids)), key=lambda row: ranks[conversations[row]])]  # type: ignore[arg-type,return-value]


def settle_assignment(folder: Path, annotators: Sequence[str] = (), overlap: int | None = None) -> Sharing | None:
    """Return the assignment of a round: written at its beginning, and the same for everybody from then on.

    Args:
        folder: ``round_<n>``, where ``assignment.json`` lies.
        annotators: Names of those who share the round; empty to take what the round has.
        overlap: How many annotators get each item; None to take what the round has.

    Returns:
        The annotators and the overlap, or None if everybody gets every item.

    Raises:
        DataError: If the round has another assignment, or the file is damaged.
    """
    path = folder / ASSIGNMENT_FILE
    wanted = (sorted(annotators), overlap) if annotators and overlap is not None else None
    if not os.path.lexists(path):
        if wanted is None:
            return None
        create_json(path, {"annotators": wanted[0], "overlap": wanted[1]})
    settled = _read_assignment(path)
    if wanted not in (None, settled):
        raise DataError(
            f"{path}: this round is shared by {', '.join(settled[0])}, {settled[1]} for each item. Leave "
            "--annotators and --overlap out to follow it, or begin another --round."
        )
    return settled


def _read_assignment(path: Path) -> Sharing:
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


def read_guidelines(path: Path) -> str:
    """Read the text of the guidelines.

    Raises:
        DataError: If it cannot be read or is empty.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected the guidelines as UTF-8 text: {error}.") from error
    if not text.strip():
        raise DataError(f"{path}: expected the guidelines, got an empty file.")
    return text


def version_of(text: str) -> str:
    """Name a wording by the first 12 hexadecimal digits of its SHA-256 (line ends count as newlines)."""
    return sha256(text.encode("utf-8")).hexdigest()[:12]


def settle_guidelines(folder: Path, file: Path, version: str, *, allow_changed: bool) -> None:
    """Record which wording a round follows, once; later runs are compared with it.

    ``guidelines.json`` is ``{"version", "file"}``; wordings let in later are added as ``"changed_to"``.

    Args:
        folder: ``round_<n>``.
        file: The guidelines.
        version: Name of their wording now.
        allow_changed: Let a round go on under another wording, and record that it did.

    Raises:
        DataError: If the round began under another wording and that is not allowed, or the record is damaged.
    """
    path = folder / GUIDELINES_FILE
    if not path.exists() and create_json(path, {"version": version, "file": file.name}):
        return
    row = read_json(path)
    changed = row.get("changed_to", []) if isinstance(row, dict) else None
    if not isinstance(changed, list) or not isinstance(row.get("version"), str):
        raise DataError(f'{path}: expected {{"version", "file"}}. Restore it.')
    if version in (row["version"], *changed):
        return
    if not allow_changed:
        raise DataError(
            f"{path}: this round follows guidelines {row['version'][:12]!a}, but {file} is now {version}. "
            "Answers under two wordings do not compare: begin another --round, bring the earlier wording back, "
            "or go on with --allow-changed-guidelines, which is recorded."
        )
    write_json(path, {**row, "changed_to": [*changed, version]}, answers=True)
