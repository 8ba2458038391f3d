"""How a chat is put on a screen: hostile text made harmless, senders told apart, times. Nothing of a screen library."""

import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo
from hashlib import blake2b

from chatladder.io.console import printable

#: Characters of one message shown until the annotator asks for the rest.
MOST_CHARACTERS = 1_500
#: Told apart on a dark ground, neighbours far from each other in hue.
PALETTE = (
    "#5fb3ff", "#ffb454", "#7fd962", "#f07ac0", "#59d5e0", "#ff8f70",
    "#c792ea", "#d8d254", "#4cd9a3", "#ff6f91", "#9fb4ff", "#c9a26b",
)  # fmt: skip
#: Join emoji, and letters of several scripts; they move nothing.
_JOINERS = "\u200c\u200d"
#: Marks that pile on one letter; no writing needs more.
_MOST_MARKS = 4


def literal(text: str) -> str:
    """Text of a chat as it may be shown, line breaks kept: no control or direction character has any effect.

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
    """The beginning of a text, and how many characters were left out."""
    return (text, 0) if len(text) <= most else (text[:most], len(text) - most)


def colours(senders: Iterable[str]) -> dict[str, str]:
    """A colour for each sender: their own wherever they speak, unless another sender of these took it first."""
    chosen: dict[str, str] = {}
    for sender in dict.fromkeys(senders):
        first = blake2b(sender.encode("utf-8", "surrogatepass"), digest_size=4).digest()
        start = int.from_bytes(first, "big")
        turned = [PALETTE[(start + step) % len(PALETTE)] for step in range(len(PALETTE))]
        free = [colour for colour in turned if colour not in chosen.values()]
        chosen[sender] = (free or turned)[0]
    return chosen


def clock(timestamp: int | None, zone: tzinfo = UTC) -> str:
    """Hour and minute, or blanks where the time is unknown."""
    moment = _moment(timestamp, zone)
    return moment.strftime("%H:%M") if moment else "     "


def day(timestamp: int | None, zone: tzinfo = UTC) -> str:
    """The date, or nothing where the time is unknown."""
    moment = _moment(timestamp, zone)
    return moment.strftime("%Y-%m-%d %a") if moment else ""


def pause(before: int | None, after: int | None) -> str:
    """Say how much time passed between two messages, if it was long enough to matter (ten minutes)."""
    if before is None or after is None or after - before < 600:
        return ""
    return f"{duration(after - before)} later"


def duration(seconds: float) -> str:
    """A span of time in the two units that matter: 5 h 09 min, 12 min, 3 d 4 h."""
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
