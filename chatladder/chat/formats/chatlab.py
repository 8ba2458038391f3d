"""ChatLab's standard format, which many exporters write: one chat as JSON, or as one object on each line.

The fields are those of its description (https://github.com/ChatLab/ChatLab/blob/main/docs/en/standard/chatlab-format.md)
and of version 0.0.2 (the same repository: skills/chatlab-convert-cn/references/chatlab-format.md)::

    {"chatlab": {"version": "0.0.2"}, "meta": {"name": "Club", "platform": "wechat", "type": "group", "groupId": "1"},
     "members": [{"platformId": "a", "accountName": "Ann", "groupNickname": "Annie", "aliases": ["An"]}],
     "messages": [{"sender": "a", "accountName": "Ann", "timestamp": 1703001600, "type": 25, "content": "yes",
      "platformMessageId": "8", "replyToMessageId": "7"}]}

    {"_type": "header", "chatlab": {...}, "meta": {...}}
    {"_type": "member", "platformId": "a", ...}
    {"_type": "message", "sender": "a", ...}

A line that starts with # is a comment. Times are UTC seconds.
"""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from chatladder.chat.formats import wechat_texts
from chatladder.chat.formats.json_lines import json_lines
from chatladder.chat.formats.json_stream import id_of, keys_of, object_of, objects_of, records, text_of
from chatladder.chat.formats.times import parse_timestamp
from chatladder.chat.message import Context, Message, People, Skipped
from chatladder.chat.source import Source

NAME = "chatlab"
LATE_SECONDS = None
HEADER = re.compile(rb'(?:\s*#[^\n]*\n)*\s*\{\s*"_type"\s*:\s*"header"')
REPLY = "25"
KINDS = {"0": "text", REPLY: "text", "1": "image", "4": "file", "7": "link", "24": "link"}
NOTICES = ("80", "81")
#: The sender of notices.
SYSTEM = "SYSTEM"


def detects(name: str, head: bytes) -> bool:
    """Return True for a document or a first line with the format's own header."""
    keys = keys_of(head)
    if HEADER.match(head):
        return "chatlab" in keys
    return head.lstrip().startswith(b"{") and {"chatlab", "meta"} <= keys and bool(keys & {"members", "messages"})


def parse(source: Source, context: Context) -> Iterator[Message | Skipped]:
    """Yield one Message or Skipped for each message (see ``chatladder.chat.formats``)."""
    people = People(context)
    for line, type_, value, meta in _entries(source):
        entry = object_of(value)
        if type_ == "member":
            meet(entry, "platformId", people)
        elif type_ != "message" or not entry:
            yield Skipped(line, {"header": "file_head", "blank": "blank"}.get(type_, "not_a_message"))
        else:
            group = id_of(meta.get("groupId")) or id_of(meta.get("name")) or PurePosixPath(source.plain_name).stem
            yield _message(entry, line, group, people, source.where(line))
    people.tell_strangers()


def meet(person: dict[str, Any], field: str, people: People) -> None:
    """Report a person's names in an entry."""
    if identity := id_of(person.get(field)):
        names, aliases = [person.get("accountName"), person.get("groupNickname")], person.get("aliases")
        people.meet(identity, *map(text_of, names + (aliases if isinstance(aliases, list) else [])))


def _entries(source: Source) -> Iterator[tuple[int, str, Any, dict[str, Any]]]:
    """Yield (line, type, entry, meta) of each entry."""
    meta: dict[str, Any] = {}
    if not HEADER.match(source.head()):
        for record in records(source, ("members.*", "messages.*"), ("meta",)):
            yield record.line, record.path[:-3], record.value, object_of(record.beside.get("meta"))
        return
    for line, row in json_lines(source, comment="#"):
        type_ = "blank" if row is None else text_of(row.get("_type"))
        if row and type_ == "header":
            meta = object_of(row.get("meta"))
        yield line, type_, row, meta


def _message(entry: dict[str, Any], line: int, group: str, people: People, where: str) -> Message | Skipped:
    sender = id_of(entry.get("sender"))
    if sender is None:
        return Skipped(line, "no_sender")
    if sender != SYSTEM:
        meet(entry, "sender", people)
    for each in objects_of(entry.get("chatRecords")):  # forwarded
        people.stranger(text_of(each.get("accountName")))
    content = text_of(entry.get("content"))
    type_ = id_of(entry.get("type")) or ""
    kind, text = KINDS.get(type_, "other"), ""
    if type_ in NOTICES or sender == SYSTEM:
        kind = "system"
        wechat_texts.meet_in(content, people)
    elif kind == "text":
        is_quoting = type_ == REPLY and content.rstrip().endswith("]")
        said = wechat_texts.without_quote(content, wechat_texts.QUOTE, people) if is_quoting else content
        text = wechat_texts.with_mentions(said, people)
    elif kind == "file":
        text = PurePosixPath(content.removeprefix("[文件]").strip()).name
    elif kind == "link":
        text = wechat_texts.link_text(content)
    return Message(
        line=line,
        group=group,
        sender="" if sender == SYSTEM else sender,
        timestamp=parse_timestamp(entry.get("timestamp"), where),
        kind=kind,
        text=text,
        own_id=id_of(entry.get("platformMessageId")),
        reply_to=id_of(entry.get("replyToMessageId")),
        typed=content,
    )
