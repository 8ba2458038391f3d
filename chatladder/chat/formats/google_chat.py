"""Google Chat's ``messages.json`` as Google Takeout writes it, a folder for each space, group or direct chat.

The fields are those that readers of Takeout's files use (https://github.com/mattmre/AGENT33,
collected/RSMFConverter/docs/phases/PHASE-19-GOOGLE-CHAT-PARSER.md, and Google's reference of messages,
https://developers.google.com/workspace/chat/api/reference/rest/v1/spaces.messages; Takeout has no description)::

    Groups/Space AAAA/messages.json    {"messages": [
     {"creator": {"name": "Ann", "email": "a@b.c", "user_type": "Human"},
      "created_date": "Thursday, November 3, 2016 at 11:59:50 AM UTC", "text": "hi @Bob", "topic_id": "T",
      "message_id": "AAAA/T/M", "attached_files": [{"original_name": "a.png"}]}]}
    Groups/Space AAAA/group_info.json  {"name": "Team", "members": [{"name": "Ann", "email": "a@b.c"}]}
    Users/User 1/user_info.json        {"user": {...}, "membership_info": [...]}

A group is a space, by the id at the start of its messages' ids. In a space with threads, a message answers the first
one of its thread, or the message that it quotes; the quotation is not part of its text. Dates are in the account's
language: only English ones are read, others are refused. Bots' messages are kept, but not as talk (kind ``other``).
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from chatladder.chat.formats.json_stream import id_of, keys_of, object_of, objects_of, records, text_of
from chatladder.chat.formats.sent_files import kind_of_files
from chatladder.chat.formats.times import parse_timestamp, shape_of
from chatladder.chat.message import Context, Message, People, Skipped
from chatladder.chat.source import Source
from chatladder.io.console import DataError

NAME = "google_chat"
LATE_SECONDS = None
COMPANIONS = {"group_info.json": "members", "user_info.json": "membership_info"}
DATE = re.compile(r"[A-Z][a-z]+day, (?P<moment>[A-Za-z0-9, ]{12,20} at \d{1,2}:\d\d:\d\d(?: [AP]M)?) (?:UTC|GMT)")
#: In American and in British English.
DATE_FORMATS = ("%B %d, %Y at %I:%M:%S %p", "%d %B %Y at %H:%M:%S")
#: The start of the name of a group's folder, followed by its id.
FOLDER = re.compile(r"(?:Space|DM|Group) ")


def detects(name: str, head: bytes) -> bool:
    """Return True for an object with messages that have a creator and a topic, or a companion that lists members."""
    keys = keys_of(head) if head.lstrip().startswith(b"{") else set()
    if name in COMPANIONS:
        return COMPANIONS[name] in keys
    return "messages" in keys and {"creator", "created_date"} <= keys and bool(keys & {"topic_id", "message_id"})


def parse(source: Source, context: Context) -> Iterator[Message | Skipped]:
    """Yield one Message or Skipped for each message; companions tell only names (see ``chatladder.chat.formats``)."""
    people = People(context)
    if source.plain_name in COMPANIONS:
        for record in records(source, ("members.*", "user", "membership_info.*")):
            _meet(record.value, people)
            yield Skipped(record.line, "workspace_metadata")
        return
    for record in records(source, ["messages.*"]):
        if isinstance(record.value, dict):
            yield _message(record.value, record.line, people, source)
        else:
            yield Skipped(record.line, "not_a_message")


def _meet(person: Any, people: People) -> str | None:
    """Return a person's identity, their mail address or else their name; bots' names are not reported: often words."""
    person = object_of(person)
    name = text_of(person.get("name")).strip()
    identity = text_of(person.get("email")).strip().lower() or name
    if identity and person.get("user_type") != "Bot":
        people.meet(identity, name)
    return identity or None


def _message(entry: dict[str, Any], line: int, people: People, source: Source) -> Message | Skipped:
    sender = _meet(entry.get("creator"), people)
    quoted = object_of(entry.get("quoted_message_metadata"))
    _meet(quoted.get("creator"), people)
    if sender is None:
        return Skipped(line, "no_sender")
    own_id = id_of(entry.get("message_id"))
    space, *thread = own_id.split("/") if own_id else ["", "", ""]
    first = f"{space}/{thread[0]}/{thread[0]}" if own_id and len(thread) == 2 else None
    kind, text = _content(entry)
    is_bot = object_of(entry.get("creator")).get("user_type") == "Bot"
    return Message(
        line=line,
        group=(space if first else "") or FOLDER.sub("", source.folder) or source.plain_name,
        sender=sender,
        timestamp=_timestamp(entry.get("created_date"), source.where(line)),
        kind="other" if is_bot and kind != "system" else kind,
        text=text,
        own_id=own_id,
        reply_to=id_of(quoted.get("message_id")) or (first if first != own_id else None),
    )


def _content(entry: dict[str, Any]) -> tuple[str, str]:
    """Return (kind, text) of a message; a deleted message remains as a record without a text."""
    text = text_of(entry.get("text"))
    if text.strip():
        return "text", text
    if entry.get("message_state") == "DELETED" or "deletion_metadata" in entry:
        return "system", ""
    files = objects_of(entry.get("attached_files"))
    return kind_of_files([text_of(file.get("original_name")) or text_of(file.get("export_name")) for file in files])


def _timestamp(value: Any, where: str) -> int | None:
    if not isinstance(value, str) or not value:
        return parse_timestamp(value, where)
    plain = " ".join(value.split())  # newer exports have a narrow space before AM
    if match := DATE.fullmatch(plain):
        for format_ in DATE_FORMATS:
            with suppress(ValueError):
                return int(datetime.strptime(match["moment"], format_).replace(tzinfo=UTC).timestamp())
    raise DataError(
        f"{where}: expected a date such as Thursday, November 3, 2016 at 11:59:50 AM UTC, got one like "
        f"{shape_of(value)!r} (9 for a digit, a for letters). Set the Google account's language to English and "
        "export the chat again."
    )
