"""The messages and skipped records that a format yields, its reading context, and the people whom it meets."""

from collections.abc import Callable, Mapping
from datetime import UTC, tzinfo
from types import MappingProxyType
from typing import NamedTuple

from chatladder.privacy.pseudonyms import Pseudonyms


class Message(NamedTuple):
    """One message as in its export; names are real until ingest replaces them by pseudonyms.

    Ids are the export's, unique within a group, or within ``chat`` where several groups share their ids.
    ``timestamp`` is in UTC seconds, None if unknown.
    """

    line: int  # first line of the record, from 1
    group: str
    sender: str
    timestamp: int | None
    kind: str  # one of chatladder.io.rows.KINDS
    text: str  # mentions of people already replaced by pseudonyms
    resolution_seconds: int = 1  # resolution of the timestamp
    own_id: str | None = None
    reply_to: str | None = None  # own_id of the message that this one answers
    recalls: str | None = None  # own_id of the message that this one takes back
    damaged: bool = False  # True if bytes that were not UTF-8 became U+FFFD
    chat: str | None = None  # the chat that the group is a part of
    typed: str | None = None  # the text with the mentioned people's names, where ``text`` has pseudonyms


class Skipped(NamedTuple):
    """A record that makes no message, with a reason that ingest counts."""

    line: int
    reason: str  # a name such as private_chat


def _forget(identity: str, *aliases: str) -> None:
    """Ignore the names: the default for reading a file by itself."""


class Context(NamedTuple):
    """The settings and people that a format reads with."""

    pseudonyms: Pseudonyms
    #: ``know(identity, *aliases)``: records other names of a person (display name, user name) that texts may hold. The
    #: identity equals the ``sender`` of the messages; a sender is known without this call.
    know: Callable[..., None] = _forget
    timezone: tzinfo = UTC  # for exports that write local time without an offset
    date_order: str = "auto"  # for dates that the file itself does not decide: dmy, mdy or ymd
    phone_regions: tuple[str, ...] = ()  # countries whose phone numbers are recognised without their +, too
    columns: Mapping[str, str] = MappingProxyType({})  # our column -> the table's column
    bots: frozenset[str] = frozenset()  # senders who are left out: names or ids as in the export, or pseudonyms

    def left_out(self, sender: str) -> str | None:
        """Return the reason why a sender's messages are left out, forgotten or bot; None if they are kept."""
        if self.pseudonyms.is_forgotten(sender):
            return "forgotten"
        return "bot" if self.bots and not self.bots.isdisjoint((sender, self.pseudonyms.person(sender))) else None


def valid_text(text: str) -> tuple[str, bool]:
    """Return text that UTF-8 can encode, and True if it had to change: JSON escapes can hold half a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"), True
    return text, False


#: No app allows a longer name; a longer one is cut before it is used.
LONGEST_NAME = 256


class People:
    """The people of one file; each of their names is reported once."""

    def __init__(self, context: Context) -> None:
        """Start empty; names are reported to ``context``."""
        self._context = context
        self._met: dict[str, set[str]] = {}
        self._names: set[str] = set()
        self._strangers: set[str] = set()

    def meet(self, identity: str, *names: str) -> None:
        """Report a person's names that are new; a sender is known without a name."""
        met = self._met.setdefault(identity, set())
        if new := [name for name in dict.fromkeys(map(cut_name, names)) if name and name not in met]:
            met.update(new)
            self._names.update(new)
            self._context.know(*dict.fromkeys((identity, *new)))

    def mention(self, identity: str, *names: str) -> str:
        """Return a person's mention, ``@<pseudonym> ``; names, if given, are reported."""
        if names:
            self.meet(identity, *names)
        return f"@{self._context.pseudonyms.person(identity)} "

    def stranger(self, name: str) -> None:
        """Note a person who is named without an id."""
        if name := cut_name(name):
            self._strangers.add(name)

    def tell_strangers(self) -> None:
        """Report the people who were only named; called at the end, since one who writes later has an id."""
        for name in sorted(self._strangers - self._names - self._met.keys()):
            self._context.know(name)


def cut_name(name: str) -> str:
    """Return a name without surrounding blanks, cut to the length that apps allow."""
    return name.strip()[:LONGEST_NAME]
