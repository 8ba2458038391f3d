r"""Element's JSON export of a Matrix room.

The fields are those of its writer (https://github.com/element-hq/element-web, src/utils/exportUtils/JSONExport.ts) and
of the events that it writes (https://spec.matrix.org/latest/client-server-api/#instant-messaging)::

    {"room_name": "Help", "exported_by": "Ann", "messages": [
     {"type": "m.room.message", "sender": "@ann:example.org", "event_id": "$1", "room_id": "!r:example.org",
      "origin_server_ts": 1672563600123, "content": {"msgtype": "m.text", "body": "> <@bob:example.org> hi\n\nyes",
      "m.relates_to": {"m.in_reply_to": {"event_id": "$0"}}}}]}

A group is the room's id, which outlives its name. The quotation that older clients put before an answer is not the
sender's words and is left out. State events, edits, reactions and removed messages are system rows; their text names
members. Notices come from bots (kind ``other``). People are known by their ids, the names that they set in the room,
and those under which others mention them.
"""

import html
import re
from collections.abc import Iterator
from typing import Any

from chatladder.chat.formats.json_stream import id_of, keys_of, object_of, records, text_of
from chatladder.chat.formats.sent_files import kind_of_files
from chatladder.chat.formats.times import parse_milliseconds
from chatladder.chat.message import Context, Message, People, Skipped
from chatladder.chat.source import Source

NAME = "matrix"
#: Servers order events, and their clocks differ.
LATE_SECONDS = None
TALK = ("m.text", "m.emote")
MEDIA = {"m.image": "image", "m.file": "file", "m.audio": "file", "m.video": "file"}
#: The quotation before an answer, up to the first line that is not quoted.
FALLBACK = re.compile(r"(?:> [^\n]{0,10000}\n){1,200}\n?")
#: An id by the specification's grammar, inside a text.
USER_ID = re.compile(r"(?<![\w@])@[a-z0-9._=/+-]{1,100}:[A-Za-z0-9.-]{1,100}(?::\d{1,5})?(?<![.-])(?![\w@]) ?")
#: A mention in a formatted text.
PILL = re.compile(r'<a href="https://matrix\.to/#/(@[^"<>/?]{1,255})(?:[/?][^"<>]{0,255})?">([^<>]{1,255})</a>')


def detects(name: str, head: bytes) -> bool:
    """Return True for an object with a room's name and who exported it, or with messages that are events."""
    keys = keys_of(head) if head.lstrip().startswith(b"{") else set()
    return {"room_name", "exported_by"} <= keys or (
        {"origin_server_ts", "event_id"} <= keys and not keys.isdisjoint(("messages", "chunk"))
    )


def parse(source: Source, context: Context) -> Iterator[Message | Skipped]:
    """Yield one Message or Skipped for each event (see ``chatladder.chat.formats``)."""
    people = _People(context)
    group: str | None = None
    for record in records(source, ["messages.*", "chunk.*"], ["room_name"]):
        event = record.value
        if not isinstance(event, dict):
            yield Skipped(record.line, "not_a_message")
            continue
        group = group or id_of(event.get("room_id")) or id_of(record.beside.get("room_name")) or source.plain_name
        yield _message(event, record.line, group, people, source.where(record.line))


class _People(People):
    """The people of a room, known by their id, the first part of the id, and their names."""

    def user(self, identity: str, *names: str) -> None:
        self.meet(identity, identity.removeprefix("@").partition(":")[0], *names)

    def replace_mentions(self, text: str, formatted: str) -> str:
        for match in PILL.finditer(formatted):
            self.user(match[1], html.unescape(match[2]).removeprefix("@"))
        return USER_ID.sub(lambda match: self.mention(match[0].strip()), text) if "@" in text else text


def _message(event: dict[str, Any], line: int, group: str, people: _People, where: str) -> Message | Skipped:
    sender = text_of(event.get("sender"))
    content = object_of(event.get("content"))
    if not sender:
        return Skipped(line, "no_sender")
    people.user(sender)
    if event.get("type") == "m.room.member" and (member := text_of(event.get("state_key"))):
        people.user(member, text_of(content.get("displayname")))
    relation = object_of(content.get("m.relates_to"))
    answered = id_of(object_of(relation.get("m.in_reply_to")).get("event_id"))
    kind, text = _content(event, content, answered is not None, people)
    return Message(
        line=line,
        group=group,
        sender=sender,
        timestamp=parse_milliseconds(event.get("origin_server_ts"), where),
        kind=kind,
        text=text,
        own_id=id_of(event.get("event_id")),
        # Clients without threads show such a message as an answer, but its sender did not mean one.
        reply_to=None if relation.get("is_falling_back") is True else answered,
    )


def _content(event: dict[str, Any], content: dict[str, Any], answers: bool, people: _People) -> tuple[str, str]:
    """Return (kind, text) of an event."""
    type_ = event.get("type")
    if type_ in ("m.sticker", "m.room.encrypted", "m.poll.start"):
        return "other", ""
    is_edit = object_of(content.get("m.relates_to")).get("rel_type") == "m.replace"
    if type_ != "m.room.message" or is_edit or not content:
        return "system", ""
    body, msgtype = text_of(content.get("body")), text_of(content.get("msgtype"))
    if msgtype in MEDIA:
        name = text_of(content.get("filename"))
        if name and body and body != name:  # a caption
            return "text", people.replace_mentions(body, text_of(content.get("formatted_body")))
        return ("image", "") if msgtype == "m.image" else kind_of_files([name or body])
    if msgtype not in TALK:
        return "other", body if msgtype == "m.notice" else ""
    if answers and (quote := FALLBACK.match(body)):
        body = body[quote.end() :]
    return ("text" if body.strip() else "other"), people.replace_mentions(body, text_of(content.get("formatted_body")))
