r"""The CSV and the text exports of MemoTrace (留痕): all chats of an account, or one.

The columns are those of its writers (https://github.com/LC044/WeChatMsg: app/util/exporter/output.py with
app/DataBase/package_msg.py for all chats, app/util/exporter/exporter_csv.py for one, exporter/exporter_csv.py and
wxManager/model/message.py since 3.0, and exporter_txt.py beside each)::

    localId,TalkerId,Type,SubType,IsSender,CreateTime,Status,StrContent,StrTime,Remark,NickName,Sender
    1,4,1,0,0,1705312800,,hello,2024-01-15 10:00:00,Club,Club,Ann       of all chats: the chat's names, who speaks
    1,4,1,0,0,1705312800,,hello,2024-01-15 10:00:00,An,Ann,wxid_a       of one: the sender's names and id

    消息ID,类型,发送人,时间,内容,备注,昵称,更多信息                      of one, since 3.0
    7,文本,An,2024-01-15 10:00:00,hello,An,Ann,more

    2024-01-15 10:00:00 Ann
    yes
    引用：Bob: what Bob said

In a file of all chats a group is the number of the talker, else the file's name. Before 3.0, content other than text is
XML in the columns and is dropped, replies and files among it. Quotations have no id. The times of texts are local.
"""

import html
import re
from collections.abc import Iterator
from datetime import tzinfo
from itertools import pairwise
from pathlib import PurePosixPath

from chatladder.chat.formats import wechat_texts, weflow
from chatladder.chat.formats.csv_rows import csv_rows, has_columns, named_rows
from chatladder.chat.formats.entries import after_blank, entries
from chatladder.chat.formats.qq import IDENTITY
from chatladder.chat.formats.times import parse_timestamp
from chatladder.chat.message import Context, Message, People, Skipped
from chatladder.chat.source import Source

NAME = "memotrace"
LATE_SECONDS = None
NUMBERED = ("localId", "TalkerId", "Type", "SubType", "IsSender", "CreateTime", "StrContent", "StrTime")
LABELLED = ("消息ID", "类型", "发送人", "时间", "内容")
#: Cells of a numbered row that every version has; private chats of the first version have only these.
FEWEST = 9
ENTRY = re.compile(r"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?: (?P<name>\S.{0,400}))?")
QUOTE = re.compile(r"\n引用[:：] ?(?:(?P<name>[^\n:：]{1,64})[:：])?")
SUFFIX = re.compile(r"(?:_utf8)?\.(?:csv|txt)$", re.IGNORECASE)


def detects(name: str, head: bytes) -> bool:
    """Return True for a header with the program's columns, or an entry with a name, a text, and a blank line."""
    if has_columns(head, *NUMBERED) or has_columns(head, *LABELLED):
        return True
    lines = [line.rstrip() for line in head.lstrip().decode("utf-8", "replace").split("\n")]
    first = ENTRY.fullmatch(lines[0])
    if first is None or IDENTITY.fullmatch(first["name"] or "") or weflow.ENTRY.fullmatch(lines[0]):
        return False
    after_blank = [line for before, line in pairwise(lines) if line and not before]
    return any(map(ENTRY.fullmatch, after_blank)) or (not after_blank and any(lines[1:2]))


def parse(source: Source, context: Context) -> Iterator[Message | Skipped]:
    """Yield one Message or Skipped for each row or entry (see ``chatladder.chat.formats``)."""
    people = People(context)
    head, zone = source.head(), context.timezone
    group = SUFFIX.sub("", source.plain_name).strip() or PurePosixPath(source.plain_name).name
    if has_columns(head, *NUMBERED):
        yield from _numbered(source, group, people)
    elif has_columns(head, *LABELLED):
        for line, row in named_rows(source, LABELLED):
            yield Skipped(line, "blank") if row is None else _labelled(row, line, group, people, zone, source)
    else:
        for line, match, text in entries(source, after_blank(ENTRY)):
            if match is None:
                yield Skipped(line, "file_head" if text.strip() else "blank")
            else:
                yield _entry(match, text.strip(), line, group, people, zone, source)
    people.tell_strangers()


def _numbered(source: Source, group: str, people: People) -> Iterator[Message | Skipped]:
    """Yield the rows of the columns from before 3.0."""
    rows = (cells for _, cells in csv_rows(source) if len(cells) > FEWEST)
    told = {(cells[1], cells[-1] == wechat_texts.SELF) for cells in rows if cells[0] != NUMBERED[0]}
    is_of_all = len({talker for talker, _ in told}) > 1 or any(is_self for _, is_self in told)
    for line, cells in csv_rows(source):
        if cells and cells[0].strip() == NUMBERED[0]:
            continue
        if len(cells) < FEWEST:
            yield Skipped(line, "not_a_message" if any(cells) else "blank")
            continue
        _, talker, type_, subtype, is_self, time, _, content, _, *names = cells
        kind = wechat_texts.kind_of_type(type_, subtype)
        sender = names[-1].strip() if names else ""
        if not sender and kind != "system":
            # The first version names nobody in a private chat, whose file has the other person's name.
            sender = wechat_texts.SELF if is_self == "1" else group
        if sender and not is_of_all:
            people.meet(sender, *names[:-1])
        if kind == "system":
            sender = ""
            wechat_texts.meet_in(content, people)
        text = wechat_texts.with_mentions(content, people) if (kind, type_) == ("text", "1") else ""
        kind = kind if kind != "text" or text else "other"
        own_group = talker if is_of_all else group
        yield Message(line, own_group, sender, parse_timestamp(time, source.where(line)), kind, text, typed=content)


def _labelled(
    row: dict[str, str], line: int, group: str, people: People, timezone: tzinfo, source: Source
) -> Message | Skipped:
    kind, content, sender = wechat_texts.kind_of(row["类型"]), row["内容"], row["发送人"].strip()
    if not sender and kind != "system":
        return Skipped(line, "no_sender")
    if kind == "system":
        sender = ""
        wechat_texts.meet_in(content, people)
    else:
        people.meet(sender, sender, row.get("备注", ""), row.get("昵称", ""))
    text = ""
    if kind == "text":
        text = wechat_texts.with_mentions(wechat_texts.without_quote(content, QUOTE, people), people)
    elif kind in ("file", "link"):
        text = wechat_texts.content_of(content)[1]
    time = parse_timestamp(row["时间"], source.where(line), timezone)
    return Message(line, group, sender, time, kind, text, own_id=row["消息ID"].strip() or None, typed=content)


def _entry(
    match: re.Match[str], content: str, line: int, group: str, people: People, timezone: tzinfo, source: Source
) -> Message:
    """Return the message of an entry; an entry without a name, or with only a name, is a notice."""
    time = parse_timestamp(match["time"], source.where(line), timezone)
    name = html.unescape(match["name"] or "").strip()
    kind, text = "system", ""
    if name and content:
        kind, text = wechat_texts.content_of(wechat_texts.without_quote(content, QUOTE, people))
    if kind == "system":
        wechat_texts.meet_in(content or name, people)
        name = name if content else ""
    text = wechat_texts.with_mentions(text, people) if kind == "text" else text
    return Message(line, group, name, time, kind, text, typed=content)
