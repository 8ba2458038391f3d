r"""The WeChat callback dump: a stream of JSON objects, pretty-printed or one a line.

Each object is what a WeChat gateway posts to a bot, in the shape that HuixiangDou writes and reads
(InternLM/HuixiangDou: frontend/wechat.py and sft/reconstruct_wechat_group.py)::

    {"messageType": "80001", "data": {"fromGroup": "1@chatroom", "fromUser": "wxid_a", "newMsgId": 7,
     "timestamp": 1672531200, "content": "@name\u2005hello", "atlist": ["wxid_b"]}}
    {"groupId": "1@chatroom", "answer": "the bot's own answer"}

Texts are what people typed. Everything else is XML that a client wrote; a few flat fields are extracted by regular
expressions, without an XML parser, so no entities are expanded. The content of a CDATA section is text like any other,
and so is XML inside a *text* message: nobody can forge a recall or an answer by typing one.

A notice is a message that no member sends and that starts with ``<sysmsg``. Its text is dropped, since it names members
by nickname. A message that a notice recalls counts as recalled whoever recalled it: a group's owner may recall other
people's messages, and the servers send the notice on nobody else's order.

Names have no field of their own. These tell who has which name (Eyun's pages on callbacks, wkteam.cn/docs; the XML is
what WeChat's clients write)::

    "@name\u2005" and atlist                     mentions: the n-th new name is the n-th id's
    pushContent "name : text"                     the line that phones show; also "name在群聊中@了你"
    <refermsg><chatusr>id</chatusr><displayname>  the person who is quoted
    <member><username>id</username><nickname>     the person whom a notice concerns
    "name" in a notice's text, <msg nickname="">, <sourcename>    names without ids: people who may not be members
"""

import html
import re
from collections.abc import Iterator
from typing import Any

from chatladder.chat.formats.json_stream import keys_of, object_of, text_of, values
from chatladder.chat.formats.times import parse_timestamp
from chatladder.chat.message import Context, Message, People, Skipped
from chatladder.chat.source import Source
from chatladder.privacy.pseudonyms import ASSISTANT

NAME = "wechat"
LATE_SECONDS = 60
TEXT_TYPES = ("80001", "5", "9")
QUOTE_TYPES = ("80014", "14")
#: The start of the types of private chats, which have no group.
PRIVATE = "6"
KIND_OF_TYPE = {"80002": "image", "6": "image", "80009": "file", "80007": "link"}
EVERYBODY = ("notify@all", "announcement@all")
#: The end of groups' ids; in place of a person's id it stands for nobody.
GROUP_ID = "@chatroom"

SIGNATURE = re.compile(rb'"messageType"\s*:|"groupId"\s*:')
#: A field of Microsoft Teams' messages, which have a message type too.
TEAMS = b'"createdDateTime"'
#: The client ends a mention that it inserted with a four-per-em space.
INSERTED_MENTION = re.compile("@([^@\u2005\n]{1,64})\u2005")
#: A mention that ends with a plain space: from some clients, or typed by hand. Without any end the name cannot be
#: separated from the sentence, so it stays.
SPACED_MENTION = re.compile(r"(?<![A-Za-z0-9._%+/-])@([^\s@]{1,32})(?: |$)")
#: The same without an id: only Chinese names, since @property or @types/node in a technical group is code.
CHINESE_MENTION = re.compile(r"(?<![A-Za-z0-9._%+/-])@([^\s@]{0,15}[\u3400-\u9fff][^\s@]{0,15}) ")
#: A message as phones show it: the sender's name, and the text.
PUSHED = re.compile(r"(?P<name>[^\n]{1,64}?)(?:在群聊中@了你\s*$| ?[:：] ?(?P<said>(?s:.*)))")
FILE_MARK = "[文件]"

CDATA = re.compile(r"<!\[CDATA\[(.*?)(?:\]\]>|\Z)", re.DOTALL)
#: The start of a notice; some gateways leave the group's or the sender's id before it.
NOTICE = re.compile(r"\s*(?:[^\s<>:]{1,64}:\s{0,9})?<sysmsg(?P<attributes>[^<>]{0,200})>")
TAG = re.compile(r"<[^<>]*>")
#: A person in a notice's words. ``$username$`` and ``${wxid_a}`` are placeholders for names given elsewhere.
QUOTED = re.compile(r'"(?!\$)([^"\n]{1,64})"|"[^"\n]{1,64}"')
#: Notices without XML.
PLAIN_NOTICE = re.compile(
    r'"[^"\n]{1,64}"\s?(?:邀请|通过扫描|与群里|加入|修改群名|撤回|移出|将|把|已|开启|关闭|拍了拍|invited|joined|recalled|removed)'
)
#: A contact card that a person sends.
CARD = re.compile(r"<msg\b[^<>]{0,4000}?\bnickname=\"([^\"<>]{1,256})\"")
SOURCE_NAME = re.compile(r"<sourcename>([^<>]{1,256})</sourcename>")


def detects(name: str, head: bytes) -> bool:
    """Return True for a JSON object with a callback's message type or an assistant's group, unless it is ChatLab's."""
    other = TEAMS in head or "chatlab" in keys_of(head)
    return head.lstrip().startswith(b"{") and SIGNATURE.search(head) is not None and not other


def parse(source: Source, context: Context) -> Iterator[Message | Skipped]:
    """Yield one Message or Skipped for each object (see ``chatladder.chat.formats``)."""
    latest: dict[str, int] = {}  # per group; an answer is written when it is sent, without a time
    people = People(context)
    for line, value in values(source):
        record = object_of(value)
        data = record.get("data")
        if "answer" in record and not isinstance(data, dict):
            yield _answer(record, line, latest, source.where(line))
            continue
        if not isinstance(data, dict) or "messageType" not in record:
            yield Skipped(line, "not_a_message")
            continue
        item = _message(str(record["messageType"]), data, line, people, source.where(line))
        if isinstance(item, Message) and item.timestamp is not None:
            latest[item.group] = item.timestamp
        yield item
    people.tell_strangers()


def _answer(record: dict[str, Any], line: int, latest: dict[str, int], where: str) -> Message | Skipped:
    group = record.get("groupId")
    if not group:
        return Skipped(line, "no_group")
    timestamp = parse_timestamp(record.get("timestamp"), where)
    if timestamp is None:
        timestamp = latest.get(str(group))
    return Message(line, str(group), ASSISTANT, timestamp, "text", text_of(record["answer"]))


def _message(type_: str, data: dict[str, Any], line: int, people: People, where: str) -> Message | Skipped:
    if type_.startswith(PRIVATE) and len(type_) == 5:
        return Skipped(line, "private_chat")
    for field, reason in (("fromGroup", "no_group"), ("fromUser", "no_sender")):
        if not data.get(field):
            return Skipped(line, reason)
    sender = str(data["fromUser"])
    kind, text, reply_to, recalls = _content(type_, data, sender, people)
    return Message(
        line=line,
        group=str(data["fromGroup"]),
        sender=sender,
        timestamp=parse_timestamp(data.get("timestamp"), where),
        kind=kind,
        text=text,
        own_id=_own_id(data.get("newMsgId")) or _own_id(data.get("msgId")),
        reply_to=reply_to,
        recalls=recalls,
        typed=text_of(data.get("content")),
    )


def _content(type_: str, data: dict[str, Any], sender: str, people: People) -> tuple[str, str, str | None, str | None]:
    """Return (kind, text, id of the message it answers, id of the message it recalls); report people who are named."""
    content = text_of(data.get("content"))
    if type_ in TEXT_TYPES:
        _meet_sender(sender, data, content, people)
        return "text", replace_mentions(content, data.get("atlist"), people), None, None
    kind = KIND_OF_TYPE.get(type_, "other")
    markup = CDATA.sub(lambda match: html.escape(match[1]), content)
    notice = NOTICE.match(markup) if kind == "other" and not data.get("title") else None
    if notice is not None:
        _meet_members(markup, people)
        is_recall = 'type="revokemsg"' in notice["attributes"].replace("'", '"')
        return "system", "", None, _own_id(_field(markup, "newmsgid")) if is_recall else None
    said = text_of(data.get("title")) if type_ in QUOTE_TYPES else _field(markup, "title")
    pushed = _meet_sender(sender, data, said, people)
    if type_ in QUOTE_TYPES:
        text = replace_mentions(said, data.get("atlist"), people)
        return "text", text, _own_id(_meet_quoted(markup, people)), None
    if kind == "file":
        return kind, said or pushed.removeprefix(FILE_MARK).strip(), None, None
    _meet_named(content, markup, people)
    if kind == "link":
        return kind, " ".join(part for part in (said, _field(markup, "url")) if part), None, None
    return kind, "", None, None


def replace_mentions(text: str, at_list: Any, people: People) -> str:
    """Replace ``@name`` by ``@<pseudonym> ``: the n-th new name is the n-th id of ``at_list``, and is reported.

    A name that has no id becomes ``@<user> ``, a mention of everybody ``@all ``.
    """
    if "@" not in text:
        return text
    ids = iter([str(each) for each in at_list if each] if isinstance(at_list, list) else [])
    known: dict[str, str] = {}

    def replaced(match: re.Match[str]) -> str:
        name = match[1]
        if name not in known:
            person = next(ids, None)
            known[name] = "@<user> " if person is None else "@all "
            if person is not None and person not in EVERYBODY:
                known[name] = people.mention(person, name)
        return known[name]

    text = INSERTED_MENTION.sub(replaced, text)
    if not known and isinstance(at_list, list) and any(at_list):
        return SPACED_MENTION.sub(replaced, text, count=len(at_list))
    return CHINESE_MENTION.sub(replaced, text)


def _meet_sender(sender: str, data: dict[str, Any], said: str, people: People) -> str:
    """Report the sender by the name that phones show before a message; return the text that they show after it."""
    pushed = text_of(data.get("pushContent"))
    if said and said.startswith(pushed.rstrip(".…")):  # only the text, on phones that hide the sender
        return pushed
    name, shown = "", ""
    head = pushed.removesuffix(said).rstrip()
    if said and head != pushed and head.endswith((":", "：")):
        name, shown = head[:-1], said  # the name may contain a colon
    elif match := PUSHED.match(pushed):
        name, shown = match["name"], match["said"] or ""
    if name and not sender.endswith(GROUP_ID):
        people.meet(sender, name)
    return shown


def _meet_quoted(markup: str, people: People) -> str:
    """Report the person whom a message quotes; return the id of the quoted message."""
    quoted = _field(markup, "refermsg", raw=True)
    name = _field(quoted, "displayname")
    identity = _field(quoted, "chatusr") or _field(quoted, "fromusr")
    if identity and not identity.endswith(GROUP_ID):
        people.meet(identity, name)
    else:
        people.stranger(name)
    return _field(quoted, "svrid")


def _meet_members(markup: str, people: People) -> None:
    """Report all people whom a notice names."""
    for member in markup.split("<member>")[1:]:
        if identity := _field(member, "username"):
            people.meet(identity, _field(member, "nickname"))
    people.stranger(_field(markup, "nickname"))
    for name in QUOTED.findall(html.unescape(TAG.sub("\n", markup))):
        people.stranger(name)


def _meet_named(content: str, markup: str, people: People) -> None:
    """Report the people named by a contact card, by forwarded messages, or by a notice without XML."""
    if PLAIN_NOTICE.match(content):
        names = QUOTED.findall(content)
    else:
        names = [*CARD.findall(markup), *SOURCE_NAME.findall(_field(markup, "recorditem"))]
    for name in names:
        people.stranger(html.unescape(name))


def _field(markup: str, name: str, raw: bool = False) -> str:
    """Return the text of the first ``<name>`` in XML without CDATA, raw if it is to be searched; empty without one."""
    start = markup.find(f"<{name}>")
    end = markup.find(f"</{name}>", start)
    if start < 0 or end < 0:
        return ""
    inner = markup[start + len(name) + 2 : end].strip()
    return inner if raw else html.unescape(inner).strip()


def _own_id(value: Any) -> str | None:
    """Return an id as text; None for 0 and empty."""
    return str(value) if value and str(value) != "0" else None
