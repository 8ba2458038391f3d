"""Whose answers an export holds, which of them count, and which a log lacks. No e-mail address is ever repeated."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from chatladder.cli.label_studio.exported import Given, User
from chatladder.io.console import DataError
from chatladder.labels.answer import Answer
from chatladder.labels.log import Replay

_USER = re.compile(r"0|[1-9][0-9]{0,18}|[^@]+@[^@]+")


def parse_names(text: str | None) -> dict[str, str]:
    """Read ``1=li,wu@example.org=wu``: the names of annotators by a user's number or address.

    Raises:
        ValueError: If a pair is malformed or a user there twice. Addresses are not repeated in it.
    """
    names: dict[str, str] = {}
    for pair in filter(None, (pair.strip() for pair in (text or "").split(","))):
        user, _, name = (part.strip() for part in pair.partition("="))
        if not name or "@" in name or not _USER.fullmatch(user):
            raise ValueError("expected pairs of a user's number or e-mail address and a name, as 1=li,2=wu.")
        if names.setdefault(user.lower(), name) != name:
            raise ValueError(f"expected one name for a user, got {names[user.lower()]!a} and {name!a} for the same.")
    return names


def name_of(user: User, names: Mapping[str, str], place: str) -> str:
    """What an annotator is called here: as ``names`` has it, or else by their number in Label Studio.

    Raises:
        DataError: If the export names them by address alone, and ``names`` does not.
    """
    keys = (str(user.number), (user.address or "").lower())
    found = next((names[key] for key in keys if key in names), None)
    if found is None and user.number is None:
        raise DataError(
            f"{place}: expected a user's number, got an e-mail address without a name for it. "
            "Give one with --annotators ADDRESS=NAME, or export as JSON."
        )
    return found or f"labelstudio_{user.number}"


def latest(given: Iterable[Given], names: Mapping[str, str]) -> tuple[dict[str, list[Given]], int]:
    """Each annotator's latest answer to each item, in the order in which they were given, and how many it replaced.

    Raises:
        DataError: If an annotator has no name.
    """
    kept: dict[tuple[str, str], Given] = {}
    count = 0
    for answer in given:
        count += 1
        key = (name_of(answer.user, names, answer.place), answer.item_id)
        kept[key] = max(kept.get(key, answer), answer, key=_when)
    by_name: dict[str, list[Given]] = {name: [] for name, _ in sorted(kept)}
    for (name, _), answer in kept.items():
        by_name[name].append(answer)
    return {name: sorted(answers, key=_when) for name, answers in by_name.items()}, count - len(kept)


def _when(answer: Given) -> tuple[datetime, int, str]:
    return answer.at, answer.number, answer.item_id


def new_answers(
    given: Sequence[Given], log: Replay, annotator: str, round_number: int
) -> tuple[list[Answer], Counter[str]]:
    """The answers that a log lacks.

    Args:
        given: One for each item.
        log: What it holds.
        annotator: Whose it is.
        round_number: Of which round.

    Returns:
        The answers to add, and how many there was no need to: ``known``, where the log says the same, and ``older``,
        where it says something else that was answered later.
    """
    added = []
    left: Counter[str] = Counter()
    for answer in given:
        current = log.answers.get(answer.item_id)
        if current is not None and current.label == answer.label:
            left["known"] += 1
        elif current is not None and datetime.fromisoformat(current.at) >= answer.at:
            left["older"] += 1
        else:
            at = answer.at.isoformat().replace("+00:00", "Z")
            added.append(Answer(answer.item_id, annotator, round_number, answer.label, at))
    return added, left
