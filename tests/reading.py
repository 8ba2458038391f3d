"""One file read by one format, for the tests of formats."""

import json
from datetime import UTC
from zoneinfo import ZoneInfo

from chatladder.chat.message import Context, Skipped
from chatladder.chat.source import Source
from chatladder.privacy.pseudonyms import Pseudonyms

NAMES = Pseudonyms("key")


def at(identity):
    """A mention of somebody."""
    return f"@{NAMES.person(identity)} "


def parse(format_, folder, content, name, known=None, timezone=None, date_order="auto"):
    """Everything that a format makes of a file; ``known`` gains the names that become known."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(content, str | bytes):
        content = json.dumps(content, ensure_ascii=False, indent=1)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    know = (lambda *names: None) if known is None else (lambda *names: known.append(names))
    zone = ZoneInfo(timezone) if timezone else UTC
    return list(format_.parse(Source(path, name), Context(NAMES, know, zone, date_order)))


def shown(rows):
    """Kind and text of each message, or why a record makes none."""
    return [row.reason if isinstance(row, Skipped) else (row.kind, row.text) for row in rows]
