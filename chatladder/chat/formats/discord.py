"""DiscordChatExporter's JSON, one file for a channel, a thread, or a part of one.

The fields are those of its writer (Tyrrrz/DiscordChatExporter:
DiscordChatExporter.Core/Exporting/JsonMessageWriter.cs); older versions have fewer of them::

    {"guild": {"id": "1", "name": "Club"}, "channel": {"id": "2", "name": "help"}, "exportedAt": "...", "messages": [
     {"id": "3", "type": "Reply", "timestamp": "2023-01-01T10:00:00.123+01:00", "content": "@Ann yes",
      "author": {"id": "4", "name": "bob", "nickname": "Bob", "isBot": false}, "attachments": [],
      "mentions": [{"id": "5", "name": "ann", "nickname": "Ann"}], "reference": {"messageId": "6"}}]}

A group is a channel. Contents are as people saw them, so a mention is ``@`` and a nickname, and is found by the
message's list of mentioned people; exports made with ``--markdown false`` have ``<@4>`` instead. Notices (somebody
joined, a message was pinned) name members, so their text is dropped. Bots, webhooks among them, answer commands: their
messages are kept, but not as talk (kind ``other``).
"""

import re
from collections.abc import Iterator
from typing import Any

from chatladder.chat.formats.json_stream import Record, id_of, keys_of, object_of, objects_of, records, text_of
from chatladder.chat.formats.sent_files import kind_of_files
from chatladder.chat.formats.times import parse_timestamp
from chatladder.chat.message import Context, Message, People, Skipped
from chatladder.chat.source import Source

NAME = "discord"
#: An export may be newest first.
LATE_SECONDS = None
#: Types of messages that a person wrote; numbers if the exporter had no name for them. All others are notices.
TALK = frozenset(("Default", "Reply", "ChatInputCommand", "ContextMenuCommand", "0", "19", "20", "23"))
REPLIES = frozenset(("Reply", "19"))
#: Discord allows 32 characters.
LONGEST_NAME = 100
EVERYBODY = ("everyone", "here")

#: Not the @ of a mail address.
MENTION = re.compile(r"(?<![A-Za-z0-9])@")
#: Two characters of one word: @Bobby does not mention Bob.
WORD = re.compile(r"[A-Za-z0-9_]{2}")
#: Markup as Discord stores it: people, roles, channels, emoji, commands.
RAW = re.compile(
    r"<(?:@!?(?P<person>\d{1,20})> ?|@&(?P<role>\d{1,20})>|#(?P<channel>\d{1,20})>"
    r"|a?:(?P<emoji>\w{1,32}):\d{1,20}>|/(?P<command>[^<>:\n]{1,100}):\d{1,20}>)"
)


def detects(name: str, head: bytes) -> bool:
    """Return True for an object with a guild and a channel, or with messages as DiscordChatExporter writes them."""
    if not head.lstrip().startswith(b"{"):
        return False
    keys = keys_of(head)
    if {"guild", "channel"} <= keys:
        return bool(keys & {"messages", "dateRange", "exportedAt"})
    return {"messages", "author", "content", "timestamp"} <= keys and bool(keys & {"isBot", "timestampEdited"})


def parse(source: Source, context: Context) -> Iterator[Message | Skipped]:
    """Yield one Message or Skipped for each message (see ``chatladder.chat.formats``)."""
    people = People(context)
    for record in records(source, ["messages.*"], ["channel"]):
        channel = object_of(record.beside.get("channel"))
        if not isinstance(record.value, dict):
            yield Skipped(record.line, "not_a_message")
            continue
        for person in _people(record.value):
            _meet(person, people)
        group = id_of(channel.get("id")) or id_of(channel.get("name")) or source.plain_name
        yield _message(record, group, people, source.where(record.line))


def _people(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield all people whom a message names."""
    yield object_of(message.get("author"))
    yield from objects_of(message.get("mentions"))
    yield object_of(object_of(message.get("interaction")).get("user"))
    for reaction in objects_of(message.get("reactions")):
        yield from objects_of(reaction.get("users"))


def _meet(person: dict[str, Any], people: People) -> None:
    """Report a person's names; bots are skipped, since their names are often words."""
    identity = id_of(person.get("id"))
    if identity is not None and person.get("isBot") is not True:
        people.meet(identity, text_of(person.get("name")), text_of(person.get("nickname")))


def _message(record: Record, group: str, people: People, where: str) -> Message | Skipped:
    message = record.value
    author = object_of(message.get("author"))
    sender = id_of(author.get("id")) or id_of(author.get("name"))
    if sender is None:
        return Skipped(record.line, "no_sender")
    type_ = id_of(message.get("type")) or "Default"
    kind, text = _content(message, people) if type_ in TALK else ("system", "")
    if author.get("isBot") is True and kind != "system":
        kind = "other"
    reference = object_of(message.get("reference"))
    # A forwarded or pinned message is not answered, nor is one in another channel.
    answers = type_ in REPLIES and (id_of(reference.get("channelId")) or group) == group
    return Message(
        line=record.line,
        group=group,
        sender=sender,
        timestamp=parse_timestamp(message.get("timestamp"), where),
        kind=kind,
        text=text,
        own_id=id_of(message.get("id")),
        reply_to=id_of(reference.get("messageId")) if answers else None,
    )


def _content(message: dict[str, Any], people: People) -> tuple[str, str]:
    """Return (kind, text) of a message; those of a forwarded message if the sender added nothing."""
    forwarded = object_of(message.get("forwardedMessage"))
    for each in (message, forwarded):
        text = text_of(each.get("content"))
        if text.strip():
            return "text", replace_mentions(text, objects_of(message.get("mentions")), people)
    files = objects_of(message.get("attachments")) or objects_of(forwarded.get("attachments"))
    names = [text_of(file.get("fileName")) for file in files]
    return kind_of_files(names)


def replace_mentions(text: str, mentioned: list[dict[str, Any]], people: People) -> str:
    """Replace ``<@id>``, and ``@nickname`` of a mentioned person, by ``@<pseudonym> ``; ``@here`` becomes ``@all ``."""
    if "<" in text:
        text = RAW.sub(lambda match: _shown(match, people), text)
    if "@" not in text:
        return text
    replacements = dict.fromkeys(EVERYBODY, "@all ")
    for person in mentioned:
        identity = id_of(person.get("id"))
        for name in (text_of(person.get("nickname")), text_of(person.get("name"))):
            if identity is not None and 0 < len(name) <= LONGEST_NAME:
                replacements.setdefault(name, people.mention(identity))
    lengths = sorted({len(name) for name in replacements}, reverse=True)
    pieces: list[str] = []
    done = 0
    for match in MENTION.finditer(text):
        start = match.end()
        ends = (start + length for length in lengths if text[start : start + length] in replacements)
        end = next((end for end in ends if not WORD.match(text, end - 1)), None)
        if end is not None and start > done:
            pieces += (text[done : start - 1], replacements[text[start:end]])
            done = end + text.startswith(" ", end)  # the replacement ends with a space itself
    return "".join((*pieces, text[done:]))


def _shown(match: re.Match[str], people: People) -> str:
    """Return Discord's stored markup as its readers see it."""
    if match["person"]:
        return people.mention(match["person"])
    if match["emoji"]:
        return f":{match['emoji']}:"
    if match["command"]:
        return f"/{match['command']}"
    return "@role" if match["role"] else "#channel"
