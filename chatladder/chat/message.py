"""The messages and skipped records that a format hands over, what it reads with, and the people whom it meets."""

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
    """The settings and people that a format reads with."""

    pseudonyms: Pseudonyms
    #: ``know(identity, *aliases)``: other names of a person (display name, user name), which texts may hold. The
    #: identity is what the messages have as ``sender``; a sender is known without it.
    know: Callable[..., None] = _forget
    timezone: tzinfo = UTC  # of exports that write local time without an offset
    date_order: str = "auto"  # of dates that the file itself does not decide: dmy, mdy or ymd
    phone_regions: tuple[str, ...] = ()  # countries whose phone numbers are told without their +, too
    columns: Mapping[str, str] = MappingProxyType({})  # our column -> the table's own
    bots: frozenset[str] = frozenset()  # senders who are left out: names or ids of the export's own, or pseudonyms

    def left_out(self, sender: str) -> str | None:
        """Return why a sender's messages are left out: forgotten, bot, or None."""
        if self.pseudonyms.is_forgotten(sender):
            return "forgotten"
        return "bot" if self.bots and not self.bots.isdisjoint((sender, self.pseudonyms.person(sender))) else None


def valid_text(text: str) -> tuple[str, bool]:
    """Text that UTF-8 can hold, and whether it had to change: JSON escapes can hold half a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"), True
    return text, False


#: No app takes a longer name; a longer one is cut before anything looks at it.
LONGEST_NAME = 256


class People:
    """Everybody of one file, made known under each of their names once."""

    def __init__(self, context: Context) -> None:
        """Start with nobody; names are made known to ``context``."""
        self._context = context
        self._met: dict[str, set[str]] = {}
        self._names: set[str] = set()
        self._strangers: set[str] = set()

    def meet(self, identity: str, *names: str) -> None:
        """Make those of a person's names known that are new; who speaks is known without one."""
        met = self._met.setdefault(identity, set())
        if new := [name for name in dict.fromkeys(map(cut_name, names)) if name and name not in met]:
            met.update(new)
            self._names.update(new)
            self._context.know(*dict.fromkeys((identity, *new)))

    def mention(self, identity: str, *names: str) -> str:
        """``@<pseudonym> `` of somebody, of whom names become known if some are given."""
        if names:
            self.meet(identity, *names)
        return f"@{self._context.pseudonyms.person(identity)} "

    def stranger(self, name: str) -> None:
        """Note somebody who is named without an id."""
        if name := cut_name(name):
            self._strangers.add(name)

    def tell_strangers(self) -> None:
        """Make known who was only named; at the end, since who speaks up in the meantime has an id."""
        for name in sorted(self._strangers - self._names - self._met.keys()):
            self._context.know(name)


def cut_name(name: str) -> str:
    """A name without blanks around it, and no longer than any app allows."""
    return name.strip()[:LONGEST_NAME]
