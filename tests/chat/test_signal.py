"""Signal: what signal-export and sigtop write, mentions, quotes, and what is no talk."""

import json

import pytest

from chatladder.chat.formats import signal
from chatladder.chat.message import Message
from chatladder.io.console import DataError
from tests.reading import at, parse, shown


def exported(**fields):
    base = {"date": "2023-01-01T10:00:00.123000", "sender": "Ann", "body": "hi  ", "quote": "", "sticker": None}
    return base | {"reactions": [], "attachments": []} | fields


def stored(**fields):
    base = {"id": "i", "type": "incoming", "conversationId": "c", "sourceServiceId": "a", "sent_at": 1672563600123}
    return base | {"body": "hi"} | fields


def read_lines(tmp_path, *messages, **options):
    content = "".join(json.dumps(each) + "\n" for each in messages)
    return parse(signal, tmp_path, content, "Friends/data.json", **options)


def test_signal_export(tmp_path):
    known = []
    rows = read_lines(
        tmp_path,
        exported(reactions=[["Bob", "x"], ["Me", "x"]], quote="\n\n> what Bob said\n\n"),
        exported(sender="Me"),
        exported(sender="No-Sender"),
        known=known,
        timezone="Asia/Shanghai",
    )
    assert rows[0] == Message(1, "Friends", "Ann", 1672538400, "text", "hi")
    assert rows[1].sender == "signal_owner"
    assert rows[2].reason == "no_sender"
    assert known == [("Ann",), ("Bob",)]


def test_a_name_that_lost_its_blanks_is_found_with_them(tmp_path):
    known = []
    read_lines(tmp_path, exported(sender="AnnMariaLee"), exported(sender="MÜLLER"), known=known)
    assert known == [("AnnMariaLee", "Ann Maria Lee"), ("MÜLLER",)]


@pytest.mark.parametrize(
    ("fields", "kind", "text"),
    [
        ({"body": "  ", "attachments": [{"name": "a.jpg", "path": "media/a.jpg"}]}, "image", ""),
        ({"body": "", "attachments": [{"name": "a.pdf"}]}, "file", "a.pdf"),
        ({"body": "", "sticker": {"emoji": "x"}}, "other", ""),
        ({"body": "", "deleted": True}, "system", ""),
        ({"body": "Missed voice call"}, "system", ""),
        ({"body": "Missed you"}, "text", "Missed you"),
        ({"body": "\ufffc look"}, "text", "@<user>  look"),
    ],
)
def test_kinds_of_signal_export(tmp_path, fields, kind, text):
    assert shown(read_lines(tmp_path, exported(**fields))) == [(kind, text)]


def test_sigtop(tmp_path):
    known = []
    mention = {"start": 0, "length": 1, "mentionAci": "b", "replacementText": "Bob"}
    answer = stored(
        body="\ufffc yes \ufffc",
        bodyRanges=[{"start": 2, "length": 3, "style": 1}, mention],
        quote={"id": 1672563600123, "authorAci": "a", "text": "secret"},
        sent_at=1672563660000,
    )
    rows = parse(signal, tmp_path, [stored(), answer, stored(type="outgoing", sourceServiceId=None)], "a.json", known)
    assert rows[0] == Message(2, "c", "a", 1672563600, "text", "hi", own_id="a/1672563600123")
    assert (rows[1].text, rows[1].reply_to) == (f"{at('b')}yes @<user> ", "a/1672563600123")
    assert rows[2].sender == "signal_owner"
    assert known == [("b", "Bob")]


@pytest.mark.parametrize(
    ("fields", "kind", "text"),
    [
        ({"body": None, "attachments": [{"contentType": "image/png"}]}, "image", ""),
        ({"body": None, "attachments": [{"contentType": "audio/aac", "fileName": None}]}, "file", ""),
        ({"body": None, "sticker": {"packId": "x"}}, "other", ""),
        ({"deletedForEveryone": True}, "system", ""),
        ({"type": "group-v2-change", "sourceServiceId": None}, "system", ""),
    ],
)
def test_kinds_of_sigtop(tmp_path, fields, kind, text):
    assert shown(parse(signal, tmp_path, [stored(**fields)], "a.json")) == [(kind, text)]


def test_what_is_no_message(tmp_path):
    rows = parse(signal, tmp_path, [1, stored(conversationId=None), stored(sourceServiceId=None)], "a.json")
    assert shown(rows) == ["not_a_message", "no_group", "no_sender"]


def test_times_that_are_none(tmp_path):
    with pytest.raises(DataError, match=r"data\.json:1: expected a timestamp in UTC seconds or ISO 8601"):
        read_lines(tmp_path, exported(date="yesterday"))
    with pytest.raises(DataError, match=r"a\.json:2: expected a timestamp in milliseconds"):
        parse(signal, tmp_path, [stored(sent_at="x")], "a.json")


def test_detection():
    assert signal.detects("data.json", json.dumps(exported()).encode())
    assert signal.detects("a.json", json.dumps([stored()]).encode())
    for other in ({"date": 1, "sender": "a", "body": "b"}, [{"conversationId": "c"}], []):
        assert not signal.detects("data.json", json.dumps(other).encode())
