"""Rocket.Chat: the server's own export and mongoexport's, threads, quotations, and kinds."""

import json

import pytest

from chatladder.chat.formats import rocketchat
from chatladder.chat.message import Message
from chatladder.io.console import DataError
from tests.reading import parse, shown


def stored(**fields):
    base = {"_id": "m2", "rid": "r", "msg": "hi", "ts": {"$date": "2023-01-01T10:00:00.000Z"}}
    return base | {"u": {"_id": "u1", "username": "ann", "name": "Ann Lee"}} | fields


def read(tmp_path, *messages, known=None):
    return parse(rocketchat, tmp_path, list(messages), "messages.json", known)


def test_the_servers_export(tmp_path):
    known = []
    entry = {"msg": "hi @bob", "username": "ann", "ts": "2023-01-01T10:00:00.000Z"}
    joined = entry | {"msg": "ann joined", "type": "uj"}
    content = json.dumps(entry) + "\n" + json.dumps(joined) + "\n"
    assert rocketchat.detects("help.json", content.encode())
    rows = parse(rocketchat, tmp_path, content, "help.json", known)
    assert rows[0] == Message(1, "help", "ann", 1672567200, "text", "hi @bob")
    assert (rows[1].kind, rows[1].text) == ("system", "")
    assert known == []  # who speaks is known without it


def test_mongoexport(tmp_path):
    known = []
    mentions = [{"_id": "u2", "username": "bob", "name": "Bob"}, {"_id": "all", "username": "all"}]
    rows = read(tmp_path, stored(tmid="m1", mentions=mentions), known=known)
    assert rows == [Message(2, "r", "ann", 1672567200, "text", "hi", own_id="m2", reply_to="m1")]
    assert known == [("ann", "Ann Lee"), ("bob", "Bob")]
    assert read(tmp_path, stored(ts={"$date": {"$numberLong": "1672567200000"}}))[0].timestamp == 1672567200


def test_a_quotation_is_answered_and_left_out(tmp_path):
    row = read(tmp_path, stored(msg="[ ](https://c.org/group/help?msg=m0) yes"))[0]
    assert (row.text, row.reply_to) == ("yes", "m0")


@pytest.mark.parametrize(
    ("fields", "kind", "text"),
    [
        ({"t": "au", "msg": "bob"}, "system", ""),
        ({"msg": "", "attachments": [{"title": "a.png", "image_url": "/x"}]}, "image", ""),
        ({"msg": "", "attachments": [{"title": "a.pdf", "type": "file"}]}, "file", "a.pdf"),
        ({"msg": "", "attachments": [{"title": "a.pdf", "description": "read"}]}, "text", "read"),
        ({"bot": {"i": "x"}}, "other", "hi"),
        ({"msg": "@here look"}, "text", "@all look"),
    ],
)
def test_kinds(tmp_path, fields, kind, text):
    assert shown(read(tmp_path, stored(**fields))) == [(kind, text)]


def test_what_is_no_message(tmp_path):
    assert shown(read(tmp_path, 1, stored(u=None))) == ["not_a_message", "no_sender"]


@pytest.mark.parametrize("time", ["yesterday", {"$date": []}, -5])
def test_a_time_that_is_none(tmp_path, time):
    with pytest.raises(DataError, match=r"messages\.json:2: expected a timestamp"):
        read(tmp_path, stored(ts=time))


def test_detection():
    assert rocketchat.detects("a.json", json.dumps(stored()).encode())
    assert rocketchat.detects("a.json", json.dumps([stored()]).encode())
    for other in ({"messages": [stored()]}, {"msg": "x", "ts": 1}, []):
        assert not rocketchat.detects("a.json", json.dumps(other).encode())
