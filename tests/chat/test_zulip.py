"""Zulip's export: topics, mentions, quotations, uploads, and the files beside the messages."""

import json

import pytest

from chatladder.chat.formats import zulip
from chatladder.chat.message import Message
from chatladder.io.console import DataError
from tests.reading import at, parse, shown


def message(**fields):
    base = {"id": 321, "sender": 1, "recipient": 5, "subject": "topic", "content": "hi", "date_sent": 1672531200.5}
    return base | fields


def read(tmp_path, *messages, known=None):
    document = {"zerver_message": list(messages), "zerver_usermessage": []}
    return parse(zulip, tmp_path, document, "messages-000001.json", known)


def test_a_message(tmp_path):
    assert read(tmp_path, message()) == [
        Message(3, "5/topic", "zulip1", 1672531200, "text", "hi", own_id="321", chat="5"),
    ]


def test_mentions(tmp_path):
    known = []
    content = "@**Bob Ray|2** and @**Cid**: @_**|3** @**all** @*helpers* a@b.org"
    row = read(tmp_path, message(content=content), known=known)[0]
    assert row.text == f"{at('zulip2')}and @Cid : {at('zulip3')}@all @helpers a@b.org"
    assert known == [("zulip2", "Bob Ray")]


def test_a_quotation_is_answered_and_left_out(tmp_path):
    content = "@_**Bob|2** [said](https://z.org/#narrow/channel/5-x/topic/t/near/300):\n```quote\nsecret\n```\nyes"
    row = read(tmp_path, message(content=content))[0]
    assert (row.text, row.reply_to) == ("yes", "300")


@pytest.mark.parametrize(
    ("fields", "kind", "text"),
    [
        ({"content": "[a.png](/user_uploads/1/a.png)"}, "image", ""),
        ({"content": "[a.pdf](/user_uploads/1/a.pdf)"}, "file", "a.pdf"),
        ({"content": "see [a.pdf](/user_uploads/1/a.pdf)"}, "text", "see"),
        ({"content": "resolved", "type": 2}, "system", ""),
        ({"content": " "}, "other", ""),
        ({"subject": "", "is_channel_message": True}, "text", "hi"),
    ],
)
def test_kinds(tmp_path, fields, kind, text):
    assert shown(read(tmp_path, message(**fields))) == [(kind, text)]


def test_what_is_no_message_of_a_channel(tmp_path):
    rows = read(tmp_path, 1, message(subject=""), message(is_channel_message=False), message(sender=None))
    assert shown(rows) == ["not_a_message", "private_chat", "private_chat", "no_sender"]


def test_the_files_beside_the_messages(tmp_path):
    known = []
    users = [{"id": 1, "full_name": "Ann Lee", "email": "a@b.org"}, {"id": 9, "full_name": "Robot", "is_bot": True}]
    realm = {"zerver_realm": [{"id": 1}], "zerver_userprofile": users}
    assert shown(parse(zulip, tmp_path, realm, "realm.json", known)) == ["workspace_metadata"] * 2
    assert known == [("zulip1", "Ann Lee", "a@b.org")]
    for name, document in (("attachment.json", {"zerver_attachment": []}), ("records.json", [{"s3_path": "x"}])):
        assert zulip.detects(name, json.dumps(document).encode())
        assert shown(parse(zulip, tmp_path, document, name)) == ["workspace_metadata"]


def test_a_time_that_is_none(tmp_path):
    with pytest.raises(DataError, match=r"messages-000001\.json:3: expected a timestamp"):
        read(tmp_path, message(date_sent="now"))


def test_detection():
    assert zulip.detects("a.json", b'{"zerver_message": []')
    assert not zulip.detects("a.json", b'{"messages": [{"zerver_message": 1}]}')
    assert not zulip.detects("records.json", b"[]")
