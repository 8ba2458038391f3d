"""What every chat format hands over, messages and records that make none, and what it is given to read with."""

from collections.abc import Callable, Mapping
from datetime import UTC, tzinfo
from types import MappingProxyType
from typing import NamedTuple

from chatladder.privacy.pseudonyms import Pseudonyms


class Message(NamedTuple):
    """One message as its export has it; names are real here and become pseudonyms in ingest.

    Ids are the export's own, unique within a group, or within ``chat`` where several groups share their ids.
    ``timestamp`` is in UTC seconds, None if unknown.
    """

    line: int  # where the record starts, from 1
    group: str
    sender: str
    timestamp: int | None
    kind: str  # one of chatladder.io.rows.KINDS
    text: str  # mentions of people already replaced by pseudonyms
    resolution_seconds: int = 1  # how exact the timestamp is
    own_id: str | None = None
    reply_to: str | None = None  # own_id of the message that this one answers
    recalls: str | None = None  # own_id of the message that this one takes back
    damaged: bool = False  # bytes that were not UTF-8 stand as U+FFFD
    chat: str | None = None  # what the group is a part of
    typed: str | None = None  # the text with the names that people were mentioned by, where ``text`` has pseudonyms


class Skipped(NamedTuple):
    """A record that makes no message, under a reason that ingest counts."""

    line: int
    reason: str  # a name such as private_chat


def _forget(identity: str, *aliases: str) -> None:
    """Know nobody: for reading a file on its own."""


class Context(NamedTuple):
    """What a format reads with."""

    pseudonyms: Pseudonyms
    #: ``know(identity, *aliases)``: other names of a person (display name, user name), which texts may hold. The
    #: identity is what the messages have as ``sender``; a sender is known without it.
    know: Callable[..., None] = _forget
    timezone: tzinfo = UTC  # of exports that write local time without an offset
    date_order: str = "auto"  # of dates that the file itself does not decide: dmy, mdy or ymd
    phone_regions: tuple[str, ...] = ()  # countries whose phone numbers are told without their +, too
    columns: Mapping[str, str] = MappingProxyType({})  # our column -> the table's own


def valid_text(text: str) -> tuple[str, bool]:
    """Text that UTF-8 can hold, and whether it had to change: JSON escapes can hold half a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"), True
    return text, False
