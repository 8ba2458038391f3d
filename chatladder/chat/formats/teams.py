r"""Microsoft Teams' messages as returned by Microsoft Graph, and as saved by tools that call it.

The fields are those of Microsoft's reference (https://learn.microsoft.com/graph/api/resources/chatmessage)::

    {"value": [{"id": "1616990032035", "replyToId": null, "messageType": "message", "chatId": "19:a@thread.v2",
      "createdDateTime": "2023-01-01T10:00:00.123Z", "from": {"user": {"id": "8c0a", "displayName": "Ann Lee"}},
      "body": {"contentType": "html", "content": "<p>hi <at id=\"0\">Bob</at></p>"},
      "mentions": [{"id": 0, "mentionText": "Bob", "mentioned": {"user": {"id": "5d8f", "displayName": "Bob Ray"}}}],
      "attachments": [{"contentType": "reference", "name": "a.pdf"}]}]}

or the messages in an array. A group is a chat or a channel. A reply answers the first message of its thread, and a
message of a chat answers the one that it quotes (an attachment of type messageReference). Texts are HTML, of which the
words are kept without quotations. Events and deleted messages are system rows; applications' messages are not talk
(kind ``other``).
"""

import html
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from chatladder.chat.formats.json_stream import id_of, keys_of, object_of, objects_of, records, text_of
from chatladder.chat.formats.sent_files import kind_of_files
from chatladder.chat.formats.times import parse_timestamp
from chatladder.chat.message import Context, Message, People, Skipped
from chatladder.chat.source import Source

NAME = "teams"
#: Graph returns the newest first.
LATE_SECONDS = None
MENTION = re.compile(r'<at id="(?P<id>\d{1,6})">(?P<name>[^<>]{0,255})</at>(?:&nbsp;| )?')
IMAGE = re.compile(r"<img\b[^<>]{0,4000}>")
EMOJI = re.compile(r'<(?:emoji|img)\b[^<>]{0,2000}?\balt="(?P<alt>[^"<>]{1,16})"[^<>]{0,2000}>(?:</emoji>)?')
#: Quotations, and marks in place of attachments.
ASIDE = re.compile(r"<blockquote\b.*?(?:</blockquote>|\Z)|<attachment\b[^<>]{0,400}>(?:</attachment>)?", re.DOTALL)
BREAK = re.compile(r"</(?:p|div|li|h[1-6]|tr)>|<br ?/?>")
TAG = re.compile(r"<[^<>]{0,8000}>")


def detects(name: str, head: bytes) -> bool:
    """Return True for an array of messages, alone or under ``value``, with the fields of the reference."""
    keys = keys_of(head) if head.lstrip().startswith((b"[", b"{")) else set()
    return {"createdDateTime", "messageType", "body", "contentType"} <= keys


def parse(source: Source, context: Context) -> Iterator[Message | Skipped]:
    """Yield one Message or Skipped for each message and each of its replies (see ``chatladder.chat.formats``)."""
    people = People(context)
    path = "*" if source.head().lstrip().startswith(b"[") else "value.*"
    for record in records(source, [path]):
        if not isinstance(record.value, dict):
            yield Skipped(record.line, "not_a_message")
            continue
        for entry in (record.value, *objects_of(record.value.get("replies"))):
            yield _message(entry, record.line, people, source)


def _meet(who: Any, people: People) -> str | None:
    """Return the identity of a user or an application; only users' names are reported: applications' are words."""
    user = object_of(object_of(who).get("user"))
    if identity := id_of(user.get("id")) or text_of(user.get("displayName")):
        people.meet(identity, text_of(user.get("displayName")))
        return identity
    return id_of(object_of(object_of(who).get("application")).get("id"))


def _message(entry: dict[str, Any], line: int, people: People, source: Source) -> Message | Skipped:
    sender = _meet(entry.get("from"), people)
    is_event = entry.get("messageType") != "message" or bool(entry.get("deletedDateTime"))
    if sender is None and not is_event:
        return Skipped(line, "no_sender")
    channel = object_of(entry.get("channelIdentity"))
    kind, text = ("system", "") if is_event else _content(entry, people)
    is_app = not object_of(object_of(entry.get("from")).get("user"))
    files = objects_of(entry.get("attachments"))
    quoted = next((id_of(each.get("id")) for each in files if each.get("contentType") == "messageReference"), None)
    return Message(
        line=line,
        group=text_of(entry.get("chatId"))
        or text_of(channel.get("channelId"))
        or PurePosixPath(source.plain_name).stem,
        sender=sender or "",
        timestamp=parse_timestamp(entry.get("createdDateTime"), source.where(line)),
        kind="other" if is_app and kind != "system" else kind,
        text=text,
        own_id=id_of(entry.get("id")),
        reply_to=quoted or id_of(entry.get("replyToId")),
    )


def _content(entry: dict[str, Any], people: People) -> tuple[str, str]:
    """Return (kind, text) of a message."""
    body = object_of(entry.get("body"))
    content = text_of(body.get("content"))
    pictures = 0
    if body.get("contentType") == "html":
        mentioned = {id_of(each.get("id")): each for each in objects_of(entry.get("mentions"))}
        content = EMOJI.sub(lambda match: match["alt"], ASIDE.sub("", content))
        content = MENTION.sub(lambda match: _mention(match, mentioned, people), content)
        pictures = len(IMAGE.findall(content))
        content = html.unescape(TAG.sub("", BREAK.sub("\n", content))).replace("\xa0", " ").strip()
    if content.strip():
        return "text", content
    files = [each for each in objects_of(entry.get("attachments")) if each.get("contentType") != "messageReference"]
    if pictures and not files:
        return "image", ""
    return kind_of_files([text_of(each.get("name")) for each in files])


def _mention(match: re.Match[str], mentioned: dict[str | None, dict[str, Any]], people: People) -> str:
    """Return the mention of a person as ``@<pseudonym> ``; a channel or a team stands for everybody in it."""
    mention = mentioned.get(match["id"], {})
    identity = _meet(mention.get("mentioned"), people)
    if identity and object_of(mention["mentioned"]).get("user"):
        return people.mention(identity, html.unescape(match["name"]))
    return "@all " if mention else f"@{match['name']} "
