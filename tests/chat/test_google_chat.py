"""Google Chat out of Takeout: threads, quotes, bots, deleted messages, dates and companions."""

import json

import pytest

from chatladder.chat.formats import google_chat
from chatladder.chat.message import Message
from chatladder.io.console import DataError
from tests.reading import parse, shown

ANN = {"name": "Ann Lee", "email": "Ann@example.org", "user_type": "Human"}
FILE = "Groups/Space AAAA/messages.json"


def message(**fields):
    base = {"creator": ANN, "created_date": "Thursday, November 3, 2016 at 11:59:50\u202fPM UTC", "text": "hi"}
    return base | {"topic_id": "T", "message_id": "AAAA/T/M"} | fields


def read(tmp_path, *messages, **options):
    return parse(google_chat, tmp_path, {"messages": list(messages)}, FILE, **options)


def test_a_thread(tmp_path):
    known = []
    rows = read(tmp_path, message(message_id="AAAA/T/T"), message(), known=known)
    assert rows[0] == Message(3, "AAAA", "ann@example.org", 1478217590, "text", "hi", own_id="AAAA/T/T")
    assert (rows[1].own_id, rows[1].reply_to) == ("AAAA/T/M", "AAAA/T/T")
    assert known == [("ann@example.org", "Ann Lee")]


def test_a_quotation_is_answered_and_is_nobody_elses_words(tmp_path):
    known = []
    quoted = {"creator": {"name": "Bob"}, "text": "secret", "message_id": "AAAA/S/S"}
    row = read(tmp_path, message(quoted_message_metadata=quoted), known=known)[0]
    assert (row.text, row.reply_to) == ("hi", "AAAA/S/S")
    assert ("Bob",) in known


@pytest.mark.parametrize(
    ("fields", "kind", "text"),
    [
        ({"text": None, "attached_files": [{"original_name": "a.PNG"}]}, "image", ""),
        ({"text": "", "attached_files": [{"export_name": "File-a.pdf"}]}, "file", "File-a.pdf"),
        ({"text": None, "message_state": "DELETED"}, "system", ""),
        ({"creator": ANN | {"user_type": "Bot"}}, "other", "hi"),
        ({"text": None}, "other", ""),
    ],
)
def test_kinds(tmp_path, fields, kind, text):
    assert shown(read(tmp_path, message(**fields))) == [(kind, text)]


def test_companions_tell_names(tmp_path):
    for name, document in (
        ("group_info.json", {"name": "Team", "members": [ANN]}),
        ("user_info.json", {"user": ANN, "membership_info": []}),
    ):
        known = []
        assert google_chat.detects(name, json.dumps(document).encode())
        assert shown(parse(google_chat, tmp_path, document, name, known)) == ["workspace_metadata"]
        assert known == [("ann@example.org", "Ann Lee")]


def test_what_is_no_message(tmp_path):
    assert shown(read(tmp_path, 1, message(creator={}))) == ["not_a_message", "no_sender"]


def test_dates_of_british_english(tmp_path):
    row = read(tmp_path, message(created_date="Thursday, 3 November 2016 at 23:59:50 UTC", message_id=None))[0]
    assert (row.timestamp, row.group) == (1478217590, "AAAA")


@pytest.mark.parametrize(
    "date", ["Mittwoch, 8. Februar 2017 um 22:27:07 UTC", "Monday, Febru 31, 2017 at 1:00:00 AM UTC"]
)
def test_a_date_in_another_language_is_refused_with_what_to_do(tmp_path, date):
    with pytest.raises(DataError, match=r"messages\.json:3: expected a date such as Thursday.*language to English"):
        read(tmp_path, message(created_date=date))


def test_detection():
    assert google_chat.detects("messages.json", json.dumps({"messages": [message()]}).encode())
    for other in ([message()], {"messages": []}, {"members": [ANN]}):
        assert not google_chat.detects("messages.json", json.dumps(other).encode())
