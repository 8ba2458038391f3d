"""qq-chat-exporter's JSON (one chat a file, in chunks inside a file, or a manifest with a folder of lines) and text.

The fields are those of its writer; older versions have fewer (https://github.com/shuakami/qq-chat-exporter:
plugins/qq-chat-exporter/lib/core/exporter/JsonExporter.ts and .../core/parser/SimpleMessageParser.ts; TextExporter.ts
for the text)::

    {"metadata": {...}, "chatInfo": {"name": "Club", "type": "group"}, "statistics": {...}, "messages": [
     {"id": "7", "timestamp": 1705312800000, "type": "reply", "recalled": false, "system": false,
      "sender": {"uid": "u_a", "uin": "12345", "name": "Annie", "nickname": "Ann", "groupCard": "Annie"},
      "content": {"text": "[回复消息]@Bob yes", "elements": [
       {"type": "reply", "data": {"referencedMessageId": "6", "senderName": "Bob", "content": "what Bob said"}},
       {"type": "at", "data": {"uid": "u_b", "uin": "54321", "name": "Bob"}},
       {"type": "text", "data": {"text": " yes"}}]}}]}

    {"metadata": {...}, "chunkInfo": {...}, "chunks": [{"chatInfo": {...}, "messages": [...]}]}
    manifest.json {"metadata": {...}, "chatInfo": {...}, "chunked": {...}}   chunks/c000001.jsonl   avatars.json

    [QQChatExporter V5 / https://github.com/shuakami/qq-chat-exporter]
    聊天名称: Club

    Annie:
    时间: 2024-01-15 10:00:00
    内容: @Bob yes
    资源: 1 个文件
      - image: a.jpg
    提及: Bob
    回复: Bob - what Bob said

The text export has neither numbers nor ids; its times are local.

A group is the chat's name, since its number is not exported; a sender is their QQ number, as in QQ's own export. A
message's text is made from its elements, since its plain text has marks in place of content that is not text.
"""

import re
from collections.abc import Iterator
from datetime import tzinfo
from pathlib import PurePosixPath
from typing import Any

from chatladder.chat.formats import wechat_texts
from chatladder.chat.formats.entries import entries
from chatladder.chat.formats.json_stream import id_of, keys_of, object_of, objects_of, records, text_of, values
from chatladder.chat.formats.times import LATEST_SECONDS, parse_timestamp
from chatladder.chat.message import Context, Message, People, Skipped
from chatladder.chat.source import Source

NAME = "qq-chat-exporter"
LATE_SECONDS = None
MANIFEST = "manifest.json"
#: Members' pictures by their number; the file may lie next to a manifest.
AVATARS = re.compile(rb'\{\s*"\d{5,12}"\s*:\s*"data:image/')
LINE = re.compile(rb'\s*\{\s*"id"\s*:')
TEXT = b"[QQChatExporter"
TIME = re.compile(r"时间: (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)")
CHAT = re.compile(r"聊天名称: (.*\S)")
#: Fields after a person's text: files, mentions, the answered message.
FIELD = re.compile(r"资源: \d+ 个文件|(?P<field>提及|回复): (?P<names>.*)")
RESOURCE = re.compile(r"  - (?P<type>\w+): (?P<name>.*)")
FOOTER = re.compile(r"\n={40,}\n *导出完成")
#: The mark in place of content that is not text.
MARK = re.compile(
    r"\[(?:[^\[\]\n]{1,20}消息|无文本内容|(?:图片|视频|语音|文件|表情|动画表情|商城表情|位置|转发)(?:[:：][^\[\]\n]{0,255})?)\]"
)
UNKNOWN = ("", "0", "unknown", "未知", "未知用户")
NAME_FIELDS = ("name", "nickname", "groupCard", "remark")


def detects(name: str, head: bytes) -> bool:
    """Return True for the exporter's header, a chat's description, a line of a chunk, or members' pictures."""
    if head.startswith(TEXT):
        return True
    keys = keys_of(head)
    if LINE.match(head):
        return {"seq", "sender", "elements", "recalled"} <= keys
    return (
        {"metadata", "chatInfo", "statistics"} <= keys or {"chunkInfo", "chunks"} <= keys or bool(AVATARS.match(head))
    )


def parse(source: Source, context: Context) -> Iterator[Message | Skipped]:
    """Yield one Message or Skipped for each message (see ``chatladder.chat.formats``)."""
    people = People(context)
    if source.head().startswith(TEXT):
        yield from _entries(source, people, context.timezone)
        people.tell_strangers()
        return
    for line, value, chat in _messages(source):
        if not isinstance(value, dict):
            yield Skipped(line, "file_head" if value is None else "not_a_message")
            continue
        group = text_of(chat.get("name")) or source.folder or PurePosixPath(source.plain_name).stem
        yield _message(value, line, group, people, source.where(line))
    people.tell_strangers()


def _entries(source: Source, people: People, timezone: tzinfo) -> Iterator[Message | Skipped]:
    """Yield the messages of the text export, each starting with a line of the name and one of the time."""
    group = PurePosixPath(source.plain_name).stem
    before = ""

    def start(line: str) -> tuple[tuple[str, str], str] | None:
        nonlocal before
        name, before = before, line
        match = TIME.fullmatch(line) if name.endswith(":") else None
        return ((name[:-1].strip(), match[1]), "") if match else None

    for line, opened, text in entries(source, start):
        if opened is None:
            if match := CHAT.fullmatch(text):
                group = match[1]
            yield Skipped(line, "file_head" if text.strip() else "blank")
        elif not opened[0]:
            yield Skipped(line, "no_sender")
        else:
            yield _entry(*opened, text, line, group, people, timezone, source)


def _entry(
    sender: str, time: str, text: str, line: int, group: str, people: People, timezone: tzinfo, source: Source
) -> Message:
    # The next entry's name, or the file's footer, follows the text.
    footer = FOOTER.search(text)
    body = text[: footer.start()] if footer else text.rpartition("\n")[0]
    lines = body.strip().split("\n")
    said = next((place for place, each in enumerate(lines) if FIELD.fullmatch(each)), len(lines))
    content = "\n".join(lines[:said]).removeprefix("内容: ").strip()
    files: dict[str, str] = {}
    for each in lines[said:]:
        if match := RESOURCE.fullmatch(each):
            files.setdefault(match["type"], match["name"])
        elif (match := FIELD.fullmatch(each)) and match["field"] == "提及":
            for name in match["names"].split(", "):
                people.stranger("" if name == "all" else name)
        elif match and match["field"]:
            people.stranger(match["names"].partition(" - ")[0])
    kind = (
        "text"
        if MARK.sub("", content).strip()
        else next((each for each in ("image", "file") if each in files), "other")
    )
    if content == "[系统消息]":
        kind = "system"
    text = wechat_texts.with_mentions(content, people) if kind == "text" else files["file"] if kind == "file" else ""
    return Message(line, group, sender, parse_timestamp(time, source.where(line), timezone), kind, text, typed=content)


def _messages(source: Source) -> Iterator[tuple[int, Any, dict[str, Any]]]:
    """Yield (line, message, chat) of each message, or (1, None, {}) for a file without messages."""
    head = source.head()
    keys = keys_of(head)
    if LINE.match(head):
        above = source.above(MANIFEST)
        chat = object_of(object_of(next(values(above), (1, None))[1]).get("chatInfo")) if above else {}
        yield from ((line, value, chat) for line, value in values(source))
    elif AVATARS.match(head) or "chunked" in keys:
        yield 1, None, {}
    else:
        for record in records(source, ("messages.*", "chunks.*.messages.*"), ("chatInfo",)):
            yield record.line, record.value if record.value is not None else 0, object_of(record.beside.get("chatInfo"))


def _person(value: Any, people: People) -> str:
    """Return a person's identity and report their names; empty if none is given."""
    person = object_of(value)
    uin, uid = (id_of(person.get(field)) or "" for field in ("uin", "uid"))
    names = [name for field in NAME_FIELDS if (name := text_of(person.get(field)).strip()) not in UNKNOWN]
    identity = next((each for each in (uin, uid, *names) if each not in UNKNOWN), "")
    if identity:
        people.meet(identity, *(each for each in (uid, *names) if each not in UNKNOWN))
    return identity


def _message(message: dict[str, Any], line: int, group: str, people: People, where: str) -> Message | Skipped:
    sender = _person(message.get("sender"), people)
    content = object_of(message.get("content"))
    elements = [
        (text_of(each.get("type")), object_of(each.get("data"))) for each in objects_of(content.get("elements"))
    ]
    is_system = message.get("system") is True or text_of(message.get("type")) == "system"
    if not sender and not is_system:
        return Skipped(line, "no_sender")
    kind, text = _content(elements, text_of(content.get("text")), people)
    if is_system or message.get("recalled") is True:  # recalled words must not be read
        kind, text = "system", ""
    timestamp = message.get("timestamp")
    if isinstance(timestamp, int) and timestamp > LATEST_SECONDS:
        timestamp //= 1000
    reply = next((data for type_, data in elements if type_ == "reply"), {})
    people.stranger(text_of(reply.get("senderName")))
    return Message(
        line=line,
        group=group,
        sender=sender,
        timestamp=parse_timestamp(timestamp, where),
        kind=kind,
        text=text,
        own_id=id_of(message.get("id")),
        reply_to=id_of(reply.get("referencedMessageId")) or id_of(reply.get("messageId")),
        typed=text_of(content.get("text")),
    )


def _content(elements: list[tuple[str, dict[str, Any]]], plain: str, people: People) -> tuple[str, str]:
    """Return kind and text of a message; people whom its elements name are reported."""
    pieces: list[str] = []
    kinds: dict[str, str] = {}
    for type_, data in elements:
        if type_ == "text":
            after_mention = pieces and pieces[-1].startswith("@") and pieces[-1].endswith(" ")
            pieces.append(text_of(data.get("text")).removeprefix(" ") if after_mention else text_of(data.get("text")))
        elif type_ == "at":
            pieces.append(_mention(data, people))
        elif type_ == "system":
            wechat_texts.meet_in(text_of(data.get("text")), people)
        elif type_ == "forward":
            for each in objects_of(data.get("messages")):
                people.stranger(text_of(object_of(each.get("sender")).get("name")))
        elif type_ == "image":
            kinds["image"] = ""
        elif type_ == "file":
            kinds["file"] = text_of(data.get("filename"))
        elif type_ == "json":
            kinds["link"] = " ".join(filter(None, (text_of(data.get("title")), text_of(data.get("url")))))
    text = "".join(pieces) if elements else plain
    if text.strip():
        return "text", wechat_texts.with_mentions(text.strip(), people)
    return next(((kind, kinds[kind]) for kind in ("image", "file", "link") if kind in kinds), ("other", ""))


def _mention(data: dict[str, Any], people: People) -> str:
    name = text_of(data.get("name")).strip()
    if data.get("uid") == "all":
        return "@all "
    if (uin := id_of(data.get("uin")) or "") not in UNKNOWN:
        return people.mention(uin, name)
    people.stranger(name)
    return f"@{name} "
