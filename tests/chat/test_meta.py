"""Facebook Messenger and Instagram: broken texts, kinds, groups, and the other layout of encrypted chats."""

import json

import pytest

from chatladder.chat.formats import meta
from chatladder.chat.message import Message
from chatladder.io.console import DataError
from tests.reading import parse, shown


def broken(text):
    return text.encode().decode("latin-1")


def message(**fields):
    return {"sender_name": broken("Zoë 鲍"), "timestamp_ms": 1672531200123, "content": "hi", "type": "Generic"} | fields


def export(*messages, **fields):
    base = {"participants": [{"name": broken("Zoë 鲍")}, {"name": "Bob"}], "messages": list(messages)}
    return base | {"title": "Friends", "thread_path": "inbox/friends_12"} | fields


def read(tmp_path, document, name="inbox/friends_12/message_1.json", **options):
    return parse(meta, tmp_path, json.dumps(document), name, **options)


def test_a_message_and_whoever_is_named(tmp_path):
    known = []
    reaction = {"reaction": "x", "actor": "Cid"}
    rows = read(tmp_path, export(message(content=broken("héllo 你好"), reactions=[reaction])), known=known)
    assert rows == [Message(1, "inbox/friends_12", "Zoë 鲍", 1672531200, "text", "héllo 你好")]
    assert known == [("Bob",), ("Cid",)]  # who speaks is known without it


def test_a_text_that_is_not_broken_stays():
    assert [meta.mend(text) for text in ("naïve", "你好", broken("€"), "")] == ["naïve", "你好", "€", ""]


@pytest.mark.parametrize(
    ("fields", "kind", "text"),
    [
        ({"photos": [{"uri": "a/b.jpg"}], "content": ""}, "image", ""),
        ({"photos": [{"uri": "a/b.jpg"}], "content": "look"}, "text", "look"),
        ({"files": [{"uri": "a/my.tex"}], "content": None}, "file", "my.tex"),
        ({"sticker": {"uri": "a.png"}, "content": None}, "other", ""),
        ({"share": {"link": "https://a.org"}, "content": "Ann sent an attachment."}, "link", "https://a.org"),
        ({"is_unsent": True, "content": None}, "system", ""),
        ({"type": "Subscribe", "content": "Ann added Bob.", "users": [{"name": "Bob"}]}, "system", ""),
        ({"content": broken("Reacted ❤ to your message ")}, "system", ""),
        ({"content": "Liked a message"}, "system", ""),
        ({"content": "Ann sent a photo."}, "text", "Ann sent a photo."),
    ],
)
def test_kinds(tmp_path, fields, kind, text):
    assert shown(read(tmp_path, export(message(**fields)))) == [(kind, text)]


def test_an_encrypted_chat(tmp_path):
    entry = {
        "senderName": "Ann",
        "timestamp": 1672531200123,
        "text": "hé",
        "type": "text",
        "media": [],
        "isUnsent": False,
    }
    document = {"participants": ["Ann", "Bob"], "threadName": "Bob_3", "messages": [entry, entry | {"isUnsent": True}]}
    assert meta.detects("a.json", json.dumps(document).encode())
    rows = read(tmp_path, document, "Bob_3.json")
    assert rows[0] == Message(1, "Bob_3", "Ann", 1672531200, "text", "hé")
    assert rows[1].kind == "system"


def test_without_a_thread_the_folder_is_the_group(tmp_path):
    rows = read(tmp_path, export(message(), title="", thread_path=None), "inbox/friends_12/message_2.json")
    assert rows[0].group == "friends_12"


def test_what_is_no_message(tmp_path):
    assert shown(read(tmp_path, export(1, message(sender_name=None)))) == ["not_a_message", "no_sender"]


@pytest.mark.parametrize("time", ["yesterday", -1, True, 10**30, []])
def test_a_time_that_is_none(tmp_path, time):
    with pytest.raises(DataError, match=r"message_1\.json:1: expected a timestamp in milliseconds"):
        read(tmp_path, export(message(timestamp_ms=time)))


def test_detection():
    assert meta.detects("message_1.json", json.dumps(export(message())).encode())
    for other in ([], {"participants": [], "messages": []}, {"messages": [message()]}):
        assert not meta.detects("message_1.json", json.dumps(other).encode())
