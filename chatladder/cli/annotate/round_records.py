"""The records that fix a round from its beginning: its items, their assignment to annotators, and its guidelines.

The assignment of an item and its place in the order depend on the item itself: another item changes neither.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b, sha256
from pathlib import Path

from chatladder.io.console import DataError
from chatladder.io.files import create_json, read_json, write_json
from chatladder.labels.review import FILE as REVIEW_FILE
from chatladder.labels.rounds import round_folders
from chatladder.vocabulary import TASK

#: The annotators of a round, and how many of them get each item.
Sharing = tuple[list[str], int]
#: The meaning of the labels, unless --guidelines names another text.
GUIDELINES = TASK.folder / "guidelines.md"
#: Files next to the logs of a round.
ASSIGNMENT_FILE, GUIDELINES_FILE, SAMPLE_FILE = "assignment.json", "guidelines.json", "sample.json"


def _rank(*parts: str) -> bytes:
    return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).digest()


def assigned(item_id: str, annotators: Iterable[str], overlap: int) -> list[str]:
    """Choose the annotators who get an item: those with the lowest hashes of item and name.

    In expectation, each gets ``overlap / len(annotators)`` of the items, and all pairs share equally many. The choice
    depends on the id and the names alone, and another annotator takes items over without moving any between the others.

    Source:
        Thaler and Ravishankar (1998), rendezvous hashing.
    """
    return sorted(sorted(annotators, key=lambda name: _rank("assign", item_id, name))[:overlap])


def own_share(item_ids: list[str], annotator: str, shared: Sharing | None, folder: Path) -> list[str]:
    """Return the items that one annotator gets.

    Args:
        item_ids: Items of the round, in the order in which they are shown.
        annotator: Name of the person who answers.
        shared: The result of ``settle_assignment``.
        folder: The round's folder, for errors.

    Raises:
        DataError: If the annotator does not share the round, or gets no item.
    """
    if shared is None:
        return item_ids
    annotators, overlap = shared
    if annotator not in annotators:
        raise DataError(f"{folder}: expected one of {', '.join(annotators)}, who share this round, got {annotator!a}.")
    own = [item_id for item_id in item_ids if annotator in assigned(item_id, annotators, overlap)]
    if not own:
        raise DataError(
            f"{folder}: none of the {len(item_ids):,} items is assigned to {annotator!a}. Raise the overlap."
        )
    return own


def chat_order(item_ids: Sequence[str], conversations: Sequence[str]) -> list[str]:
    """Order items by conversation, in the order in which conversations begin.

    Args:
        item_ids: Ids in the order of the chat, shape ``(n,)``.
        conversations: The conversation of each, shape ``(n,)``.
    """
    return _ordered(item_ids, conversations, {name: at for at, name in enumerate(dict.fromkeys(conversations))})


def order_items(item_ids: Sequence[str], conversations: Sequence[str], round_number: int) -> list[str]:
    """Order items as a round shows them: by conversation, and within one in the order of the chat.

    Within a conversation, reading for one question helps with the next. Conversations are shuffled by a hash that
    differs between rounds. The order is the same for everybody: annotators who stop early have answered the same items,
    so that their agreement can be measured. New items slot in; the others keep their order.

    Args:
        item_ids: Ids in the order of the chat, shape ``(n,)``.
        conversations: The conversation of each, shape ``(n,)``.
        round_number: The number of the round.
    """
    ranks = {name: (_rank("order", str(round_number), name), name) for name in conversations}
    return _ordered(item_ids, conversations, ranks)


def _ordered(item_ids: Sequence[str], conversations: Sequence[str], ranks: Mapping[str, object]) -> list[str]:
    # Sorting is stable: within a conversation the chat's order stays.
    return [item_ids[row] for row in sorted(range(len(item_ids)), key=lambda row: ranks[conversations[row]])]  # type: ignore[arg-type,return-value]


def begun_rounds(annotations: Path) -> list[int]:
    """Return the numbers of the rounds that were begun, in their order; round 1 always counts.

    A log is hidden until its first answer, so a round that was only opened does not count.

    Raises:
        DataError: If answers lie outside a round's folder.
    """
    folders = round_folders(annotations)
    begun = {number for number, folder in folders.items() if any(path.name[0] != "." for path in folder.iterdir())}
    return sorted({1, *begun})


def check_round(annotations: Path, number: int, *, new: bool) -> None:
    """Refuse a round that does not exist, unless it is the next and to be begun.

    Args:
        annotations: Folder of the rounds.
        number: The round.
        new: True to begin it; one that was begun already is resumed.

    Raises:
        DataError: If it does not exist, and is not the next.
    """
    begun, following = begun_rounds(annotations), next_round(annotations)
    if number in begun or (new and number == following):
        return
    how = f"--round {following} --new-round begins the next, for everybody"
    if following in begun:
        how = f"--new-round begins another once round {following} has answers"
    raise DataError(
        f"{annotations}: round {number} does not exist; rounds so far: {', '.join(map(str, begun))}. Name one of "
        f"these. {how}."
    )


def next_round(annotations: Path) -> int:
    """Return the round that --new-round begins: the one after the latest, unless that waits for its first answer."""
    latest = begun_rounds(annotations)[-1]
    folder = annotations / f"round_{latest}"
    return latest + (any(folder.glob("[!.]*.jsonl")) or (folder / REVIEW_FILE).exists())


def settle_sample(folder: Path, order: Sequence[str], size: int) -> list[str]:
    """Set the size of a round's sample, and return its items in the order in which they are shown.

    They are the first of the round's order: whole conversations, the last of which may be cut. ``sample.json`` stores
    them as ``{"items": [ids]}``, so later changes of the questions do not matter. A larger sample begins with them and
    continues in the order, first with the rest of the conversation that was cut.

    Args:
        folder: The round's folder, ``round_<n>``.
        order: Ids of all items in the round's order.
        size: The number of items to ask; all if there are fewer.

    Raises:
        DataError: If the sample is larger already, or the record is damaged.
    """
    create_json(folder / SAMPLE_FILE, {"items": [*order[:size]]})
    drawn = read_sample(folder) or []
    if size < len(drawn):
        raise DataError(
            f"{folder / SAMPLE_FILE}: this round asks {len(drawn):,} questions. Omit --sample to keep it, or give a "
            "larger number, which adds questions to these."
        )
    known = frozenset(drawn)
    grown = [*drawn, *[item_id for item_id in order if item_id not in known][: size - len(drawn)]]
    if grown != drawn:
        write_json(folder / SAMPLE_FILE, {"items": grown}, answers=True)
    return grown


def read_sample(folder: Path) -> list[str] | None:
    """Return the sample of a round; None if it asks all items.

    Args:
        folder: The round's folder, ``round_<n>``.

    Raises:
        DataError: If the record is damaged.
    """
    path = folder / SAMPLE_FILE
    if not os.path.lexists(path):
        return None
    row = read_json(path)
    items = row.get("items") if isinstance(row, dict) else None
    if not isinstance(items, list) or not items or not all(isinstance(each, str) for each in items):
        raise DataError(f'{path}: expected {{"items": [ids]}}. Restore it.')
    return items


def settle_assignment(
    folder: Path, annotators: Sequence[str] = (), overlap: int | None = None, *, begin: bool = True
) -> Sharing | None:
    """Return the assignment of a round: written at its beginning, and the same for everybody from then on.

    Args:
        folder: The round's folder, which holds ``assignment.json``.
        annotators: Names of those who share the round; empty to accept the round's assignment.
        overlap: The number of annotators who get each item; None for all of them.
        begin: True to write the assignment if the round has none.

    Returns:
        The annotators and the overlap, or None if everybody gets every item.

    Raises:
        DataError: If the round has another assignment, or the file is damaged.
    """
    path = folder / ASSIGNMENT_FILE
    wanted = (sorted(annotators), overlap or len(annotators)) if annotators else None
    if not os.path.lexists(path):
        if wanted is None or not begin:
            return wanted
        create_json(path, _assignment(wanted))
    settled = _read_assignment(path)
    # If everybody gets every item, a new annotator takes none from the others.
    if wanted and _is_everybodys(wanted) and _is_everybodys(settled) and {*settled[0]} < {*wanted[0]}:
        if begin:
            write_json(path, _assignment(wanted), answers=True)
        return wanted
    if wanted not in (None, settled):
        raise DataError(
            f"{path}: this round is shared by {', '.join(settled[0])}, {settled[1]} for each item. Omit --annotators "
            "and --overlap to keep this, or begin another round with --new-round."
        )
    return settled


def _assignment(sharing: Sharing) -> dict[str, object]:
    return {"annotators": sharing[0], "overlap": sharing[1]}


def _is_everybodys(sharing: Sharing) -> bool:
    return sharing[1] == len(sharing[0])


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
    """Return the version of a text: the first 12 hexadecimal digits of its SHA-256 (line ends count as newlines)."""
    return sha256(text.encode("utf-8")).hexdigest()[:12]


def settle_guidelines(folder: Path, file: Path, version: str, *, allow_changed: bool) -> None:
    """Record the version of the guidelines that a round follows, once; later runs are compared with it.

    ``guidelines.json`` is ``{"version", "file"}``; versions allowed later are added as ``"changed_to"``.

    Args:
        folder: The round's folder, ``round_<n>``.
        file: The guidelines.
        version: Their present version.
        allow_changed: True to allow another version in a round that was begun, and record it.

    Raises:
        DataError: If the round began under another version and that is not allowed, or the record is damaged.
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
            "Answers under two wordings do not compare: begin another with --new-round, bring the earlier wording "
            "back, or go on with --allow-changed-guidelines, which is recorded."
        )
    write_json(path, {**row, "changed_to": [*changed, version]}, answers=True)
