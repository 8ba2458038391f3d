r"""Zulip's export of an organisation, unpacked: ``realm.json`` and ``messages-000001.json`` and so on.

The files are those of its writer (https://github.com/zulip/zulip, zerver/lib/export.py)::

    realm.json            {"zerver_userprofile": [{"id": 1, "full_name": "Ann Lee", "email": "...", "is_bot": false}],
                           ...}
    messages-000001.json  {"zerver_message": [{"id": 321, "sender": 1, "recipient": 5, "subject": "a topic",
                           "content": "hi @**Bob Ray|2**", "date_sent": 1672531200.5}], "zerver_usermessage": [...]}

Each topic of a channel is a group, ``<recipient>/<topic>``. Direct messages are left out and counted, since all that a
person receives have one recipient, whoever sent them. A quoted message is not the sender's words: it is left out, and
its link identifies the message that is answered.
"""

import re
from collections.abc import Iterator
from typing import Any

from chatladder.chat.formats.json_stream import id_of, keys_of, object_of, records, text_of
from chatladder.chat.formats.sent_files import kind_of_files
from chatladder.chat.formats.times import parse_timestamp
from chatladder.chat.message import Context, Message, People, Skipped
from chatladder.chat.source import Source

NAME = "zulip"
LATE_SECONDS = None
MESSAGES = "zerver_message"
USERS = ("zerver_userprofile", "zerver_userprofile_crossrealm", "zerver_userprofile_mirrordummy")
#: Companions, each with a field that identifies it.
COMPANIONS = {"records.json": b'"s3_path"', "migration_status.json": b'"migrations_by_app"'}
#: The first field of the files; the messages' file has other tables too.
TABLES = re.compile(rb'\s*\{\s*"(?:zerver|analytics)_[a-z_]{1,40}"\s*:')
#: Sent by Zulip when a topic is resolved or moved.
NOTICE_TYPE = 2

MENTION = re.compile(
    r"@_?\*\*(?:(?P<all>all|everyone|channel|stream|topic)|(?P<name>[^*|\n]{1,100})(?:\|(?P<id>\d{1,12}))?"
    r"|\|(?P<only>\d{1,12}))\*\* ?"
)
GROUP = re.compile(r"@_?\*([^*\n]{1,100})\*")
#: The author of a quotation, and the quotation in a fence of backticks or tildes.
QUOTE = re.compile(
    r"@_\*\*[^*\n]{1,120}\*\* \[[^\]\n]{1,60}\]\([^()\s]{0,2000}/near/(?P<id>\d{1,12})[^()\s]{0,200}\):\n"
    r"(?P<fence>[`~]{3,20})quote\n.*?\n(?P=fence)(?:\n|$)",
    re.DOTALL,
)
#: No server allows so long a message; a longer one is not searched for quotations, which may be open to its end.
LONGEST_CONTENT = 50_000
UPLOAD = re.compile(r"!?\[(?P<name>[^\]\n]{0,255})\]\(/user_uploads/[^()\s]{1,500}\)")


def detects(name: str, head: bytes) -> bool:
    """Return True for an object whose first field is a table of Zulip's, or a companion."""
    if name in COMPANIONS:
        return COMPANIONS[name] in head
    return TABLES.match(head) is not None


def parse(source: Source, context: Context) -> Iterator[Message | Skipped]:
    """Yield one Message or Skipped for each message; all else only has names (see ``chatladder.chat.formats``)."""
    people = People(context)
    if MESSAGES in keys_of(source.head()):
        for record in records(source, [f"{MESSAGES}.*"]):
            if isinstance(record.value, dict):
                yield _message(record.value, record.line, people, source.where(record.line))
            else:
                yield Skipped(record.line, "not_a_message")
    elif source.plain_name == "realm.json":
        for record in records(source, [f"{table}.*" for table in USERS]):
            _meet(object_of(record.value), people)
            yield Skipped(record.line, "workspace_metadata")
    else:
        yield Skipped(1, "workspace_metadata")


def _meet(user: dict[str, Any], people: People) -> None:
    """Report a member's names; bots are skipped, since their names are often words."""
    identity = id_of(user.get("id"))
    if identity is not None and user.get("is_bot") is not True:
        people.meet(_identity(identity), *(text_of(user.get(key)) for key in ("full_name", "email", "delivery_email")))


def _identity(number: str) -> str:
    """Return a member's number as an identity that is unique to Zulip: other exports have the same numbers."""
    return f"zulip{number}"


def _message(entry: dict[str, Any], line: int, people: People, where: str) -> Message | Skipped:
    sender, recipient = id_of(entry.get("sender")), id_of(entry.get("recipient"))
    topic = text_of(entry.get("subject"))
    in_channel = entry.get("is_channel_message")
    if in_channel is False or (in_channel is not True and not topic.strip("\x07")):
        return Skipped(line, "private_chat")
    if sender is None or recipient is None:
        return Skipped(line, "no_sender" if recipient else "no_group")
    content = text_of(entry.get("content"))
    quote = QUOTE.search(content) if len(content) < LONGEST_CONTENT else None
    said = QUOTE.sub("", content) if quote else content
    kind, text = ("system", "") if entry.get("type") == NOTICE_TYPE else _content(said, people)
    return Message(
        line=line,
        group=f"{recipient}/{topic}",
        sender=_identity(sender),
        timestamp=parse_timestamp(entry.get("date_sent"), where),
        kind=kind,
        text=text,
        own_id=id_of(entry.get("id")),
        reply_to=quote["id"] if quote else None,
        chat=recipient,
    )


def _content(content: str, people: People) -> tuple[str, str]:
    """Return (kind, text) of a message, with mentions replaced and uploads as their names."""
    files = [match["name"] for match in UPLOAD.finditer(content)]
    text = UPLOAD.sub("", content) if "](/user_uploads/" in content else content
    if files and not text.strip():
        return kind_of_files(files)

    def replaced(match: re.Match[str]) -> str:
        if match["all"]:
            return "@all "
        if number := match["id"] or match["only"]:
            return people.mention(_identity(number), *filter(None, [match["name"]]))
        return f"@{match['name']} "  # replaced by name, once every file is read

    if "@" in text:
        text = GROUP.sub(lambda match: f"@{match[1]}", MENTION.sub(replaced, text))
    return ("text" if text.strip() else "other"), text.strip()
