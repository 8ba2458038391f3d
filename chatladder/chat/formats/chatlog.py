r"""The JSON, CSV and text exports of chatlog, of one chat or several, and its lists of contacts.

The fields are those of its writer (https://github.com/sjzar/chatlog: internal/model/message.go for messages and their
contents, internal/chatlog/http/route.go for the lists), and the columns also those of an export to a file
(internal/export/export.go)::

    [{"seq": 1705312800001, "time": "2024-01-15T10:00:00+08:00", "talker": "1@chatroom", "isChatRoom": true,
      "sender": "wxid_a", "senderName": "Ann", "isSelf": false, "type": 49, "subType": 57, "content": "yes",
      "contents": {"refer": {"sender": "wxid_b", "senderName": "Bob", "content": "what Bob said"}}}]

    Time,SenderName,Sender,TalkerName,Talker,Content
    2024-01-15 10:00:00,Ann,wxid_a,Club,1@chatroom,"> Bob(wxid_b) 01-15 09:59:00
    > what Bob said
    yes"

    Ann(wxid_a) [Club(1@chatroom)] 01-15 10:00:00
    yes

    UserName,Alias,Remark,NickName

A group is the talker's id. A text export names the talker only if there are several, else the group is the file; its
author is 我 in it. Its times lack the year or the day that all of them share: this is taken from the file's name if
that has a date, otherwise the messages have no time. The id of a quoted message is not exported.
"""

import re
from collections.abc import Iterator
from datetime import tzinfo
from pathlib import PurePosixPath
from typing import Any

from chatladder.chat.formats import wechat_texts
from chatladder.chat.formats.csv_rows import has_columns, named_rows
from chatladder.chat.formats.entries import after_blank, entries, first_line
from chatladder.chat.formats.json_stream import id_of, keys_of, object_of, records, text_of
from chatladder.chat.formats.times import parse_timestamp
from chatladder.chat.message import Context, Message, People, Skipped
from chatladder.chat.source import Source

NAME = "chatlog"
LATE_SECONDS = None
FIELDS = frozenset(("talker", "sender", "senderName", "isSelf", "content"))
COLUMNS = ("Time", "SenderName", "Sender", "Talker", "Content")
CONTACTS = ("UserName", "Alias", "Remark", "NickName")
#: An account's id after a name, or alone.
WHO = r"(?:(?P<name>[^\n]{0,256}?)\((?P<id>[A-Za-z0-9_@.-]{1,64}|我)\)|(?P<alone>[A-Za-z0-9_@.-]{6,64}|我|系统消息))"
ENTRY = re.compile(WHO + r" (?:\[(?P<talker>[^\n]{1,300})\] )?(?P<time>(?:(?:\d{4}-)?\d\d-\d\d )?\d\d:\d\d:\d\d)")
TALKER_ID = re.compile(r"(?:.*\()?([^()\s]{1,64})\)?")
QUOTED = re.compile(WHO + r" (?:(?:\d{4}-)?\d\d-\d\d )?\d\d:\d\d:\d\d")
DATE = re.compile(r"(?<!\d)(\d{4})-(\d\d-\d\d)(?!\d)")


def detects(name: str, head: bytes) -> bool:
    """Return True for messages as JSON, a header with the tool's columns, or an entry with an account's id."""
    if head.lstrip()[:1] in (b"[", b"{"):
        return keys_of(head) >= FIELDS
    match = ENTRY.fullmatch(first_line(head))
    return has_columns(head, *COLUMNS) or has_columns(head, *CONTACTS) or (match is not None and bool(match["id"]))


def parse(source: Source, context: Context) -> Iterator[Message | Skipped]:
    """Yield one Message or Skipped for each message (see ``chatladder.chat.formats``)."""
    people = People(context)
    head = source.head()
    if head.lstrip()[:1] in (b"[", b"{"):
        for record in records(source, ("*", "items.*")):
            yield _message(record.value, record.line, people, context.timezone, source.where(record.line))
    elif has_columns(head, *COLUMNS):
        yield from _rows(source, people, context.timezone)
    elif has_columns(head, *CONTACTS):
        for line, row in named_rows(source, CONTACTS):
            if row and row["UserName"]:
                people.meet(*(row[column] for column in CONTACTS))
            yield Skipped(line, "blank" if row is None else "contact")
    else:
        yield from _entries(source, people, context.timezone)
    people.tell_strangers()


def _message(value: Any, line: int, people: People, timezone: tzinfo, where: str) -> Message | Skipped:
    if not isinstance(value, dict):
        return Skipped(line, "not_a_message")
    content, contents = text_of(value.get("content")), object_of(value.get("contents"))
    type_, subtype = (id_of(value.get(field)) or "" for field in ("type", "subType"))
    kind = wechat_texts.kind_of_type(type_, subtype)
    if type_ == "49" and subtype == "62":  # a pat
        kind = "system"
    group, sender = id_of(value.get("talker")), id_of(value.get("sender")) or ""
    if group is None:
        return Skipped(line, "no_group")
    refer = object_of(contents.get("refer"))
    for person in (value, refer):
        if (identity := id_of(person.get("sender")) or "") not in wechat_texts.NOBODY:
            people.meet(identity, text_of(person.get("senderName")))
    text = content if kind == "text" else ""
    if kind in ("link", "file"):
        text = " ".join(filter(None, (text_of(contents.get("title")), text_of(contents.get("url")))))
    return _said(line, group, sender, parse_timestamp(value.get("time"), where, timezone), kind, text, content, people)


def _rows(source: Source, people: People, timezone: tzinfo) -> Iterator[Message | Skipped]:
    for line, row in named_rows(source, COLUMNS):
        if row is None:
            yield Skipped(line, "blank")
        elif not row["Talker"]:
            yield Skipped(line, "no_group")
        else:
            if row["Sender"] not in wechat_texts.NOBODY:
                people.meet(row["Sender"], row["SenderName"])
            kind, text = wechat_texts.content_of(_without_quote(row["Content"], people))
            if "TypeDesc" in row and kind == "text":
                kind = wechat_texts.kind_of(row["TypeDesc"])
                text = text if kind in ("text", "link", "file") else ""
            time = parse_timestamp(row["Time"], source.where(line), timezone)
            yield _said(line, row["Talker"], row["Sender"], time, kind, text, row["Content"], people)


def _entries(source: Source, people: People, timezone: tzinfo) -> Iterator[Message | Skipped]:
    stem = PurePosixPath(source.plain_name).stem
    date = DATE.search(stem)
    for line, match, content in entries(source, after_blank(ENTRY)):
        if match is None:
            yield Skipped(line, "file_head" if content.strip() else "blank")
            continue
        sender = match["id"] or match["alone"]
        if sender not in wechat_texts.NOBODY:
            people.meet(sender, match["name"] or "")
        talker = TALKER_ID.fullmatch(match["talker"] or "")
        content = content.strip()
        kind, text = wechat_texts.content_of(_without_quote(content, people))
        time = parse_timestamp(_whole(match["time"], date), source.where(line), timezone)
        yield _said(line, talker[1] if talker else stem, sender, time, kind, text, content, people)


def _said(
    line: int, group: str, sender: str, time: int | None, kind: str, text: str, content: str, people: People
) -> Message | Skipped:
    if sender in wechat_texts.NOBODY:
        if kind != "system" and not sender:
            return Skipped(line, "no_sender")
        sender, kind = "", "system"
    if kind == "system":
        wechat_texts.meet_in(content, people)
        text = ""
    elif kind == "text":
        text = wechat_texts.with_mentions(text, people)
    return Message(line, group, sender, time, kind, text, typed=content)


def _without_quote(text: str, people: People) -> str:
    """Return a text without the quotation at its start; the quoted person's name is reported."""
    lines = text.split("\n")
    if not lines[0].startswith("> "):
        return text
    if (match := QUOTED.fullmatch(lines[0][2:])) and match["id"] and match["id"] != wechat_texts.SELF:
        people.meet(match["id"], match["name"])
    while lines and lines[0].startswith("> "):
        del lines[0]
    return "\n".join(lines)


def _whole(time: str, date: re.Match[str] | None) -> str | None:
    """Return a time with year and day, taken from the date in a file's name; None if the name has no date."""
    if len(time) == len("2024-01-15 10:00:00"):
        return time
    if date is None:
        return None
    return f"{date[1]}-{time}" if "-" in time else f"{date[1]}-{date[2]} {time}"
