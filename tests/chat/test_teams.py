"""Microsoft Teams through Graph: HTML, mentions, replies, events, and applications."""

import json

import pytest

from chatladder.chat.formats import teams, wechat
from chatladder.chat.message import Message
from chatladder.io.console import DataError
from tests.reading import at, parse, shown

ANN = {"user": {"id": "8c0a", "displayName": "Ann Lee"}}


def message(content="hi", type_="html", **fields):
    base = {
        "id": "2",
        "messageType": "message",
        "chatId": "19:a@thread.v2",
        "createdDateTime": "2023-01-01T10:00:00.123Z",
    }
    return base | {"from": ANN, "body": {"contentType": type_, "content": content}} | fields


def read(tmp_path, *messages, known=None):
    return parse(teams, tmp_path, {"value": list(messages)}, "chat.json", known)


def test_a_message_and_its_replies(tmp_path):
    known = []
    rows = read(tmp_path, message(replies=[message("yes", id="3", replyToId="2")]), known=known)
    assert rows[0] == Message(3, "19:a@thread.v2", "8c0a", 1672567200, "text", "hi", own_id="2")
    assert (rows[1].text, rows[1].reply_to) == ("yes", "2")
    assert known == [("8c0a", "Ann Lee")]
    assert parse(teams, tmp_path, [message()], "chat.json")[0].line == 2


def test_mentions(tmp_path):
    known = []
    bob = {"user": {"id": "5d8f", "displayName": "Bob Ray"}}
    mentions = [{"id": 0, "mentioned": bob}, {"id": 1, "mentioned": {"conversation": {"id": "x"}}}]
    content = '<p><at id="0">Bob</at>&nbsp;and <at id="1">Everyone</at>: <at id="2">Cid</at></p>'
    row = read(tmp_path, message(content, mentions=mentions), known=known)[0]
    assert row.text == f"{at('5d8f')}and @all : @Cid"
    assert known == [("8c0a", "Ann Lee"), ("5d8f", "Bob Ray"), ("5d8f", "Bob")]


def test_what_is_quoted_is_answered_and_left_out(tmp_path):
    content = '<attachment id="1"></attachment><blockquote>secret</blockquote><p>yes</p>'
    attachments = [{"id": "1", "contentType": "messageReference", "content": "secret"}]
    row = read(tmp_path, message(content, attachments=attachments))[0]
    assert (row.text, row.reply_to) == ("yes", "1")


@pytest.mark.parametrize(
    ("entry", "kind", "text"),
    [
        (message("<p>a &lt;b&gt;<br>c</p><p>d</p>"), "text", "a <b>\nc\nd"),
        (message('<p><emoji id="s" alt="🙂" title="x"></emoji> ok</p>'), "text", "🙂 ok"),
        (message('<p><img src="https://g/x" width="1"></p>'), "image", ""),
        (message("", attachments=[{"contentType": "reference", "name": "a.pdf"}]), "file", "a.pdf"),
        (message("a < b", "text"), "text", "a < b"),
        (message("x", messageType="systemEventMessage", **{"from": None}), "system", ""),
        (message("x", deletedDateTime="2023-01-01T10:00:00Z"), "system", ""),
        (message("x", **{"from": {"application": {"id": "app", "displayName": "Robot"}}}), "other", "x"),
    ],
)
def test_kinds(tmp_path, entry, kind, text):
    assert shown(read(tmp_path, entry)) == [(kind, text)]


def test_what_is_no_message(tmp_path):
    assert shown(read(tmp_path, 1, message(**{"from": None}))) == ["not_a_message", "no_sender"]


def test_a_time_that_is_none(tmp_path):
    with pytest.raises(DataError, match=r"chat\.json:3: expected a timestamp"):
        read(tmp_path, message(createdDateTime="now"))


def test_detection():
    head = json.dumps({"value": [message()]}).encode()
    assert teams.detects("a.json", head)
    assert not wechat.detects("a.json", head)
    assert not teams.detects("a.json", json.dumps({"messageType": "80001", "data": {}}).encode())
