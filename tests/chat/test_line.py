"""LINE's text export: languages, days, texts of several lines, stickers, what happened, and refusals."""

import pytest

from chatladder.chat.formats import line
from chatladder.chat.message import Message, Skipped
from chatladder.io.console import DataError
from tests.reading import parse, shown

HEAD = "[LINE] Chat history in Friends\nSaved on: 2024/1/16 10:00\n\n"
NOON = 1705320000  # 2024-01-15 12:00 UTC


def read(tmp_path, content, name="[LINE] Friends.txt", **options):
    return parse(line, tmp_path, content, name, **options)


def test_a_chat(tmp_path):
    known = []
    content = HEAD + '2024/01/15(Mon)\n12:00\tAnn Lee\thi\n12:01\tBob\t"one\ntwo ""x"""\n12:02\tBob joined the group.\n'
    rows = read(tmp_path, content, known=known)
    assert [row.reason for row in rows[:4]] == ["file_head", "file_head", "blank", "day"]
    assert rows[4:] == [
        Message(5, "Friends", "Ann Lee", NOON, "text", "hi", 60),
        Message(6, "Friends", "Bob", NOON + 60, "text", 'one\ntwo "x"', 60),
        Message(8, "Friends", "", NOON + 120, "system", "", 60),
    ]
    assert known == []  # who speaks is known without it


@pytest.mark.parametrize(
    ("day", "time"),
    [
        ("2024/01/15(Mon)", "12:00"),
        ("2024.01.15 Monday", "12:00"),
        ("2024/1/15（月）", "午後0:00"),
        ("2024/1/15周一", "下午12:00"),
        ("2024/01/15（週一）", "下午 12:00"),
        ("Mon, 1/15/2024", "12:00PM"),
        ("Mon, 15/1/2024", "12:00 pm"),
    ],
)
def test_days_and_clocks_of_languages(tmp_path, day, time):
    assert line.detects("a.txt", f"{day}\n{time}\tAnn\thi\n".encode())
    rows = read(tmp_path, f"{day}\n{time}\tAnn\thi\n", "a.txt")
    assert [rows[1].timestamp, rows[1].group] == [NOON, "a"]


def test_the_day_of_a_week_tells_which_number_is_the_month(tmp_path):
    rows = read(tmp_path, "Fri, 1/3/2024\n12:00\tAnn\thi\nWed, 1/3/2024\n12:00\tAnn\thi\n")
    assert rows[1].timestamp == 1709294400  # 1 March
    rows = read(tmp_path, "Wed, 1/3/2024\n12:00\tAnn\thi\n")
    assert rows[1].timestamp == 1704283200  # 3 January


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("[Photo]", "image", ""),
        ("[写真]", "image", ""),
        ("[Sticker]", "other", ""),
        ("[スタンプ]", "other", ""),
        ("[File] a.pdf", "file", "a.pdf"),
        ("☎ 通話時間 0:42", "other", ""),
        ("[Photo] is what I sent", "text", "[Photo] is what I sent"),
        ("[Location] here", "other", ""),
        ("see [Photo]", "text", "see [Photo]"),
        ('"quoted"', "text", '"quoted"'),
    ],
)
def test_kinds(tmp_path, text, kind, said):
    assert shown(read(tmp_path, f"2024/01/15(Mon)\n12:00\tAnn\t{text}\n"))[1] == (kind, said)


def test_whom_a_notice_names_is_known(tmp_path):
    known = []
    read(tmp_path, "2024/01/15(Mon)\n12:00\tAnn added Cid Ray to the group.\n12:01\t\t张三已加入群組\n", known=known)
    assert known == [("Ann",), ("Cid Ray",), ("张三",)]


def test_local_times(tmp_path):
    rows = read(tmp_path, "2024/01/15(Mon)\n20:00\tAnn\thi\n", timezone="Asia/Shanghai")
    assert rows[1].timestamp == NOON


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEAD + "12:00\tAnn\thi\n", r":4: expected a day such as 2024/01/15\(Mon\) before this line, got none"),
        ("2024/13/15(Mon)\n12:00\tAnn\thi\n", r":1: expected a date and a time, got some that do not exist"),
        ("2024/01/15(Mon)\n25:00\tAnn\thi\n", r":2: expected a date and a time"),
        ("2024/01/15(Mon)\n12:00\tAnn\t" + "x\n" * 600_000, r":2: expected messages of at most 1,048,576 characters"),
    ],
)
def test_refusals(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, content)


def test_titles_of_languages(tmp_path):
    for title, group in (
        ("Chat history with Ann", "Ann"),
        ("Chat history in Us", "Us"),
        ("友達とのトーク履歴", "友達"),
        ("友達のトーク履歴", "友達"),
        ("与朋友的聊天记录", "朋友"),
        ("ประวัติการสนทนากับ Ann", "Ann"),
    ):
        rows = read(tmp_path, f"[LINE] {title}\n2024/01/15(Mon)\n12:00\tAnn\thi\n")
        assert isinstance(rows[0], Skipped)
        assert rows[2].group == group


def test_other_files_are_not_taken_for_it():
    for content in ("2024/01/15\nhello\n", "12:00\tAnn\thi\n", "2024-01-15 12:00:00\tann\thi\n", ""):
        assert not line.detects("a.txt", content.encode())
