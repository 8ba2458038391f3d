"""One file through one format, for the tests of formats."""

from collections import Counter
from zoneinfo import ZoneInfo

from chatladder.chat.formats import FORMATS
from chatladder.chat.message import Context, Message
from chatladder.chat.source import Source
from chatladder.privacy.names import Names
from chatladder.privacy.pseudonyms import Pseudonyms

NAMES = Pseudonyms("key")


class Reading:
    """What a format makes of a file.

    Attributes:
        items: Messages and skipped records.
        known: Identity and names of everybody, in the order of knowing.
    """

    def __init__(self, path, content, timezone="UTC", name=None):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.source = Source(path, name or path.name)
        claimed = [each for each in FORMATS if each.detects(self.source.plain_name, self.source.head())]
        assert len(claimed) == 1, [each.NAME for each in claimed]
        self.format = claimed[0]
        self.known = []
        names = Names(NAMES)

        def know(*told):
            self.known.append(told)
            names.know(*told)

        self.items = list(self.format.parse(self.source, Context(NAMES, know, ZoneInfo(timezone))))
        for message in self.messages:
            names.know(message.sender)
        self._replace = names.replacer()

    @property
    def messages(self):
        return [each for each in self.items if isinstance(each, Message)]

    @property
    def said(self):
        """Kind and text of each message, names replaced as ingest does."""
        return [(each.kind, self._replace(each.text, Counter())) for each in self.messages]


def person(identity):
    return NAMES.person(identity)
