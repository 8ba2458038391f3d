"""Telegram Desktop's machine-readable export, ``result.json``: one chat, or a whole account.

The fields are those of Telegram Desktop's own writer (telegramdesktop/tdesktop:
Telegram/SourceFiles/export/output/export_output_json.cpp)::

    {"name": "Club", "type": "private_supergroup", "id": 987, "messages": [
     {"id": 3, "type": "message", "date": "2024-01-10T12:05:00", "date_unixtime": "1704888300", "from": "Ann",
      "from_id": "user200", "reply_to_message_id": 2, "text": ["see ", {"type": "link", "text": "https://a.org"}]},
     {"id": 4, "type": "service", "actor": "Ann", "actor_id": "user200", "action": "pin_message", "text": ""}]}

A group is the chat's id, which outlives its name. Each topic of a forum is a group, ``<chat>/<id of the message that
opened it>``; the topic General is the chat itself. A message does not name its topic: it replies to the message that
opened the topic, directly or through other replies. If the opening message is not in the export, its topic's messages
belong to the chat. Ids are those of the chat, so exports that differ in this hold no message twice.

A caption is a person's words, so a picture with a caption is a text. Service messages name members: their text is
dropped. A link is a separate word, so a link right after formatted text gets a space.
"""

import re
from collections.abc import Iterator
from datetime import tzinfo
from pathlib import PurePosixPath
from typing import Any

from chatladder.chat.formats.json_stream import Record, id_of, keys_of, object_of, objects_of, records, text_of
from chatladder.chat.formats.times import parse_timestamp
from chatladder.chat.message import Context, Message, People, Skipped
from chatladder.chat.source import Source

NAME = "telegram"
#: The chats of an account follow each other, and the two parts of a migrated group may overlap.
LATE_SECONDS = None
#: Fields of an entry; other exporters have fewer than three of them.
ENTRY_FIELDS = frozenset(
    ("date", "date_unixtime", "from", "from_id", "text", "text_entities", "actor", "actor_id", "action")
)
CHAT_TYPE = re.compile(
    rb'"type"\s{0,9}:\s{0,9}"(?:saved_messages|replies|personal_chat|bot_chat|p(?:rivate|ublic)_(?:group|supergroup|channel))"'
)
#: One of these follows "about" at the start of an account's export; its owner chose which.
ACCOUNT_FIELDS = frozenset(
    {"personal_information", "profile_pictures", "stories", "contacts", "frequent_contacts", "sessions"}
    | {"chats", "left_chats"}
)
MESSAGES = ("messages.*", "chats.list.*.messages.*", "left_chats.list.*.messages.*")
PEOPLE = ("personal_information", "contacts.list.*")
MENTIONS = ("mention", "mention_name")
#: Pieces of a text that are separate words.
WORDS = ("link", "email", "phone", "bank_card")
#: Pieces that are personal data by their type, however they are written.
PERSONAL = {"phone": "<phone>", "bank_card": "<id>"}
GENERAL = "general"
#: Media whose file is named by Telegram, not by the sender.
UNNAMED = ("voice_message", "video_message")


def detects(name: str, head: bytes) -> bool:
    """Return True for an object with messages as Telegram writes them, or with the parts of an account."""
    if not head.lstrip().startswith(b"{"):
        return False
    keys = keys_of(head)
    if keys & {"guild", "exportedAt", "messageType"}:  # Discord's and WeChat's
        return False
    entries = "messages" in keys and (len(keys & ENTRY_FIELDS) >= 3 or CHAT_TYPE.search(head) is not None)
    return entries or ("about" in keys and bool(keys & ACCOUNT_FIELDS))


def parse(source: Source, context: Context) -> Iterator[Message | Skipped]:
    """Yield one Message or Skipped for each entry of each chat (see ``chatladder.chat.formats``)."""
    people = _People(context)
    beside: Any = None
    chat = _Chat("")
    for record in records(source, (*MESSAGES, *PEOPLE), ("id", "name", "type")):
        if record.path in PEOPLE:
            people.account(object_of(record.value))
            continue
        if record.beside is not beside:
            beside = record.beside
            if beside.get("type") == "personal_chat" and (number := id_of(beside.get("id"))):
                people.meet(f"user{number}", text_of(beside.get("name")))
            chat = _Chat(id_of(beside.get("id")) or id_of(beside.get("name")) or source.plain_name)
        yield _entry(record, chat, people, context, source.where(record.line))
    people.tell_strangers()


class _People(People):
    """The people of a file, some with an id and some only named."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._owner: dict[str, str] = {}  # user names in the account's own data -> identities

    def account(self, person: dict[str, Any]) -> None:
        """Report a person in the account's own data, its owner or a contact."""
        number = id_of(person.get("user_id"))
        username = text_of(person.get("username")).lower()
        if number is None:
            self.stranger(_full_name(person))
            return
        if username:
            self._owner[username] = f"user{number}"
        self.meet(f"user{number}", _full_name(person), username.removeprefix("@"))

    def sender(self, entry: dict[str, Any], label: str) -> str | None:
        """Return the identity of an entry's sender or actor: their id, or else their name."""
        number = entry.get(f"{label}_id")
        identity = id_of(number)
        if identity is not None and not isinstance(number, str):
            identity = f"user{identity}"  # ids were numbers before 2021, and all of them users'
        name = text_of(entry.get(label))
        if identity or name:
            self.meet(identity or name, name)
        return identity or name or None

    def mentioned(self, piece: dict[str, Any]) -> str:
        """Return a mentioned person as ``@<pseudonym> ``."""
        number = id_of(piece.get("user_id"))
        words = text_of(piece.get("text"))
        if number is not None:  # a person without a user name, whose name was inserted
            return self.mention(f"user{number}", words.removeprefix("@"))
        username = words.lower()
        if owner := self._owner.get(username):
            return self.mention(owner)
        return self.mention(username, username.removeprefix("@"))


class _Chat:
    """One chat, and its messages' topics."""

    def __init__(self, group: str) -> None:
        self.name = group
        self._openings: set[str] = set()  # ids of the messages that opened topics
        self._topics: dict[str, str] = {}  # id of a message in a topic -> id of the message that opened it

    def place(self, entry: dict[str, Any]) -> tuple[str, str | None]:
        """Return (group of an entry, id of the message that it answers); the answered message decides the topic."""
        own_id = id_of(entry.get("id"))
        answered = id_of(entry.get("reply_to_message_id"))
        if entry.get("reply_to_peer_id"):
            answered = None  # it is in another chat
        topic = self._topics.get(answered or "")
        if own_id is not None and entry.get("action") == "topic_created":
            self._openings.add(own_id)
            topic = None if text_of(entry.get("title")).strip().lower() == GENERAL else own_id
        if own_id is not None and topic is not None:
            self._topics[own_id] = topic
        group = self.name if topic is None else f"{self.name}/{topic}"
        # An answer to the opening message only says which topic the message belongs to.
        return group, None if answered in self._openings else answered


def _entry(record: Record, chat: _Chat, people: _People, context: Context, where: str) -> Message | Skipped:
    entry = record.value
    if not isinstance(entry, dict):
        return Skipped(record.line, "not_a_message")
    group, reply_to = chat.place(entry)
    if entry.get("type") == "unsupported":  # only its id is exported
        return Skipped(record.line, "unsupported")
    is_service = entry.get("type") == "service"
    sender = people.sender(entry, "actor" if is_service else "from")
    _meet_others(entry, people)
    if sender is None:
        return Skipped(record.line, "no_sender")
    kind, text = ("system", "") if is_service else _content(entry, people)
    return Message(
        line=record.line,
        group=group,
        sender=sender,
        timestamp=_timestamp(entry, context.timezone, where),
        kind=kind,
        text=text,
        own_id=id_of(entry.get("id")),
        reply_to=reply_to,
        chat=chat.name,
    )


def _meet_others(entry: dict[str, Any], people: _People) -> None:
    """Report the people whom an entry names besides its sender."""
    for reaction in objects_of(entry.get("reactions")):
        for person in objects_of(reaction.get("recent")):
            people.sender(person, "from")
    members = entry.get("members")
    contact = _full_name(object_of(entry.get("contact_information")))
    others = (entry.get("inviter"), entry.get("author"), contact)  # the author signed a channel's post
    for name in (*(members if isinstance(members, list) else ()), *others):
        people.stranger(text_of(name))
    # Channels have words as names. A person who hides their account has no id where they are quoted.
    origin, name = id_of(entry.get("forwarded_from_id")) or "", text_of(entry.get("forwarded_from"))
    if origin.startswith("user"):
        people.meet(origin, name)
    elif not origin.startswith(("channel", "chat")):
        people.stranger(name)


def _content(entry: dict[str, Any], people: _People) -> tuple[str, str]:
    """Return (kind, text) of a message."""
    text = _flat(entry["text"] if "text" in entry else entry.get("text_entities"), people)
    if not text.strip():
        text = _flat(object_of(entry.get("poll")).get("question"), people)
    if text.strip():
        return "text", text
    media = entry.get("media_type")
    if "photo" in entry or media == "animation":
        return "image", ""
    if "file" in entry and media != "sticker":
        return "file", "" if media in UNNAMED else _file_name(entry)
    return "other", ""


def _flat(text: Any, people: _People) -> str:
    """Return as its readers saw it a text that may come in pieces, some of them formatted."""
    if not isinstance(text, list):
        return text_of(text)
    pieces: list[str] = []
    after = "plain"  # type of the previous piece
    for piece in text:
        type_ = text_of(object_of(piece).get("type")) or "plain"
        words = text_of(object_of(piece).get("text")) or text_of(piece)
        if not words:
            continue
        if type_ in MENTIONS:
            words = people.mentioned(piece)
        elif after in MENTIONS:
            words = words.removeprefix(" ")  # a mention ends with a space itself
        elif type_ in WORDS and after != "plain" and not pieces[-1][-1:].isspace():
            pieces.append(" ")
        pieces.append(PERSONAL.get(type_, words))
        after = type_
    return "".join(pieces)


def _file_name(entry: dict[str, Any]) -> str:
    """Return a file's name as its sender gave it; older exports lack it if the file was left out."""
    path = text_of(entry.get("file"))
    return text_of(entry.get("file_name")) or ("" if path.startswith("(") else PurePosixPath(path).name)


def _full_name(person: dict[str, Any]) -> str:
    return " ".join(name for key in ("first_name", "last_name") if (name := text_of(person.get(key)).strip()))


def _timestamp(entry: dict[str, Any], timezone: tzinfo, where: str) -> int | None:
    """Return UTC seconds; exports before 2021 have only the local time of the computer that made them."""
    exact = entry.get("date_unixtime")
    return parse_timestamp(entry.get("date") if exact is None else exact, where, timezone)
