r"""The WeChat callback dump: a stream of JSON objects, pretty-printed or one a line.

Each object is what a WeChat gateway posts to a bot, in the shape that HuixiangDou writes and reads
(InternLM/HuixiangDou: frontend/wechat.py and sft/reconstruct_wechat_group.py)::

    {"messageType": "80001", "data": {"fromGroup": "1@chatroom", "fromUser": "wxid_a", "newMsgId": 7,
     "timestamp": 1672531200, "content": "@name\u2005hello", "atlist": ["wxid_b"]}}
    {"groupId": "1@chatroom", "answer": "the bot's own answer"}

Texts are what people typed. Everything else is XML that a client wrote; a few flat fields are taken from it
by regular expressions and no XML parser runs, so there are no entities to expand. System notices name
members by nickname, so their text is left behind. XML inside a *text* message is only text: nobody can forge
a recall by typing one.
"""

import html
import json
import re
from collections.abc import Iterator
from typing import Any

from stages.chat.formats.timestamps import parse_timestamp
from stages.chat.message import Context, Message, Skipped
from stages.chat.source import LONGEST_LINE, Source
from stages.cli import DataError
from stages.privacy.pseudonyms import ASSISTANT, Pseudonyms

NAME = "wechat"
LATE_SECONDS = 60
TEXT_TYPES = ("80001", "5", "9")
QUOTE_TYPES = ("80014", "14")
#: Types of private chats start so; they have no group.
PRIVATE = "6"
KIND_OF_TYPE = {"80002": "image", "6": "image", "80009": "file", "80007": "link"}
EVERYBODY = ("notify@all", "announcement@all")
#: Far above any real object: a file without a closing brace must not be gathered whole.
LONGEST_OBJECT = 100_000

SIGNATURE = re.compile(rb'"messageType"\s*:|"groupId"\s*:')
#: The client ends a mention that it inserted by a four-per-em space.
INSERTED_MENTION = re.compile("@([^@\u2005\n]{1,64})\u2005")
#: A plain space after the name: some clients, or typed by hand. Without any end the name cannot be told from
#: the sentence, so it stays.
SPACED_MENTION = re.compile(r"(?<![A-Za-z0-9._%+/-])@([^\s@]{1,32})(?: |$)")
#: The same without an id: only Chinese names, since @property or @types/node in a technical group is code.
CHINESE_MENTION = re.compile(r"(?<![A-Za-z0-9._%+/-])@([^\s@]{0,15}[\u3400-\u9fff][^\s@]{0,15}) ")


def detects(name: str, head: bytes) -> bool:
    """A JSON object that holds a callback's message type or an assistant's group."""
    return head.lstrip().startswith(b"{") and SIGNATURE.search(head) is not None


def parse(source: Source, context: Context) -> Iterator[Message | Skipped]:
    """One Message or Skipped for each object (see ``stages.chat.formats``)."""
    latest: dict[str, int] = {}  # per group; an answer is written when it is sent, and has no time of its own
    for line, record in _objects(source):
        data = record.get("data")
        if "answer" in record and not isinstance(data, dict):
            yield _answer(record, line, latest, source.where(line))
            continue
        if not isinstance(data, dict) or "messageType" not in record:
            yield Skipped(line, "not_a_message")
            continue
        item = _message(str(record["messageType"]), data, line, context.pseudonyms, source.where(line))
        if isinstance(item, Message) and item.timestamp is not None:
            latest[item.group] = item.timestamp
        yield item


def _objects(source: Source) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line of its start, object)."""
    gathered: list[bytes] = []
    start, size = 1, 0
    for number, line in source.lines():
        bare = line.rstrip()
        if not gathered:
            if not bare:
                continue
            start, size = number, 0
        elif bare == b"{":
            raise _damaged(source, start, "the next object starts before it ends")
        elif len(gathered) == LONGEST_OBJECT:
            raise _damaged(source, start, f"it does not end within {LONGEST_OBJECT} lines")
        gathered.append(line)
        size += len(line)
        if size > LONGEST_LINE:
            raise _damaged(source, start, f"it is longer than {LONGEST_LINE // 2**20} MiB")
        # Inside a pretty-printed object every line is indented but the last.
        if bare == b"}" or (len(gathered) == 1 and bare != b"{" and bare.endswith(b"}")):
            yield start, _load(b"".join(gathered), start, source)
            gathered = []
    if gathered:
        raise _damaged(source, start, "the file ends before it does")


def _load(data: bytes, start: int, source: Source) -> dict[str, Any]:
    try:
        record = json.loads(source.decode(data, start))
    except json.JSONDecodeError as error:
        raise _damaged(source, start, f"{error.msg} at line {start + error.lineno - 1}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or endless brackets
        raise _damaged(source, start, type(error).__name__) from error
    if not isinstance(record, dict):
        raise _damaged(source, start, f"got {type(record).__name__}")
    return record


def _damaged(source: Source, start: int, what: str) -> DataError:
    return DataError(
        f"{source.where(start)}: expected one whole JSON object, but {what}. "
        "Remove the damaged object or export the chat again."
    )


def _answer(record: dict[str, Any], line: int, latest: dict[str, int], where: str) -> Message | Skipped:
    group = record.get("groupId")
    if not group:
        return Skipped(line, "no_group")
    timestamp = parse_timestamp(record.get("timestamp"), where)
    if timestamp is None:
        timestamp = latest.get(str(group))
    return Message(line, str(group), ASSISTANT, timestamp, "text", _text(record["answer"]))


def _message(type_: str, data: dict[str, Any], line: int, pseudonyms: Pseudonyms, where: str) -> Message | Skipped:
    if type_.startswith(PRIVATE) and len(type_) == 5:
        return Skipped(line, "private_chat")
    for field, reason in (("fromGroup", "no_group"), ("fromUser", "no_sender")):
        if not data.get(field):
            return Skipped(line, reason)
    kind, text, reply_to, recalls = _content(type_, data, pseudonyms)
    return Message(
        line=line,
        group=str(data["fromGroup"]),
        sender=str(data["fromUser"]),
        timestamp=parse_timestamp(data.get("timestamp"), where),
        kind=kind,
        text=text,
        own_id=_own_id(data.get("newMsgId")) or _own_id(data.get("msgId")),
        reply_to=reply_to,
        recalls=recalls,
    )


def _content(type_: str, data: dict[str, Any], pseudonyms: Pseudonyms) -> tuple[str, str, str | None, str | None]:
    """(kind, text, own id of the message it answers, own id of the message it recalls)."""
    content = _text(data.get("content"))
    if type_ in TEXT_TYPES:
        return "text", replace_mentions(content, data.get("atlist"), pseudonyms), None, None
    if type_ in QUOTE_TYPES:
        text = replace_mentions(_text(data.get("title")), data.get("atlist"), pseudonyms)
        quoted = content.partition("<refermsg")[2]
        return "text", text, _own_id(_field(quoted, "svrid")), None
    if "<sysmsg" in content:
        recalls = _own_id(_field(content, "newmsgid")) if "revokemsg" in content else None
        return "system", "", None, recalls
    kind = KIND_OF_TYPE.get(type_, "other")
    if kind == "file":
        return kind, _field(content, "title") or _file_name(_text(data.get("pushContent"))), None, None
    if kind == "link":
        parts = (_field(content, "title"), _field(content, "url"))
        return kind, " ".join(part for part in parts if part), None, None
    return kind, "", None, None


def replace_mentions(text: str, at_list: Any, pseudonyms: Pseudonyms) -> str:
    """Replace ``@name`` by ``@<pseudonym> ``: the n-th new name is the n-th id of ``at_list``.

    A name that has no id becomes ``@<user> ``, a call to everybody ``@all ``.
    """
    if "@" not in text:
        return text
    ids = iter([str(each) for each in at_list if each] if isinstance(at_list, list) else [])
    known: dict[str, str] = {}

    def replaced(match: re.Match[str]) -> str:
        name = match[1]
        if name not in known:
            person = next(ids, None)
            known[name] = "<user>" if person is None else pseudonyms.person(person)
            if person in EVERYBODY:
                known[name] = "all"
        return f"@{known[name]} "

    text = INSERTED_MENTION.sub(replaced, text)
    if not known and isinstance(at_list, list) and any(at_list):
        return SPACED_MENTION.sub(replaced, text, count=len(at_list))
    return CHINESE_MENTION.sub(replaced, text)


def _field(xml: str, name: str) -> str:
    """Text of the first ``<name>`` in XML, with or without CDATA; empty if there is none."""
    start = xml.find(f"<{name}>")
    end = xml.find(f"</{name}>", start)
    if start < 0 or end < 0:
        return ""
    inner = xml[start + len(name) + 2 : end].strip()
    if inner.startswith("<![CDATA["):
        return inner.removeprefix("<![CDATA[").removesuffix("]]>").strip()
    return html.unescape(inner)


def _file_name(push_content: str) -> str:
    """File name of a notification such as ``nickname : [文件]name.pdf``, without the nickname."""
    return push_content.rpartition(":")[2].strip().removeprefix("[文件]").strip()


def _own_id(value: Any) -> str | None:
    """An id as text; 0 and empty mean that there is none."""
    return str(value) if value and str(value) != "0" else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
