"""Mattermost's bulk export: JSON lines, the first of which holds the version.

The objects are those of its writer and its reference (https://docs.mattermost.com/onboard/bulk-loading-data-format.html
and https://github.com/mattermost/mattermost, server/channels/app/imports/import_types.go)::

    {"type": "version", "version": 1}
    {"type": "user", "user": {"username": "ann", "nickname": "Annie", "first_name": "Ann", "last_name": "Lee"}}
    {"type": "post", "post": {"team": "t", "channel": "c", "user": "ann", "message": "hi @bob",
     "create_at": 1672531200123, "replies": [{"user": "bob", "message": "yes", "create_at": 1672531260000}],
     "attachments": [{"path": "a.png"}]}}
    {"type": "direct_post", "direct_post": {"channel_members": ["ann", "bob"], "user": "ann", "message": "..."}}

A group is a channel of a team, or the members of a direct one. A post's replies are messages that answer it. Posts have
no ids: user and time identify them, as they do for the importer. Posts of bots and webhooks are kept, but not as talk
(kind ``other``).
"""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from chatladder.chat.formats.json_stream import id_of, object_of, objects_of, text_of, values
from chatladder.chat.formats.sent_files import kind_of_files
from chatladder.chat.formats.times import parse_milliseconds
from chatladder.chat.message import Context, Message, People, Skipped
from chatladder.chat.source import Source

NAME = "mattermost"
LATE_SECONDS = None
#: An object that holds an entry of the given type.
FIRST = re.compile(
    rb'\s{0,99}\{\s{0,9}"type"\s{0,9}:\s{0,9}"(version|scheme|role|emoji|team|channel|user|bot|post|direct_channel|direct_post)"'
    rb'\s{0,9},\s{0,9}"\1"\s{0,9}:'
)
EVERYBODY = re.compile(r"(?<![\w@])@(?:all|channel|here)(?![\w.-]) ?")
NAMES = ("nickname", "email", "display_name")


def detects(name: str, head: bytes) -> bool:
    """Return True for an object of a bulk export on the first line."""
    return FIRST.match(head) is not None


def parse(source: Source, context: Context) -> Iterator[Message | Skipped]:
    """Yield one Message for each post and reply, Skipped for everything else (see ``chatladder.chat.formats``)."""
    people = People(context)
    bots: set[str] = set()
    for line, value in values(source):
        type_ = text_of(object_of(value).get("type"))
        thing = object_of(object_of(value).get(type_))
        if type_ in ("post", "direct_post"):
            yield from _thread(thing, line, people, bots, source.where(line))
            continue
        username = text_of(thing.get("username"))
        if type_ == "bot":
            bots.add(username)
        elif type_ == "user" and username:
            full = f"{text_of(thing.get('first_name'))} {text_of(thing.get('last_name'))}"
            people.meet(username, full, *(text_of(thing.get(field)) for field in NAMES))
        yield Skipped(line, "workspace_metadata" if type_ else "not_a_message")
    people.tell_strangers()


def _thread(post: dict[str, Any], line: int, people: People, bots: set[str], where: str) -> Iterator[Message | Skipped]:
    """Yield a post and its replies."""
    members = post.get("channel_members")
    names = sorted(text_of(each) for each in members) if isinstance(members, list) else ()
    group = "/".join(names or filter(None, (text_of(post.get("team")), text_of(post.get("channel")))))
    root: str | None = None
    for entry in (post, *objects_of(post.get("replies"))):
        sender = text_of(entry.get("user"))
        for reaction in objects_of(entry.get("reactions")):
            people.stranger(text_of(reaction.get("user")))
        if not group or not sender:
            yield Skipped(line, "no_sender" if group else "no_group")
            continue
        stamp = id_of(entry.get("create_at"))
        own_id = f"{sender}/{stamp}" if stamp else None
        kind, text = _content(entry)
        props = object_of(entry.get("props"))
        is_bot = sender in bots or props.get("from_webhook") == "true" or props.get("from_bot") == "true"
        yield Message(
            line=line,
            group=group,
            sender=sender,
            timestamp=parse_milliseconds(entry.get("create_at"), where),
            kind="other" if is_bot and kind != "system" else kind,
            text=text,
            own_id=own_id,
            reply_to=None if entry is post else root,
        )
        root = root or own_id


def _content(entry: dict[str, Any]) -> tuple[str, str]:
    """Return (kind, text) of a post; notices name members, so their text is dropped."""
    if text_of(entry.get("type")).startswith("system_"):
        return "system", ""
    text = EVERYBODY.sub("@all ", text_of(entry.get("message")))
    if text.strip():
        return "text", text
    return kind_of_files(
        [PurePosixPath(text_of(file.get("path"))).name for file in objects_of(entry.get("attachments"))]
    )
