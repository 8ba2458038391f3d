r"""Exports of Signal Desktop by two tools: signal-export's ``data.json`` and sigtop's JSON.

signal-export (https://github.com/carderne/signal-export, sigexport/models.py and create.py) writes one message a line,
a folder for each chat::

    {"date": "2023-01-01T10:00:00", "sender": "Ann", "body": "hi  ", "quote": "\n\n> ...", "sticker": null,
     "reactions": [["Bob", "👍"]], "attachments": [{"name": "a.png", "path": "media/a.png"}]}

Its times are local, its owner is ``Me``, and names have lost their blanks. sigtop (https://github.com/tbvdm/sigtop,
cmd/sigtop/fmt_json.go) writes an array of Signal's own messages, as they are in the database
(https://github.com/signalapp/Signal-Desktop)::

    [{"id": "...", "type": "incoming", "conversationId": "c", "sourceServiceId": "a-b", "sent_at": 1672563600123,
      "body": "\ufffc yes", "bodyRanges": [{"start": 0, "length": 1, "mentionAci": "...", "replacementText": "Ann"}],
      "quote": {"id": 1672563500000, "authorAci": "..."}, "attachments": [{"contentType": "image/png"}]}]

A quotation is another person's words, so its text is left out; in sigtop's layout it identifies the message that is
answered. Records without a member's words (joins, calls, timers) are system rows.
"""

import re
from collections.abc import Iterator
from typing import Any

from chatladder.chat.formats.json_stream import elements, id_of, keys_of, object_of, objects_of, text_of
from chatladder.chat.formats.sent_files import kind_of_files
from chatladder.chat.formats.times import parse_milliseconds, parse_timestamp
from chatladder.chat.message import Context, Message, People, Skipped
from chatladder.chat.source import Source

NAME = "signal"
LATE_SECONDS = None
EXPORTED = {"date", "sender", "body", "quote", "attachments"}
STORED = {"conversationId", "sent_at"}
#: signal-export's name for its user, and an identity for them that is nobody's name.
ME, OWNER = "Me", "signal_owner"
NOBODY = "No-Sender"
CALL = re.compile(r"(?:Incoming|Outgoing|Missed)(?: (?:voice|video))? call(?: \([^()]*\))?")
#: The place of a mention in a text.
MENTION = "\ufffc"
#: The place where signal-export has removed a blank from a name.
JOINED = re.compile(r"(?<=[a-zß-öø-ÿ])(?=[A-Z])")


def detects(name: str, head: bytes) -> bool:
    """Return True for objects with the fields of either exporter."""
    keys = keys_of(head) if head.lstrip().startswith((b"[", b"{")) else set()
    return keys >= EXPORTED or (keys >= STORED and bool(keys & {"type", "body"}))


def parse(source: Source, context: Context) -> Iterator[Message | Skipped]:
    """Yield one Message or Skipped for each message (see ``chatladder.chat.formats``)."""
    people = People(context)
    for line, entry in elements(source):
        where = source.where(line)
        if not isinstance(entry, dict):
            yield Skipped(line, "not_a_message")
        elif "conversationId" in entry:
            yield _stored(entry, line, people, where)
        else:
            yield _exported(entry, line, source, people, context)
    people.tell_strangers()


def _exported(entry: dict[str, Any], line: int, source: Source, people: People, context: Context) -> Message | Skipped:
    """Return a message of signal-export."""
    reactions = entry.get("reactions")
    for reaction in reactions if isinstance(reactions, list) else ():
        name = text_of(reaction[0]) if isinstance(reaction, list) and reaction else ""
        people.stranger("" if name == ME else name)
    sender = text_of(entry.get("sender")).strip()
    if sender in ("", NOBODY):
        return Skipped(line, "no_sender")
    text = text_of(entry.get("body")).strip().replace(MENTION, "@<user> ")
    if sender == ME:
        sender = OWNER
    else:
        people.meet(sender, JOINED.sub(" ", sender))
    if entry.get("deleted") is True or entry.get("call") is True or CALL.fullmatch(text):
        kind, text = "system", ""
    elif text:
        kind = "text"
    else:
        kind, text = kind_of_files([text_of(file.get("name")) for file in objects_of(entry.get("attachments"))])
    timestamp = parse_timestamp(entry.get("date"), source.where(line), context.timezone)
    return Message(line, source.folder or source.plain_name, sender, timestamp, kind, text)


def _stored(entry: dict[str, Any], line: int, people: People, where: str) -> Message | Skipped:
    """Return a message as Signal stores it."""
    group = id_of(entry.get("conversationId"))
    if group is None:
        return Skipped(line, "no_group")
    type_ = entry.get("type")
    sender = _person(entry, "source") or (OWNER if type_ == "outgoing" else None)
    if type_ in ("incoming", "outgoing") and sender is None:
        return Skipped(line, "no_sender")
    kind, text = _content(entry, people) if type_ in ("incoming", "outgoing") else ("system", "")
    quote = object_of(entry.get("quote"))
    sent, quoted = id_of(entry.get("sent_at")), id_of(quote.get("id"))
    author = _person(quote, "author")
    return Message(
        line=line,
        group=group,
        sender=sender or "",
        timestamp=parse_milliseconds(entry.get("sent_at"), where),
        kind=kind,
        text=text,
        own_id=f"{sender}/{sent}" if sender and sent else None,
        reply_to=f"{author}/{quoted}" if author and quoted else None,
    )


def _person(entry: dict[str, Any], role: str) -> str | None:
    """Return the identity of a sender or an author, from the field that this version of Signal uses for it."""
    return next((who for end in ("ServiceId", "Aci", "Uuid", "") if (who := id_of(entry.get(role + end)))), None)


def _content(entry: dict[str, Any], people: People) -> tuple[str, str]:
    if entry.get("deletedForEveryone") is True:
        return "system", ""
    text = text_of(entry.get("body"))
    if MENTION in text:
        text = _replace_mentions(text, objects_of(entry.get("bodyRanges")), people)
    if text.strip():
        return "text", text
    if entry.get("sticker") or entry.get("isViewOnce") is True:
        return "other", ""
    files = objects_of(entry.get("attachments"))
    if files and all(text_of(file.get("contentType")).startswith("image/") for file in files):
        return "image", ""
    return kind_of_files([text_of(file.get("fileName")) for file in files])


def _replace_mentions(text: str, ranges: list[dict[str, Any]], people: People) -> str:
    """Replace each mention by ``@<pseudonym> ``: the n-th mark is that of the n-th person mentioned."""
    mentioned = [each for each in ranges if _person(each, "mention") and isinstance(each.get("start"), int)]
    pieces = text.split(MENTION)
    shown = [
        people.mention(_person(each, "mention") or "", text_of(each.get("replacementText")))
        for each in sorted(mentioned, key=lambda each: each["start"])
    ]
    shown += ["@<user> "] * (len(pieces) - 1 - len(shown))
    parts = (mention + piece.removeprefix(" ") for mention, piece in zip(shown, pieces[1:], strict=False))
    return "".join((pieces[0], *parts))
