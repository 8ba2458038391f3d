"""Parsing of one file by one format, for the tests of formats."""

import json
from collections import Counter
from zoneinfo import ZoneInfo

from chatladder.chat.formats import FORMATS
from chatladder.chat.message import Context, Message, Skipped
from chatladder.chat.source import Source
from chatladder.privacy.names import Names
from chatladder.privacy.pseudonyms import Pseudonyms

NAMES = Pseudonyms("key")


class Reading:
    """The result of parsing a file with the given format, or else with the one that detects the file.

    Attributes:
        items: Messages and skipped records.
        known: Identity and names of each person, in the order in which the format reports them.
    """

    def __init__(self, path, content, timezone="UTC", name=None, format_=None, date_order="auto"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.source = Source(path, name or path.name)
        self.format = format_ or self._claiming()
        self.known = []

        def know(*names):
            self.known.append(names)

        self.items = list(self.format.parse(self.source, Context(NAMES, know, ZoneInfo(timezone), date_order)))

    def _claiming(self):
        claimed = [each for each in FORMATS if each.detects(self.source.plain_name, self.source.head())]
        assert len(claimed) == 1, [each.NAME for each in claimed]
        return claimed[0]

    @property
    def messages(self):
        return [each for each in self.items if isinstance(each, Message)]

    @property
    def said(self):
        """Kind and text of each message, with names replaced as by ingest."""
        names = Names(NAMES)
        for told in self.known:
            names.know(*told)
        for message in self.messages:
            names.know(message.sender)
        replace = names.replacer()
        return [(each.kind, replace(each.text, Counter())) for each in self.messages]


def parse(format_, folder, content, name, known=None, timezone="UTC", date_order="auto"):
    """Return all items that a format parses from a file; append the names that it reports to ``known``."""
    if not isinstance(content, str | bytes):
        content = json.dumps(content, ensure_ascii=False, indent=1)
    reading = Reading(folder / name, content, timezone, name, format_, date_order)
    if known is not None:
        known += reading.known
    return reading.items


def shown(rows):
    """Return kind and text of each message, or the reason for each skipped record."""
    return [row.reason if isinstance(row, Skipped) else (row.kind, row.text) for row in rows]


def person(identity):
    return NAMES.person(identity)


def at(identity):
    """Return a mention of a person."""
    return f"@{person(identity)} "
