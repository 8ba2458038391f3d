"""Plain tables: JSON lines and CSV."""

import pytest

from stages.chat import table
from stages.chat.message import Message, Skipped
from stages.chat.pseudonyms import Pseudonyms
from stages.chat.source import Source
from stages.cli import DataError

ROW = '{"group": "g", "sender": "s", "timestamp": 1672531200, "text": "hi"}\n'


def parse(tmp_path, content):
    path = tmp_path / "chat.table"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return list(table.parse(Source(path), Pseudonyms("key")))


def test_json_lines(tmp_path):
    full = ROW.replace("1672531200", '"2023-01-01T00:00:05Z"').replace(
        "}", ',"kind":"image","message_id":7,"reply_to":6}'
    )
    assert parse(tmp_path, ROW + "\n" + full) == [
        Message(1, "g", "s", 1672531200, "text", "hi"),
        Skipped(2, "blank"),
        Message(3, "g", "s", 1672531205, "image", "hi", own_id="7", reply_to="6"),
    ]


def test_csv_with_a_cell_of_several_lines(tmp_path):
    rows = parse(tmp_path, 'sender,text,group,timestamp,note\ns,"one\ntwo, three",g,1672531200,x\nt,last,g,,\n')
    assert rows == [
        Message(2, "g", "s", 1672531200, "text", "one\ntwo, three"),
        Message(4, "g", "t", None, "text", "last"),
    ]


def test_a_time_without_seconds_is_exact_to_a_minute(tmp_path):
    rows = parse(tmp_path, "group,sender,timestamp,text\ng,s,2023-01-01 08:00+08:00,a\ng,s,2023-01-01T00:01:02,b\n")
    assert [(row.timestamp, row.resolution_seconds) for row in rows] == [(1672531200, 60), (1672531262, 1)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ROW + '{"group": "g", "sen', r"table:2: expected one whole JSON object on the line"),
        (ROW + "[1]\n", r"table:2: expected a JSON object, got list"),
        (ROW + ROW.replace('"text"', '"words"'), r"table:2: expected group, .*; missing text"),
        (ROW + ROW.replace('"s"', '""'), r"table:2: expected a sender, got nothing"),
        (ROW.replace('"hi"', "5"), r'table:1: expected "text" to be a string, got int'),
        (ROW.replace("}", ', "kind": "video"}'), r"table:1: expected \"kind\" to be one of text, .*'video'"),
        (ROW.replace("1672531200", "1672531200000"), r"table:1: .* milliseconds\. Divide"),
        (ROW.replace("1672531200", '"1672531200000"'), r"table:1: .* milliseconds"),
        (ROW.replace("1672531200", '"yesterday"'), r"table:1: .* ISO 8601, got 'yesterday'"),
        (ROW.replace("1672531200", "-5"), r"table:1: expected a timestamp in UTC seconds since 1970, got -5"),
        (ROW.replace("1672531200", "NaN"), r"table:1: expected a timestamp in UTC seconds since 1970, got nan"),
        (ROW.replace("1672531200", "1" + "0" * 400), r"table:1: .* milliseconds"),
        (ROW.replace("1672531200", "true"), r"table:1: .* got bool"),
        (ROW + "[" * 100_000 + "\n", r"table:2: expected one whole JSON object on the line"),
        (ROW.encode() + "问".encode("gb18030"), r"table:2: expected UTF-8, got byte 0x.. *\. Convert"),
        ("group,sender,timestamp\ng,s,1\n", r"table:1: expected a header with .*; missing text"),
        ("group,sender,timestamp,text\ng,s,1\n", r"table:2: expected 4 cells, got 3"),
        ('group,sender,timestamp,text\ng,s,1,a\ng,s,1,"open\n', r"table:3: expected CSV"),
    ],
)
def test_refusals_name_file_and_line_and_never_the_text(tmp_path, content, message):
    with pytest.raises(DataError, match=message) as caught:
        parse(tmp_path, content)
    assert '"hi"' not in caught.value.message
