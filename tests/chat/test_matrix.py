"""Element's export of a Matrix room: events, answers, mentions, and names of members."""

import json

import pytest

from chatladder.chat.formats import matrix
from chatladder.chat.message import Message
from chatladder.io.console import DataError
from tests.reading import at, parse, shown

ANN, BOB = "@ann:example.org", "@bob_7:example.org"


def event(type_="m.room.message", content=None, **fields):
    base = {"type": type_, "sender": ANN, "event_id": "$1", "room_id": "!r:example.org"}
    return (
        base | {"origin_server_ts": 1672563600123, "content": content or {"msgtype": "m.text", "body": "hi"}} | fields
    )


def text(body, **fields):
    return {"msgtype": "m.text", "body": body, **fields}


def read(tmp_path, *events, known=None):
    return parse(
        matrix, tmp_path, {"room_name": "Help", "exported_by": "Ann", "messages": list(events)}, "e.json", known
    )


def test_a_message_and_the_names_of_a_member(tmp_path):
    known = []
    member = event("m.room.member", {"displayname": "Bob Ray", "membership": "join"}, sender=BOB, state_key=BOB)
    rows = read(tmp_path, event(), member, known=known)
    assert rows[0] == Message(5, "!r:example.org", ANN, 1672563600, "text", "hi", own_id="$1")
    assert (rows[1].kind, rows[1].text) == ("system", "")
    assert known == [(ANN, "ann"), (BOB, "bob_7"), (BOB, "Bob Ray")]


def test_an_answer_without_the_quote_before_it(tmp_path):
    relation = {"m.in_reply_to": {"event_id": "$0"}}
    body = f"> <{BOB}> secret\n> more\n\nyes\n> no"
    assert read(tmp_path, event(content=text(body, **{"m.relates_to": relation})))[0][5:9] == (
        "yes\n> no",
        1,
        "$1",
        "$0",
    )
    thread = {"rel_type": "m.thread", "is_falling_back": True, **relation}
    assert read(tmp_path, event(content=text("yes", **{"m.relates_to": thread})))[0].reply_to is None
    assert read(tmp_path, event(content=text("> a\nb")))[0].text == "> a\nb"


def test_mentions(tmp_path):
    known = []
    formatted = f'<a href="https://matrix.to/#/{BOB}">Bob &amp; Ray</a>: see'
    row = read(tmp_path, event(content=text(f"{BOB} see @types/node a@b.org", formatted_body=formatted)), known=known)[
        0
    ]
    assert row.text == f"{at(BOB)}see @types/node a@b.org"
    assert known == [(ANN, "ann"), (BOB, "bob_7", "Bob & Ray")]


@pytest.mark.parametrize(
    ("type_", "content", "kind", "said"),
    [
        ("m.room.message", {"msgtype": "m.emote", "body": "waves"}, "text", "waves"),
        ("m.room.message", {"msgtype": "m.notice", "body": "built"}, "other", "built"),
        ("m.room.message", {"msgtype": "m.image", "body": "a.png"}, "image", ""),
        ("m.room.message", {"msgtype": "m.image", "body": "look", "filename": "a.png"}, "text", "look"),
        ("m.room.message", {"msgtype": "m.file", "body": "a.pdf"}, "file", "a.pdf"),
        ("m.room.message", {"msgtype": "m.location", "body": "here"}, "other", ""),
        ("m.room.message", text("* x", **{"m.relates_to": {"rel_type": "m.replace"}}), "system", ""),
        ("m.sticker", {"body": "x"}, "other", ""),
        ("m.room.encrypted", {"algorithm": "x"}, "other", ""),
        ("m.reaction", {"x": 1}, "system", ""),
    ],
)
def test_kinds(tmp_path, type_, content, kind, said):
    assert shown(read(tmp_path, event(type_, content))) == [(kind, said)]


def test_what_was_removed_and_what_is_no_event(tmp_path):
    removed = event() | {"content": {}}
    assert shown(read(tmp_path, removed, 1, event(sender=None))) == [("system", ""), "not_a_message", "no_sender"]


def test_a_time_that_is_none(tmp_path):
    with pytest.raises(DataError, match=r"e\.json:5: expected a timestamp in milliseconds since 1970, got -1"):
        read(tmp_path, event(origin_server_ts=-1))


def test_detection():
    assert matrix.detects("a.json", json.dumps({"room_name": "x", "exported_by": "y", "messages": []}).encode())
    assert matrix.detects("a.json", json.dumps({"messages": [event()]}).encode())
    assert not matrix.detects("a.json", json.dumps([event()]).encode())


def test_what_the_server_answers_is_read_too(tmp_path):
    page = {"start": "t1", "end": "t2", "chunk": [event()]}
    assert matrix.detects("page.json", json.dumps(page).encode())
    assert [each.text for each in parse(matrix, tmp_path, page, "page.json")] == ["hi"]
