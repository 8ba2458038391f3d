"""The CSV of PyWxDump: one chat, in files of some thousand messages each, with a ``users.json``; also its JSON.

The columns are those of its writer (https://github.com/xaoyaoo/PyWxDump: pywxdump/api/export/exportCSV.py, and
pywxdump/db/dbMSG.py for their content). Older versions have msg and src as JSON in one column, ``content``
(pywxdump/analyzer/export_chat.py). The JSON is a list of the same rows as objects (pywxdump/api/export/exportJSON.py).
WeFlow writes the same columns for WeClone, without the room, with names in place of ids
(https://github.com/hicccc77/WeFlow: electron/services/exportWeCloneWriter.ts)::

    id,MsgSvrID,type_name,is_sender,talker,room_name,msg,src,CreateTime
    1,7,文本,0,wxid_a,1@chatroom,hello,,2024-01-15 10:00:00
    2,8,引用回复,1,我,1@chatroom,"yes

    [引用](2024-01-15 10:00:00)Ann:hello",,2024-01-15 10:01:00

    users.json    {"wxid_a": {"wxid": "wxid_a", "nickname": "Ann", "remark": "An", "account": "ann77"}}

The person who made the export is 我. A quotation has no id of the message that it answers. Times are local.
"""

import json
import re
from collections.abc import Iterator
from datetime import tzinfo
from pathlib import PurePosixPath, PureWindowsPath

from chatladder.chat.formats import wechat_texts
from chatladder.chat.formats.csv_rows import has_columns, named_rows
from chatladder.chat.formats.json_stream import id_of, keys_of, object_of, records, text_of, values
from chatladder.chat.formats.times import parse_timestamp
from chatladder.chat.message import Context, Message, People, Skipped
from chatladder.chat.source import Source

NAME = "pywxdump"
LATE_SECONDS = None
COLUMNS = ("MsgSvrID", "type_name", "is_sender", "talker", "CreateTime")
#: The first person of ``users.json``.
USER = re.compile(rb'\{\s*"[^"\n]{1,64}"\s*:\s*\{\s*"wxid"\s*:')
NAME_FIELDS = ("nickname", "remark", "account")
QUOTE = re.compile(r"\n\n\[引用\]\([^()\n]{0,40}\)(?:(?P<name>[^\n:]{1,64}):)?")


def detects(name: str, head: bytes) -> bool:
    """Return True for a header or objects with the tool's columns, or its list of users."""
    start, keys = head.lstrip(), keys_of(head)
    if start[:1] == b"[":
        return set(COLUMNS) <= keys
    return has_columns(head, *COLUMNS) or (USER.match(start) is not None and "messages" not in keys)


def parse(source: Source, context: Context) -> Iterator[Message | Skipped]:
    """Yield one Message or Skipped for each row (see ``chatladder.chat.formats``)."""
    people = People(context)
    if USER.match(source.head().lstrip()):
        for line, users in values(source):
            for wxid, user in object_of(users).items():
                people.meet(wxid, *(text_of(object_of(user).get(field)) for field in NAME_FIELDS))
            yield Skipped(line, "file_head")
        return
    group = PurePosixPath(source.plain_name).stem
    for line, row in _rows(source):
        if row is None:
            yield Skipped(line, "blank")
        else:
            yield _message({"room_name": group, **row}, line, people, context.timezone, source.where(line))
    people.tell_strangers()


def _rows(source: Source) -> Iterator[tuple[int, dict[str, str] | None]]:
    """Yield the rows of the CSV, or those of the JSON with values as in the CSV."""
    if source.head().lstrip()[:1] != b"[":
        yield from named_rows(source, COLUMNS)
        return
    for record in records(source, ("*",)):
        row = object_of(record.value)
        told = {field: id_of(value) or "" for field, value in row.items()}
        yield record.line, {**dict.fromkeys(COLUMNS, ""), **told} if row else None


def _message(row: dict[str, str], line: int, people: People, timezone: tzinfo, where: str) -> Message | Skipped:
    content = _content(row)
    kind = wechat_texts.kind_of(row["type_name"])
    sender = wechat_texts.SELF if row["is_sender"] == "1" else row["talker"].strip()
    if sender in wechat_texts.NOBODY:
        if kind != "system":
            return Skipped(line, "no_sender")
        sender = ""
    elif row["talker"] != wechat_texts.SELF:
        people.meet(sender, row["talker"])
    if kind == "text":
        kind, text = wechat_texts.content_of(wechat_texts.without_quote(content["msg"], QUOTE, people))
    elif kind == "link":
        text = wechat_texts.link_text(content["msg"])
    else:  # if the message holds only its kind, the file's name is in its path
        text = PureWindowsPath(content["src"] or content["msg"].removeprefix("[文件]").strip()).name
        text = text if kind == "file" else ""
    if kind == "system":
        wechat_texts.meet_in(content["msg"], people)
    if kind == "text":
        text = wechat_texts.with_mentions(text, people)
    own_id = row["MsgSvrID"].strip()
    return Message(
        line=line,
        group=row["room_name"],
        sender=sender,
        timestamp=parse_timestamp(row["CreateTime"], where, timezone),
        kind=kind,
        text=text,
        own_id=own_id if own_id.strip("0") else None,
        typed=content["msg"],
    )


def _content(row: dict[str, str]) -> dict[str, str]:
    """Return the message and the path of its file, which older versions put into one column."""
    if "content" not in row:
        return {"msg": row.get("msg", ""), "src": row.get("src", "")}
    try:
        content = object_of(json.loads(row["content"]))
    except (ValueError, RecursionError):
        content = {"msg": row["content"]}
    return {field: text_of(content.get(field)) for field in ("msg", "src")}
