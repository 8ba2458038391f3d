"""A Slack workspace's export: a folder or zip with a folder for each channel and a file for each day.

The files and fields are those of Slack's help page "How to read Slack data exports" and of its reference of message
events (docs.slack.dev/reference/events/message)::

    channels.json               [{"id": "C1", "name": "general", "members": ["U1"]}]
    users.json                  [{"id": "U1", "name": "ann", "real_name": "Ann Lee", "profile": {...}}]
    general/2016-01-14.json     [{"type": "message", "user": "U1", "ts": "1452837318.000002", "text": "hi <@U2>"}]

A group is the id of a channel, which outlives its name; a thread is in its channel, and its messages answer its first.
Texts are as people saw them: ``<https://a.org|this page>`` becomes ``this page``, and ``<!here>`` ``@all ``. Messages
of apps and Slackbot are kept, but not as talk (kind ``other``). Notices (somebody joined, an app was added) name
members, so their text is dropped. A message that was deleted later, in an export with edit logs, counts as recalled.

A message's text repeats its blocks, except for some from apps, workflows and newer clients: those have only blocks,
which are turned into text in Slack's own markup. The blocks and elements are those of Slack's reference
(docs.slack.dev/reference/block-kit/blocks)::

    [{"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [
        {"type": "text", "text": "ask "}, {"type": "user", "user_id": "U2"}]}]}]
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from chatladder.chat.formats.json_stream import Record, id_of, object_of, objects_of, records, text_of
from chatladder.chat.formats.times import parse_timestamp
from chatladder.chat.message import Context, Message, People, Skipped
from chatladder.chat.source import Source

NAME = "slack"
LATE_SECONDS = None
DAY = re.compile(r"\d{4}-\d\d-\d\d\.json")
#: The first entry of an array of messages.
STARTS_ENTRY = re.compile(rb"\s*\[\s*\{")
MESSAGE = re.compile(rb'"type"\s{0,9}:\s{0,9}"message"')
STAMP = re.compile(rb'"ts"\s{0,9}:\s{0,9}"\d{10}\.\d{1,9}"')
#: Files next to the channels' folders, each with a field that distinguishes it from a file of the same name.
CHANNELS = ("channels.json", "groups.json", "mpims.json", "dms.json")
USERS = ("users.json", "org_users.json")
COMPANIONS: Mapping[str, bytes] = {
    **dict.fromkeys(CHANNELS, b'"members"'),
    **dict.fromkeys(USERS, b'"profile"'),
    "integration_logs.json": b'"date"',
    "canvases.json": b'"id"',
    "lists.json": b'"id"',
    "content_flags.json": b'"id"',
    "file_conversations.json": b'"id"',
    "huddle_transcripts.json": b'"id"',
}

#: Subtypes of messages that a person wrote, and of apps' messages; all others are notices.
TALK = frozenset(("", "me_message", "thread_broadcast", "file_share", "file_comment"))
APPS = frozenset(("bot_message", "slackbot_response"))
SLACKBOT = "USLACKBOT"
NAME_FIELDS = ("name", "real_name", "display_name", "first_name", "last_name")
#: Slack's markup in angle brackets; a person's own brackets are &lt; and &gt;. A client adds a colon after a mention.
MARKUP = re.compile(
    r"<(?:@(?P<person>[A-Z0-9]{1,20})(?:\|(?P<username>[^<>]{0,200}))?>(?::(?=\s|$))? ?"
    r"|(?P<all>!(?:here|channel|everyone|group)(?:\|[^<>]{0,200})?>(?::(?=\s|$))? ?)"
    r"|!(?P<special>[^<>|]{1,200})(?:\|(?P<shown>[^<>]{0,2000}))?>"
    r"|#(?P<channel>[A-Z0-9]{1,20})(?:\|(?P<name>[^<>]{0,200}))?>"
    r"|(?P<link>[^<>|@#!\s][^<>|]{0,8000})(?:\|(?P<label>[^<>]{0,8000}))?>)"
)


def detects(name: str, head: bytes) -> bool:
    """Return True for a channel's day, an array of messages with Slack's stamps, or a companion of the channels."""
    start = head.lstrip()
    if not start.startswith(b"["):
        return False
    if start.rstrip() == b"[]":
        return DAY.fullmatch(name) is not None or name in COMPANIONS
    if name in COMPANIONS:
        return COMPANIONS[name] in head
    if not STARTS_ENTRY.match(head):
        return False
    day = DAY.fullmatch(name) is not None
    return STAMP.search(head) is not None or (day and MESSAGE.search(head) is not None)


def parse(source: Source, context: Context) -> Iterator[Message | Skipped]:
    """Yield one Message or Skipped for each entry of a day; companions hold only names (see ``Format.parse``)."""
    people = _People(context)
    if source.plain_name in COMPANIONS:
        for record in records(source, ["*"]):
            if source.plain_name in USERS:
                people.member(object_of(record.value))
            yield Skipped(record.line, "workspace_metadata")
        return
    channels = _channels(source)
    folder = source.folder or (source.path.parent.name if source.archive is None else source.path.stem)
    group = channels.ids.get(folder, folder)
    for record in records(source, ["*"]):
        entry = record.value
        if not isinstance(entry, dict) or entry.get("type", "message") != "message":
            yield Skipped(record.line, "not_a_message")
            continue
        yield _message(record, group, people, channels, source.where(record.line))


class _Channels(NamedTuple):
    """The channels of a workspace."""

    ids: dict[str, str]  # by name
    names: dict[str, str]  # by id


#: The channels read last, by the files that list them: every day of every channel needs the same ones.
_last_channels: dict[tuple[tuple[str, int, int], ...], _Channels] = {}


def _channels(source: Source) -> _Channels:
    """Read the companions of a day's channel; a channel that was moved out of its export has none."""
    found = [each for name in CHANNELS if (each := source.above(name))]
    files = [(each, each.path.stat()) for each in found]
    key = tuple((str(each), status.st_mtime_ns, status.st_size) for each, status in files)
    if key not in _last_channels:
        channels = _Channels({}, {})
        for companion in found:
            if detects(companion.plain_name, companion.head()):
                for record in records(companion, ["*"]):
                    identity = id_of(object_of(record.value).get("id"))
                    name = text_of(object_of(record.value).get("name"))
                    if identity and name:
                        channels.ids.setdefault(name, identity)
                        channels.names.setdefault(identity, name)
        _last_channels.clear()
        _last_channels[key] = channels
    return _last_channels[key]


class _People(People):
    """The people of a file."""

    def member(self, member: dict[str, Any]) -> None:
        """Report a person in the list of members; apps are skipped, since their names are often words."""
        identity = id_of(member.get("id"))
        if identity is None or member.get("is_bot") is True or identity == SLACKBOT:
            return
        profile = object_of(member.get("profile"))
        self.meet(identity, *(text_of(each.get(key)) for each in (member, profile) for key in NAME_FIELDS))


def _message(record: Record, group: str, people: _People, channels: _Channels, where: str) -> Message | Skipped:
    entry = record.value
    subtype = text_of(entry.get("subtype"))
    stamp = id_of(entry.get("ts"))
    thread = id_of(entry.get("thread_ts"))
    deleted = _deleted(entry) if subtype == "message_deleted" else None
    sender = _sender(entry) or (SLACKBOT if deleted else None)
    if sender is None:
        return Skipped(record.line, "no_sender")
    is_app = subtype in APPS or sender == SLACKBOT or (bool(entry.get("bot_id")) and "client_msg_id" not in entry)
    if not is_app:
        people.member({**object_of(entry.get("user_profile")), "id": sender})
        people.meet(sender, text_of(entry.get("username")))
    for shared in objects_of(entry.get("attachments")):  # a person's message, from this or another channel
        if author := id_of(shared.get("author_id")):
            people.meet(author, text_of(shared.get("author_name")), text_of(shared.get("author_subname")))
    if subtype in TALK or subtype in APPS:
        kind, text = _content(entry, subtype)
    else:
        kind, text = "system", ""
        _shown(text_of(entry.get("text")), people, channels)  # reports the people whom a notice names
    return Message(
        line=record.line,
        group=group,
        sender=sender,
        timestamp=parse_timestamp(entry.get("ts"), where),
        kind="other" if is_app and kind != "system" else kind,
        text=_shown(text, people, channels),
        # A note in the edit log may have the stamp of the message that it concerns.
        own_id=None if subtype.startswith("message_") else stamp,
        reply_to=thread if thread != stamp else None,
        # A first message that was deleted stays as a tombstone to keep its thread.
        recalls=stamp if subtype == "tombstone" else deleted,
    )


def _sender(entry: dict[str, Any]) -> str | None:
    """Return the id of an entry's author; apps have their own id, or only a name."""
    fields = (
        entry.get("user"),
        object_of(entry.get("comment")).get("user"),
        entry.get("bot_id"),
        object_of(entry.get("previous_message")).get("user"),
        object_of(entry.get("message")).get("user"),
        entry.get("username"),
    )
    return next((identity for field in fields if (identity := id_of(field))), None)


def _deleted(entry: dict[str, Any]) -> str | None:
    """Return the stamp of the message that was deleted."""
    before = object_of(entry.get("previous_message")) or object_of(entry.get("original"))
    return id_of(entry.get("deleted_ts")) or id_of(before.get("ts"))


def _content(entry: dict[str, Any], subtype: str) -> tuple[str, str]:
    """Return (kind, text) of a message, the text as Slack stores it."""
    text = text_of(entry.get("text"))
    if not text.strip():
        text = blocks_text(entry.get("blocks"))
    files = objects_of(entry.get("files"))
    file = object_of(entry.get("file"))
    if subtype == "file_comment":
        # The text says who commented on whose file.
        text = text_of(object_of(entry.get("comment")).get("comment")) or text.partition(">: ")[2]
        files = []
    elif file and not files:
        # Before 2018 the text said who shared which file, and then their comment.
        comment = object_of(file.get("initial_comment")).get("comment")
        text = text_of(comment) or text.partition(" and commented: ")[2]
        files = [file]
    if text.strip():
        return "text", text
    if files and all(text_of(each.get("mimetype")).startswith("image/") for each in files):
        return "image", ""
    if files:
        return "file", " ".join(text_of(each.get("name")) or text_of(each.get("title")) for each in files)
    return "other", ""


def _shown(text: str, people: _People, channels: _Channels) -> str:
    """Return a text as its readers saw it, with people's names replaced by ``@<pseudonym> ``."""

    def replaced(match: re.Match[str]) -> str:
        if person := match["person"]:
            return people.mention(person, match["username"] or "")
        if match["all"]:
            return "@all "
        if special := match["special"]:
            return match["shown"] or f"@{special.partition('^')[0]}"
        if channel := match["channel"]:
            return f"#{match['name'] or channels.names.get(channel, 'channel')}"
        return match["label"] or match["link"]

    if "<" in text:
        text = MARKUP.sub(replaced, text)
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") if "&" in text else text


#: Parts of a rich text that are separate lines.
LINES = ("rich_text_section", "rich_text_quote", "rich_text_preformatted")


def blocks_text(blocks: Any) -> str:
    """Return the text of blocks, a line for each part; empty if they have none."""
    return "\n".join(line for block in objects_of(blocks) for line in _lines(block) if line.strip())


def _lines(block: dict[str, Any]) -> Iterator[str]:
    elements = objects_of(block.get("elements"))
    if block.get("type") == "rich_text":
        for part in elements:
            items = objects_of(part.get("elements"))
            if part.get("type") == "rich_text_list":
                yield from (_spoken(objects_of(item.get("elements"))) for item in items)
            elif part.get("type") in LINES:
                yield _spoken(items)
        return
    # The text of a section, a header or a context; a block of Markdown has its text unchanged.
    yield text_of(block.get("text"))
    for each in (object_of(block.get("text")), *objects_of(block.get("fields")), *elements):
        if each.get("type") in ("mrkdwn", "plain_text"):
            text = text_of(each.get("text"))
            yield text if each["type"] == "mrkdwn" else _escaped(text)


def _spoken(elements: list[dict[str, Any]]) -> str:
    return "".join(map(_element, elements))


def _element(element: dict[str, Any]) -> str:
    """Return one element in Slack's markup."""
    fields = {name: text_of(value) for name, value in element.items()}
    match fields.get("type", ""):
        case "text":
            return _escaped(fields.get("text", ""))
        case "user":
            return f"<@{fields.get('user_id', '')}>"
        case "channel":
            return f"<#{fields.get('channel_id', '')}>"
        case "broadcast":
            return f"<!{fields.get('range', '')}>"
        case "usergroup":
            return "<!subteam>"
        case "emoji":
            return f":{fields.get('name', '')}:"
        case "link":
            return _escaped(fields.get("text") or fields.get("url", ""))
        case "date":
            return _escaped(fields.get("fallback", ""))
    return ""


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
