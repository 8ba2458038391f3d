"""The JSON and text of WeFlow, one chat a file, and EchoTrace's JSON; WeFlow's CSV for WeClone is read as PyWxDump's.

The fields are those of its writers (https://github.com/hicccc77/WeFlow: electron/services/exportJsonWriter.ts,
exportTxtWriter.ts and exportService.ts for their content)::

    {"weflow": {...}, "session": {"wxid": "1@chatroom", "nickname": "Club", "type": "群聊"}, "messages": [
     {"localId": 1, "createTime": 1705312800, "type": "引用消息", "content": "yes[引用 Bob：what Bob said]",
      "senderUsername": "wxid_a", "senderDisplayName": "Ann", "platformMessageId": "8", "replyToMessageId": "7",
      "source": "<msgsource><atuserlist>wxid_b</atuserlist></msgsource>"}]}

    {"weflow": {"format": "arkme-json"}, "session": {...}, "senders": [{"senderID": 1, "wxid": "wxid_a",
     "displayName": "Ann", "nickname": "ann", "groupNickname": "Annie"}], "messages": [{"senderID": 1, ...}], ...}

    2024-01-15 10:00:00 'Ann'
    yes[引用 Bob：what Bob said]

EchoTrace (https://github.com/ycccccccy/echotrace) writes the first layout without its header, according to ChatLab's
readers (https://github.com/ChatLab/ChatLab). The text has neither ids nor kinds; its times are local. The person who
made an export of a private chat is 我 in it.
"""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from chatladder.chat.formats import wechat_texts
from chatladder.chat.formats.entries import after_blank, entries, first_line
from chatladder.chat.formats.json_stream import id_of, keys_of, object_of, records, text_of
from chatladder.chat.formats.times import parse_timestamp
from chatladder.chat.message import Context, Message, People, Skipped
from chatladder.chat.source import Source

NAME = "weflow"
LATE_SECONDS = None
ENTRY = re.compile(r"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?P<sign>['\"])(?P<name>.{1,256})(?P=sign)")
PEOPLE = ("senders.*", "groupMembers.*")
NAME_FIELDS = ("displayName", "nickname", "remark", "alias", "groupNickname")


def detects(name: str, head: bytes) -> bool:
    """Return True for a document with the program's header or EchoTrace's fields, or an entry with a quoted name."""
    if head.lstrip().startswith(b"{"):
        keys = keys_of(head)
        return {"weflow", "session"} <= keys or {"session", "messages", "senderUsername", "createTime"} <= keys
    return ENTRY.fullmatch(first_line(head)) is not None


def parse(source: Source, context: Context) -> Iterator[Message | Skipped]:
    """Yield one Message or Skipped for each message (see ``chatladder.chat.formats``)."""
    people = People(context)
    stem = PurePosixPath(source.plain_name).stem
    if not source.head().lstrip().startswith(b"{"):
        for line, match, text in entries(source, after_blank(ENTRY)):
            if match is None:
                yield Skipped(line, "file_head" if text.strip() else "blank")
                continue
            kind, said = _content("", text.strip(), people)
            time = parse_timestamp(match["time"], source.where(line), context.timezone)
            yield Message(line, stem, match["name"].strip() or stem, time, kind, said, typed=text.strip())
        people.tell_strangers()
        return
    senders: dict[str, str] = {}  # by their number
    for record in records(source, (*PEOPLE, "messages.*"), ("session",)):
        entry = object_of(record.value)
        if record.path in PEOPLE:
            if wxid := id_of(entry.get("wxid")):
                people.meet(wxid, *(text_of(entry.get(field)) for field in NAME_FIELDS))
                senders[id_of(entry.get("senderID")) or ""] = wxid
        elif not entry:
            yield Skipped(record.line, "not_a_message")
        else:
            group = id_of(object_of(record.beside.get("session")).get("wxid")) or stem
            sender = id_of(entry.get("senderUsername")) or senders.get(id_of(entry.get("senderID")) or "", "")
            yield _message(entry, sender, record.line, group, people, source.where(record.line))
    people.tell_strangers()


def _message(
    entry: dict[str, Any], sender: str, line: int, group: str, people: People, where: str
) -> Message | Skipped:
    label, content = text_of(entry.get("type")), text_of(entry.get("content"))
    if not sender and wechat_texts.kind_of(label) != "system":
        return Skipped(line, "no_sender")
    if sender:
        people.meet(sender, text_of(entry.get("senderDisplayName")))
    ids = wechat_texts.mentioned_ids(text_of(entry.get("source")))
    kind, text = _content(label, content, people, ids)
    return Message(
        line=line,
        group=group,
        sender=sender,
        timestamp=parse_timestamp(entry.get("createTime"), where),
        kind=kind,
        text=text,
        own_id=id_of(entry.get("platformMessageId")),
        reply_to=id_of(entry.get("replyToMessageId")),
        typed=content,
    )


def _content(label: str, content: str, people: People, ids: list[str] | None = None) -> tuple[str, str]:
    """Return kind and text of a message; without a label, the text alone decides the kind."""
    kind, text = wechat_texts.kind_of(label) if label else "text", ""
    if kind == "text" and content.endswith("]"):
        content = wechat_texts.without_quote(content, wechat_texts.QUOTE, people)
    if kind == "text":
        kind, text = wechat_texts.content_of(content)
    elif kind == "link":
        text = wechat_texts.link_text(content)
    elif kind == "file":
        text = PurePosixPath(wechat_texts.content_of(content)[1]).name
    if kind == "system":
        wechat_texts.meet_in(content, people)
    return kind, wechat_texts.with_mentions(text, people, ids or ()) if kind == "text" else text
