"""Rocket.Chat's JSON: the export of a room or of one's own data, and mongoexport's copy of its messages.

The server's own export writes a message a line, one file a room (https://github.com/RocketChat/Rocket.Chat,
apps/meteor/server/lib/dataExport/exportRoomMessagesToFile.ts)::

    {"msg": "hi @bob", "username": "ann", "ts": "2023-01-01T10:00:00.000Z", "attachments": [{"type": "file", ...}]}

``mongoexport --collection=rocketchat_message`` writes the messages as they are stored, of all rooms, as a list or a
message a line (packages/core-typings/src/IMessage/IMessage.ts there)::

    {"_id": "m2", "rid": "r", "msg": "yes", "ts": {"$date": "2023-01-01T10:00:00.000Z"}, "tmid": "m1",
     "u": {"_id": "u1", "username": "ann", "name": "Ann Lee"}, "mentions": [{"_id": "u2", "username": "bob"}]}

A group is a room; the server's export does not name it, so there the group is the file. A message of a thread answers
the thread's first; a quotation is a link to a message at the start of the text, which the message answers. Notices name
members, so their text is dropped. Bots' messages are kept, but not as talk (kind ``other``).
"""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from chatladder.chat.formats.json_stream import elements, id_of, keys_of, object_of, objects_of, text_of
from chatladder.chat.formats.sent_files import kind_of_files
from chatladder.chat.formats.times import parse_milliseconds, parse_timestamp
from chatladder.chat.message import Context, Message, People, Skipped
from chatladder.chat.source import Source

NAME = "rocketchat"
LATE_SECONDS = None
STORED, EXPORTED = {"rid", "msg", "ts", "u"}, {"msg", "username", "ts"}
FIRST = re.compile(rb'\s{0,99}(?:\[\s{0,99})?\{\s{0,99}"(?:_id|msg|rid|t|username|ts)"\s{0,9}:')
#: Links to quoted messages; the quoted text is among the attachments.
QUOTE = re.compile(r"\[[ \u200b]?\]\([^()\s]{0,2000}[?&]msg=(?P<id>\w{1,64})[^()\s]{0,200}\)\s*")
EVERYBODY = re.compile(r"(?<![\w@])@(?:all|here)(?![\w.-]) ?")


def detects(name: str, head: bytes) -> bool:
    """Return True for objects with the fields of either export that are not nested in another object."""
    keys = keys_of(head)
    return FIRST.match(head) is not None and (keys >= STORED or keys >= EXPORTED)


def parse(source: Source, context: Context) -> Iterator[Message | Skipped]:
    """Yield one Message or Skipped for each message (see ``chatladder.chat.formats``)."""
    people = People(context)
    for line, entry in elements(source):
        if isinstance(entry, dict):
            yield _message(entry, line, people, source)
        else:
            yield Skipped(line, "not_a_message")


def _meet(user: dict[str, Any], people: People) -> str | None:
    """Return a user's identity, their login name, and report their name: one of the exports has only the login name."""
    username = text_of(user.get("username")).strip()
    if username:
        people.meet(username, text_of(user.get("name")))
    return username or None


def _message(entry: dict[str, Any], line: int, people: People, source: Source) -> Message | Skipped:
    sender = _meet(object_of(entry.get("u")) or entry, people)
    for mentioned in objects_of(entry.get("mentions")):
        if mentioned.get("type") != "team" and mentioned.get("username") not in ("all", "here"):
            _meet(mentioned, people)
    if sender is None:
        return Skipped(line, "no_sender")
    text = text_of(entry.get("msg"))
    quote = QUOTE.match(text)
    is_notice = bool(text_of(entry.get("t")) or text_of(entry.get("type")))
    kind, text = ("system", "") if is_notice else _content(EVERYBODY.sub("@all ", QUOTE.sub("", text)), entry)
    return Message(
        line=line,
        group=text_of(entry.get("rid")) or PurePosixPath(source.plain_name).stem,
        sender=sender,
        timestamp=_timestamp(entry.get("ts"), source.where(line)),
        kind="other" if entry.get("bot") and kind != "system" else kind,
        text=text,
        own_id=id_of(entry.get("_id")),
        reply_to=quote["id"] if quote else id_of(entry.get("tmid")),
    )


def _content(text: str, entry: dict[str, Any]) -> tuple[str, str]:
    if text.strip():
        return "text", text
    sent = [each for each in objects_of(entry.get("attachments")) if not each.get("message_link")]
    words = next((each for each in sent if text_of(each.get("description")).strip()), None)  # a comment on a file
    if words is not None:
        return "text", text_of(words["description"])
    if sent and all(each.get("image_url") for each in sent):
        return "image", ""
    return kind_of_files([text_of(each.get("title")) for each in sent])


def _timestamp(value: Any, where: str) -> int | None:
    """Return the UTC seconds of a text, or of MongoDB's extended JSON."""
    if isinstance(value, dict) and "$date" in value:
        value = value["$date"]
        if isinstance(value, dict):
            value = value.get("$numberLong")
    return (
        parse_timestamp(value, where)
        if isinstance(value, str) and not value.isdigit()
        else parse_milliseconds(value, where)
    )
