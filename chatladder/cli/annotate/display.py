"""Display of a chat: hostile text made harmless, colours and names of people, times; independent of any library."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from hashlib import blake2b
from typing import Any

from chatladder.io.console import printable
from chatladder.io.rows import PSEUDONYM

#: Characters of one message shown until the annotator asks for the rest.
MOST_CHARACTERS = 1_500
#: Distinct on a dark background, with neighbours far apart in hue.
PALETTE = (
    "#5fb3ff", "#ffb454", "#7fd962", "#f07ac0", "#59d5e0", "#ff8f70",
    "#c792ea", "#d8d254", "#4cd9a3", "#ff6f91", "#9fb4ff", "#c9a26b",
)  # fmt: skip
#: Names of people in place of their pseudonyms, on a page.
NAMES = (
    "Bat", "Bear", "Bison", "Cat", "Crab", "Crane", "Crow", "Deer", "Dove", "Duck", "Eagle", "Elk", "Emu", "Finch",
    "Fox", "Frog", "Goat", "Goose", "Hare", "Hawk", "Heron", "Horse", "Ibex", "Jay", "Lark", "Lemur", "Lion", "Lynx",
    "Mole", "Moose", "Moth", "Newt", "Otter", "Owl", "Pony", "Quail", "Rabbit", "Robin", "Seal", "Sheep", "Stork",
    "Swan", "Tapir", "Toad", "Trout", "Tuna", "Whale", "Wren", "Yak", "Zebra",
)  # fmt: skip
_WORD = re.compile("[A-Za-z]+")
_PSEUDONYM = re.compile(rf"(?<![0-9A-Za-z]){PSEUDONYM}(?![0-9A-Za-z])")
#: Characters that join emoji, and letters of several scripts; they move nothing.
_JOINERS = "\u200c\u200d"
#: The most marks on one letter; no script needs more.
_MOST_MARKS = 4


def literal(text: str) -> str:
    """Return text of a chat that is safe to show, with its line breaks: no control or direction character has effect.

    Such characters become U+FFFD, a tab becomes spaces; more than a few marks on one letter are left out.
    """
    lines = text.replace("\r\n", "\n").replace("\t", "    ").split("\n")
    return "\n".join(_line(line) for line in lines)


def _line(line: str) -> str:
    if line.isascii():
        return printable(line)
    shown = []
    marks = 0
    for character in line:
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if marks <= _MOST_MARKS:
            is_unseen = category in ("Cf", "Cs") and character not in _JOINERS
            shown.append("\ufffd" if is_unseen else character)
    return printable("".join(shown))


def shortened(text: str, most: int = MOST_CHARACTERS) -> tuple[str, int]:
    """Return the beginning of a text, and the number of characters left out."""
    return (text, 0) if len(text) <= most else (text[:most], len(text) - most)


def colours(senders: Iterable[str]) -> dict[str, str]:
    """Return a colour for each sender, which depends on the sender alone unless an earlier one has taken it."""
    chosen: dict[str, str] = {}
    for sender in dict.fromkeys(senders):
        turned = _turned(PALETTE, sender)
        free = [colour for colour in turned if colour not in chosen.values()]
        chosen[sender] = (free or turned)[0]
    return chosen


class People:
    """Short names for those who speak or are mentioned in some messages; no message contains such a name.

    As with colours, a name depends on the person alone, unless it is taken. So a text with names in it can be turned
    back into one with pseudonyms. Nothing changes for people beyond the last name, or without a pseudonym.

    Attributes:
        names: Pseudonym -> name.
    """

    def __init__(self, senders: Sequence[str], texts: Sequence[str]) -> None:
        """Choose the names; whoever comes first has the first choice."""
        said = "\n".join([*senders, *texts])
        taken = {word.title() for word in _WORD.findall(said)}
        self.names: dict[str, str] = {}
        for pseudonym in dict.fromkeys(_PSEUDONYM.findall(said)):
            name = next((each for each in _turned(NAMES, pseudonym) if each not in taken), None)
            if name:
                self.names[pseudonym] = name
                taken.add(name)
        self._back = {name: pseudonym for pseudonym, name in self.names.items()}

    def named(self, text: str) -> str:
        """Return a text with names in place of pseudonyms."""
        return _PSEUDONYM.sub(lambda found: self.names.get(found[0], found[0]), text)

    def unnamed(self, text: str) -> str:
        """Return a text with pseudonyms in place of names."""
        return _WORD.sub(lambda found: self._back.get(found[0], found[0]), text)


def _turned(choices: Sequence[str], person: str) -> list[str]:
    """Return the choices, rotated to begin with one that depends on the person alone."""
    first = blake2b(person.encode("utf-8", "surrogatepass"), digest_size=4).digest()
    start = int.from_bytes(first, "big") % len(choices)
    return [*choices[start:], *choices[:start]]


def clock(timestamp: int | None, zone: tzinfo = UTC) -> str:
    """Return hour and minute, or blanks if the time is unknown."""
    moment = _moment(timestamp, zone)
    return moment.strftime("%H:%M") if moment else "     "


def day(timestamp: int | None, zone: tzinfo = UTC) -> str:
    """Return the date, or an empty text if the time is unknown."""
    moment = _moment(timestamp, zone)
    return moment.strftime("%Y-%m-%d %a") if moment else ""


def pause(before: int | None, after: int | None) -> str:
    """Return the time between two messages in words, or an empty text if it is below ten minutes."""
    if before is None or after is None or after - before < 600:
        return ""
    return f"{duration(after - before)} later"


def notes(
    turns: Iterable[Mapping[str, Any]], zone: tzinfo = UTC, before: int | None = None, *, with_days: bool = True
) -> list[str]:
    """Return a note to show before each message: its day, if it differs from the one before, and a long pause.

    Args:
        turns: Messages with a timestamp, oldest first, shape ``(n,)``.
        zone: The time zone of the days.
        before: Time of the message before the first (UTC seconds).
        with_days: True to note days.

    Returns:
        A note for each message, perhaps empty, shape ``(n,)``.
    """
    found, last_day = [], ""
    for turn in turns:
        at = turn["timestamp"]
        today = day(at, zone) if with_days else ""
        found.append(" · ".join(filter(None, [today if today != last_day else "", pause(before, at)])))
        before, last_day = at, today or last_day
    return found


def duration(seconds: float) -> str:
    """Format a span of time in at most two units: 5 h 09 min, 12 min, 3 d 4 h."""
    minutes = max(0, round(seconds / 60))
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02} min"
    return f"{hours // 24:,} d {hours % 24} h"


def _moment(timestamp: int | None, zone: tzinfo) -> datetime | None:
    try:
        return None if timestamp is None else datetime.fromtimestamp(timestamp, zone)
    except (ValueError, OverflowError, OSError):
        return None  # beyond what a calendar holds
