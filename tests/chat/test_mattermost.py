"""Mattermost's bulk export: posts and their replies, people, bots, and direct messages."""

import json

import pytest

from chatladder.chat.formats import mattermost
from chatladder.chat.message import Message
from chatladder.io.console import DataError
from tests.reading import parse, shown

VERSION = {"type": "version", "version": 1}


def post(**fields):
    base = {"team": "t", "channel": "c", "user": "ann", "message": "hi", "create_at": 1672531200123}
    return {"type": "post", "post": base | fields}


def lines(*things):
    return "".join(json.dumps(thing) + "\n" for thing in things)


def read(tmp_path, *things, known=None):
    return parse(mattermost, tmp_path, lines(VERSION, *things), "m.jsonl", known)[1:]


def test_a_post_and_its_replies(tmp_path):
    known = []
    user = {"username": "ann", "nickname": "Annie", "first_name": "Ann", "last_name": "Lee", "email": "a@b.org"}
    reply = {"user": "bob", "message": "yes", "create_at": 1672531260000, "reactions": [{"user": "cid"}]}
    rows = read(tmp_path, {"type": "user", "user": user}, post(replies=[reply]), known=known)
    assert rows[0].reason == "workspace_metadata"
    assert rows[1] == Message(3, "t/c", "ann", 1672531200, "text", "hi", own_id="ann/1672531200123")
    assert rows[2][1:4] == ("t/c", "bob", 1672531260)
    assert (rows[2].own_id, rows[2].reply_to) == ("bob/1672531260000", "ann/1672531200123")
    assert known == [("ann", "Ann Lee", "Annie", "a@b.org"), ("cid",)]


def test_direct_messages_are_of_their_members(tmp_path):
    direct = {"channel_members": ["bob", "ann"], "user": "ann", "message": "hi", "create_at": 1}
    assert read(tmp_path, {"type": "direct_post", "direct_post": direct})[0].group == "ann/bob"


@pytest.mark.parametrize(
    ("fields", "kind", "text"),
    [
        ({"type": "system_join_channel", "message": "ann joined"}, "system", ""),
        ({"message": "", "attachments": [{"path": "data/a.png"}]}, "image", ""),
        ({"message": "", "attachments": [{"path": "data/a.pdf"}]}, "file", "a.pdf"),
        ({"message": "@channel look, @all.me"}, "text", "@all look, @all.me"),
        ({"props": {"from_webhook": "true"}}, "other", "hi"),
        ({"user": "robot"}, "other", "hi"),
    ],
)
def test_kinds(tmp_path, fields, kind, text):
    assert shown(read(tmp_path, {"type": "bot", "bot": {"username": "robot"}}, post(**fields)))[1] == (kind, text)


def test_what_is_no_message(tmp_path):
    rows = read(tmp_path, 1, post(user=None), post(team=None, channel=None))
    assert shown(rows) == ["not_a_message", "no_sender", "no_group"]


def test_a_time_that_is_none(tmp_path):
    with pytest.raises(DataError, match=r"m\.jsonl:2: expected a timestamp in milliseconds, got str"):
        read(tmp_path, post(create_at="now"))


def test_detection():
    assert mattermost.detects("a.jsonl", lines(VERSION).encode())
    assert mattermost.detects("a.jsonl", lines(post()).encode())
    for other in ({"type": "message", "text": "x"}, {"type": "post"}, {"version": 1}):
        assert not mattermost.detects("a.jsonl", json.dumps(other).encode())
