r"""Facebook Messenger's and Instagram's JSON (accounts centre, "Download your information"), one chat in some files.

The fields are those that readers document (https://github.com/SamuelePilleri/facebook-schemas,
messages/message.json; Meta has no description)::

    {"participants": [{"name": "Ann Lee"}], "messages": [
     {"sender_name": "Zo\u00c3\u00ab", "timestamp_ms": 1672531200123, "content": "hi", "type": "Generic",
      "photos": [{"uri": "..."}], "reactions": [{"reaction": "...", "actor": "Ann Lee"}]}],
     "title": "Friends", "thread_path": "inbox/friends_123"}

Encrypted chats, which Messenger exports separately, have ``participants`` of texts, ``threadName``, ``senderName``,
``timestamp``, ``text``, ``media`` and ``isUnsent``.

Each UTF-8 byte of a text is exported as a character; such texts are repaired. A group is a thread, whose path follows
its messages, so a file is read twice. Neither people nor messages have ids, so replies are unknown.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from chatladder.chat.formats.json_stream import keys_of, object_of, objects_of, records, text_of
from chatladder.chat.formats.sent_files import kind_of_files
from chatladder.chat.formats.times import parse_milliseconds
from chatladder.chat.message import Context, Message, People, Skipped
from chatladder.chat.source import Source

NAME = "meta"
#: Newest first.
LATE_SECONDS = None
MESSAGE_FIELDS = ({"sender_name", "timestamp_ms"}, {"senderName", "isUnsent"})
#: The fields that name the thread; the first one present counts.
THREAD = ("thread_path", "threadName", "title")
PART = re.compile(r"(?:message|messages)?_?\d*\.json", re.IGNORECASE)
FILES = ("photos", "videos", "gifs", "audio_files", "files", "media")
#: Sentences that the app writes in place of something sent; in English for English accounts.
MADE_UP = re.compile(r"(?:.{1,100} sent (?:an attachment|a photo|a video|a voice message|a GIF|a sticker)\.)\s*")
REACTION = re.compile(r"(?:Reacted .{1,40} to (?:your|a) message|Liked a message)\s*")
NOTICES = ("Call", "Subscribe", "Unsubscribe")


def detects(name: str, head: bytes) -> bool:
    """Return True for an object with participants and messages, as either of the two exports writes them."""
    keys = keys_of(head) if head.lstrip().startswith(b"{") else set()
    return {"participants", "messages"} <= keys and any(fields <= keys for fields in MESSAGE_FIELDS)


def parse(source: Source, context: Context) -> Iterator[Message | Skipped]:
    """Yield one Message or Skipped for each message (see ``chatladder.chat.formats``)."""
    people = People(context)
    thread: dict[str, str] = {}
    for record in records(source, (*THREAD, "participants.*")):
        if record.path in THREAD:
            thread[record.path] = mend(text_of(record.value))
        else:
            people.stranger(mend(text_of(record.value) or text_of(object_of(record.value).get("name"))))
    group = next((thread[field] for field in THREAD if thread.get(field)), "") or _file_group(source)
    for record in records(source, ["messages.*"]):
        if not isinstance(record.value, dict):
            yield Skipped(record.line, "not_a_message")
            continue
        yield _message(record.value, record.line, group, people, source.where(record.line))
    people.tell_strangers()


def mend(text: str) -> str:
    """Return the text that was written if its characters are UTF-8 bytes; else the text as it is."""
    if text.isascii():
        return text
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _file_group(source: Source) -> str:
    """Return the thread's name if the file does not hold it: that of the folder, or the file's without its number."""
    return (source.folder if PART.fullmatch(source.plain_name) else "") or PurePosixPath(source.plain_name).stem


def _message(entry: Mapping[str, Any], line: int, group: str, people: People, where: str) -> Message | Skipped:
    sender = mend(text_of(entry.get("sender_name")) or text_of(entry.get("senderName"))).strip()
    for reaction in objects_of(entry.get("reactions")):
        people.stranger(mend(text_of(reaction.get("actor"))))
    for user in objects_of(entry.get("users")):
        people.stranger(mend(text_of(user.get("name"))))
    if not sender:
        return Skipped(line, "no_sender")
    people.meet(sender)
    kind, text = _content(entry)
    timestamp = parse_milliseconds(entry.get("timestamp_ms", entry.get("timestamp")), where)
    return Message(line, group, sender, timestamp, kind, text)


def _content(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Return (kind, text) of a message; notices name members, so their text is dropped."""
    text = mend(text_of(entry.get("content")) or text_of(entry.get("text")))
    taken_back = entry.get("is_unsent") is True or entry.get("isUnsent") is True
    if taken_back or entry.get("type") in NOTICES or REACTION.fullmatch(text):
        return "system", ""
    files = [each for field in FILES for each in objects_of(entry.get(field))]
    share = object_of(entry.get("share"))
    if text.strip() and not ((files or share) and MADE_UP.fullmatch(text)):
        return "text", text
    if link := text_of(share.get("link")):
        return "link", link
    return kind_of_files([PurePosixPath(text_of(file.get("uri"))).name for file in files])
