"""DiscordChatExporter's CSV: the channel of the file's name, dates of several versions, and kinds."""

import pytest

from chatladder.chat.formats import discord_csv
from chatladder.chat.message import Message
from chatladder.io.console import DataError
from tests.reading import parse, shown

HEADER = "AuthorID,Author,Date,Content,Attachments,Reactions\n"
FILE = "Club - Text - help [22].csv"


def row(date="2023-01-01T10:00:00.1230000+01:00", content="hi", attachments="", author="ann#1234"):
    return f'"400","{author}","{date}","{content}","{attachments}",""\n'


def read(tmp_path, *rows, name=FILE, header=HEADER, **options):
    return parse(discord_csv, tmp_path, header + "".join(rows), name, **options)


def test_a_channel(tmp_path):
    known = []
    rows = read(tmp_path, row(content="one\ntwo"), row(), known=known)
    assert rows[0] == Message(2, "22", "400", 1672563600, "text", "one\ntwo")
    assert (rows[1].line, rows[1].group) == (4, "22")
    assert known == [("400", "ann")]
    assert read(tmp_path, row(), name="help [22] [part 2].csv")[0].group == "22"
    assert read(tmp_path, row(), name="help.csv")[0].group == "help"


@pytest.mark.parametrize(
    ("dates", "seconds"),
    [
        (["01/13/2023 2:05 PM", "02/01/2023 2:05 PM"], 1673618700),
        (["13.01.2023 14:05", "01.02.2023 14:05"], 1673618700),
        (["13-Jan-23 02:05 PM", "01-Feb-23 02:05 PM"], 1673618700),
    ],
)
def test_dates_as_a_computer_writes_them(tmp_path, dates, seconds):
    rows = read(tmp_path, *map(row, dates))
    assert [each.timestamp for each in rows] == [seconds, seconds + 19 * 86_400]
    assert rows[0].resolution_seconds == 60
    assert read(tmp_path, *map(row, dates), timezone="Asia/Shanghai")[0].timestamp == seconds - 8 * 3600


@pytest.mark.parametrize(
    ("fields", "kind", "text"),
    [
        ({"content": "", "attachments": "https://cdn/a/b.PNG?x=1,https://cdn/c.jpg"}, "image", ""),
        ({"content": "", "attachments": "https://cdn/a/b.pdf"}, "file", "b.pdf"),
        ({"content": "", "attachments": "https://[cdn"}, "file", ""),
        ({"content": ""}, "other", ""),
        ({"content": "@everyone look"}, "text", "@all look"),
    ],
)
def test_kinds(tmp_path, fields, kind, text):
    assert shown(read(tmp_path, row(**fields))) == [(kind, text)]


def test_rows_that_make_no_message(tmp_path):
    assert shown(read(tmp_path, ",,,,,\n", '"","","2023-01-01T10:00:00Z","x","",""\n')) == ["blank", "no_sender"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (row("yesterday"), r"\[22\]\.csv:2: expected a timestamp"),
        (row("01/02/2023 25:00"), r"\[22\]\.csv:2: expected"),
        (row("01/02/2023 14:00"), r"\[22\]\.csv:2: expected dates whose order the file tells"),
        ('"400","ann"\n', r"\[22\]\.csv:2: expected 6 cells, got 2"),
    ],
)
def test_refusals(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, content)


def test_detection():
    assert discord_csv.detects("a.csv", HEADER.encode())
    assert discord_csv.detects("a.csv", b"Author,Date,Content,Attachments\n")
    assert not discord_csv.detects("a.csv", b"Author,Date,Text\n")
