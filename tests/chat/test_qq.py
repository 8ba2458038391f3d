"""QQ's text export: entries and what only looks like one, accounts, titles, notices, an account's many chats.

The real exports have their own expected messages. The other fixtures are made after what readers of exports test
with: AM and PM and the system's account (a dice bot's log painter), titles, mail addresses and discussion groups.
"""

import json
import re
from datetime import datetime, timedelta
from itertools import zip_longest
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatladder.chat.formats import qq, whatsapp
from chatladder.chat.message import Context, Message, Skipped
from chatladder.chat.source import Source
from chatladder.io.console import DataError
from chatladder.privacy.pseudonyms import Pseudonyms

NAMES = Pseudonyms("key")
RULE = "=" * 64
HEAD = "消息记录（此消息记录为文本格式，不支持重新导入）\n\n"
SHANGHAI = ZoneInfo("Asia/Shanghai")


def section(subgroup, name):
    return f"{RULE}\n消息分组:{subgroup}\n{RULE}\n消息对象:{name}\n{RULE}\n\n"


def parse(tmp_path, content, name="小组.txt", **context):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return list(qq.parse(Source(path), Context(NAMES, **context)))


def messages(tmp_path, content, **context):
    return [row for row in parse(tmp_path, content, **context) if isinstance(row, Message)]


def moment(row):
    return str(datetime(1970, 1, 1) + timedelta(seconds=row.timestamp))


def test_the_real_exports_give_what_they_must(shared_data):
    folder = shared_data / "exports"
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    files = sorted((folder / "qq").glob("*.txt"))
    assert len(files) == 4
    for path in files:
        source = Source(path)
        assert qq.detects(source.plain_name, source.head())
        told = []
        rows = list(qq.parse(source, Context(NAMES, know=lambda *names, told=told: told.append(names))))
        known = {names[0]: names[-1] for names in told}
        found = [[moment(row), row.sender, known[row.sender], row.text] for row in rows if isinstance(row, Message)]
        heads = [row.reason for row in rows if isinstance(row, Skipped)]
        assert heads[:4] == ["file_head"] * 3 + ["blank"]
        if path.name == "private.txt":
            assert [(row[1], row[2]) for row in found] == [("A", "A"), ("B", "B"), ("A", "A")]
            assert found[0][3] == "关注永雏塔菲喵\n关注永雏塔菲谢谢喵"
        else:
            assert found == expected[f"qq/{path.name}"]


def test_a_group_with_titles_both_clocks_and_notices(tmp_path):
    content = (
        "\ufeff"
        + HEAD
        + section("我的群聊", "ROS 交流群")
        + "2019-09-23 8:43:38 PM 【管理员】小明(12345)\n怎么装？\n\n"
        "2019-09-23 8:43:39 PM 系统消息(10000)\n小红加入本群。\n\n"
        "2019-09-23 20:44:00 【潜水】【吐槽】小红(67890)\n[图片]\n\n"
        "2019-09-24 12:05:00 AM (24680)\n[表情][表情]\n\n"
        "2019-09-24 7:54:29 小明(12345)\n小红撤回了一条消息\n\n"
    ).replace("\n", "\r\n")
    known = []
    rows = messages(tmp_path, content, know=lambda *names: known.append(names), timezone=SHANGHAI)
    assert [(moment(row)[11:], row.sender, row.kind, row.text) for row in rows] == [
        ("12:43:38", "12345", "text", "怎么装？"),
        ("12:43:39", "", "system", ""),
        ("12:44:00", "67890", "image", ""),
        ("16:05:00", "24680", "other", ""),
        ("23:54:29", "12345", "system", ""),
    ]
    assert {row.group for row in rows} == {"ROS 交流群"}
    assert known == [("12345", "小明"), ("67890", "小红")]
    assert {row.resolution_seconds for row in rows} == {1}


def test_an_account_of_many_chats_gives_a_group_for_each(tmp_path):
    entry = "2020-01-0{} 10:00:00 小明\nhi\n\n"
    content = HEAD + section("我的好友", "小明") + entry.format(2) + section("我的群聊", "ROS") + entry.format(1)
    content += section("同学", "小明") + entry.format(1) + section("同学", "小明") + entry.format(1)
    groups = [row.group for row in messages(tmp_path, content)]
    assert groups == ["小明 (我的好友)", "ROS", "小明 (同学)", "小明 (同学 2)"]


def test_the_group_of_a_file_without_a_head_is_the_file(tmp_path):
    assert parse(tmp_path, "2020-01-01 10:00:00 小明(12345)\nhi\n")[0].group == "小组"


@pytest.mark.parametrize(
    ("name", "person"),
    [
        ("小明(12345)", ("12345", "小明")),
        ("小明<a.b@qq.com>", ("a.b@qq.com", "小明")),
        ("(A(123123)", ("123123", "(A")),
        ("小明(工作)(12345)", ("12345", "小明(工作)")),
        ("【群主】小明(12345)", ("12345", "小明")),
        ("【群主】(12345)", ("12345", "")),
        ("小明", ("小明", "小明")),
        ("小明(2)", ("小明(2)", "小明(2)")),  # too short for an account
        ("小明<work>", ("小明<work>", "小明<work>")),
        ("匿名 马超(80000000)", ("匿名 马超", "匿名 马超")),  # everybody without a name has this account
    ],
)
def test_accounts_and_names(tmp_path, name, person):
    known = []
    content = f"2020-01-01 10:00:00 {name}\nhi\n\n2020-01-01 10:00:01 somebody\nhi\n"
    rows = parse(tmp_path, content, know=lambda *names: known.append(names))
    assert rows[0].sender == person[0]
    assert (tuple(dict.fromkeys(person)) in known) == bool(person[1])


def test_a_short_number_is_an_account_where_everybody_has_one(tmp_path):
    assert parse(tmp_path, "2020-01-01 10:00:00 【潜水】小明(123)\nhi\n")[0].sender == "123"


def test_what_only_looks_like_an_entry_is_text(tmp_path):
    content = (
        "2020-01-01 10:00:00 小明(12345)\nlog:\n2020-01-01 09:00:00 server started\n2020-13-41 10:00:00 x\n\n"
        "2020-02-02 02:02:02\n\n消息对象:nobody\n==========\nend\n\n2020-01-01 10:01:00 小红(67890)\n好\n\n"
        "2020-01-01 10:02:00 小明(12345)\n\n"
    )
    first, second, third = parse(tmp_path, content)
    assert first.text == (
        "log:\n2020-01-01 09:00:00 server started\n2020-13-41 10:00:00 x\n2020-02-02 02:02:02\n消息对象:nobody\n"
        "==========\nend"
    )
    assert (second.text, second.group, third.kind, third.text) == ("好", "小组", "other", "")


def test_entries_without_blank_lines_between(tmp_path):
    content = "消息对象:Team\n2024-01-02 03:04:05 Alice(10001)\nhello\n2024-01-02 03:05:06 Bob(10002)\n[图片]\n"
    rows = messages(tmp_path, content)
    assert [(row.group, row.kind, row.text) for row in rows] == [("Team", "text", "hello"), ("Team", "image", "")]


def test_the_first_entry_may_follow_the_head_at_once(tmp_path):
    content = "消息对象:Team\n" + "".join(f"2020-01-01 10:00:0{n} A(10001)\nhi\n\n" for n in range(4))
    assert [(row.group, row.text) for row in messages(tmp_path, content)] == [("Team", "hi")] * 4


@pytest.mark.parametrize(
    ("notice", "expected"),
    [
        ("系统消息(10000)\n小红加入本群。", [("小红",)]),
        ("系统消息(10000)\n小红(67890)邀请小蓝(67891)加入了本群", [("67890", "小红"), ("67891", "小蓝")]),
        ("系统消息(10000)\n管理员将小蓝(67891)移出本群", [("67891", "小蓝")]),
        ("小明(12345)\n管理员撤回了小绿的消息", [("12345", "小明"), ("小绿",)]),
    ],
)
def test_whom_notices_name_is_known(tmp_path, notice, expected):
    known = []
    parse(tmp_path, f"2019-09-23 20:43:38 {notice}\n\n", know=lambda *names: known.append(names))
    assert sorted(known) == sorted(expected)


def test_mentions_of_names_that_the_file_knows(tmp_path):
    content = "".join(
        f"2020-01-01 10:00:0{n} {name}\n{text}\n\n"
        for n, (name, text) in enumerate(
            [
                ("小明(12345)", "你好@小 红 一下 和@小明"),
                ("小 红(67890)", "@全体成员 a@小明.cn @nobody 看"),
                ("小 红(13579)", "@小 红 谁？"),
            ]
        )
    )
    texts = [row.text for row in parse(tmp_path, content.replace("小 红(13579)", "他(13579)"))]
    ming, hong = NAMES.person("12345"), NAMES.person("67890")
    assert texts == [f"你好@{hong} 一下 和@{ming} ", "@all a@小明.cn @nobody 看", f"@{hong} 谁？"]
    assert parse(tmp_path, content)[2].text == "@<user>  谁？".replace("  ", " ")  # two people have the name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[图片]", ("image", "")),
        ("[图片][表情]", ("image", "")),
        ("[语音]", ("other", "")),
        ("[图片]这是什么", ("text", "[图片]这是什么")),
        ("[文件]报告.pdf", ("file", "报告.pdf")),
        ("[链接]", ("link", "")),
        ("[1, 2]", ("text", "[1, 2]")),
        ("小红撤回了一条消息", ("system", "")),
        ("管理员撤回了小红的消息", ("system", "")),
        (
            "他为什么撤回了一条消息呢？因为写错了字，所以大家都没有看到",
            ("text", "他为什么撤回了一条消息呢？因为写错了字，所以大家都没有看到"),
        ),
    ],
)
def test_kinds(tmp_path, text, expected):
    (row,) = parse(tmp_path, f"2020-01-01 10:00:00 小明(12345)\n{text}\n")
    assert (row.kind, row.text) == expected


def test_who_calls_himself_a_notice_is_heard(tmp_path):
    (row,) = parse(tmp_path, "2020-01-01 10:00:00 系统消息(13579)\nhi\n")
    assert (row.sender, row.kind, row.text) == ("13579", "text", "hi")


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (HEAD, True),
        (section("我的群聊", "ROS"), True),
        ("2020-01-01 10:00:00 小明(12345)\nhi\n", True),
        ("========\nx\n========\n\n2020-01-01 10:00:00 小明\nhi\n", True),
        ("========\nx\n========\n\nno entry\n", False),
        ("2020-01-01 10:00:00 server started\n", False),
        ("30/01/2021, 20:48 - Ann: hi\n", False),
        ("", False),
    ],
)
def test_detection(head, expected):
    assert qq.detects("chat.txt", head.encode()) is expected
    assert not (expected and whatsapp.detects("chat.txt", head.encode()))


def test_another_encoding_and_an_entry_without_end_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"小组\.txt:1: expected UTF-8, got byte 0x.*iconv -f GB18030"):
        parse(tmp_path, HEAD.encode("gb18030"))
    with pytest.raises(DataError, match=r"小组\.txt:1: expected entries of at most 1048576 characters"):
        parse(tmp_path, "2020-01-01 10:00:00 小明(12345)\n" + ("x" * 1000 + "\n") * 1100)


DATES = ["2020-01-01 10:00:00", "1883-03-07 8:05:03", "2020-02-31 10:00:00", "PM", "下午"]
NAMED = ["小明", "(12345)", "(1)", "<a@b.cc>", "【管理员】", "系统消息(10000)"]
PIECES = [
    " ",
    "\n",
    "\n\n",
    "\r\n",
    RULE,
    "消息分组:",
    "消息对象:",
    "@",
    "[图片]",
    "撤回了一条消息",
    "hi",
    "\u2028",
    "\0",
]
FRAGMENTS = st.sampled_from(DATES + NAMED + PIECES)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(FRAGMENTS, max_size=40).map("".join))
def test_any_lines_of_fragments_are_accounted_for(tmp_path, content):
    rows = parse(tmp_path, content)
    lines = content.split("\n")
    covered = {row.line for row in rows}
    assert len(covered) == len(rows)
    assert sorted(covered) == [row.line for row in rows]
    for row, following in zip_longest(rows, rows[1:]):
        end = following.line if following else len(lines) + 1
        if isinstance(row, Skipped):
            assert row.reason == ("file_head" if lines[row.line - 1].strip() else "blank")
            assert not "".join(lines[row.line : end - 1]).strip()  # nothing is lost after a head's line
        elif row.kind == "text" and "@" not in row.text:
            block = [line.rstrip("\r") for line in lines[row.line : end - 1] if line.strip()]
            assert row.text == "\n".join(block).strip()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_bytes_give_rows_or_a_data_error(tmp_path, data):
    qq.detects("x", data)
    try:
        rows = parse(tmp_path, "2020-01-01 10:00:00 小明(12345)\n".encode() + data)
    except DataError as error:
        refused = error.message
    else:
        assert rows
        return
    assert re.search(r"小组\.txt:\d+: expected", refused)


HOSTILE = ("@" * 100_000, "@a " * 50_000, "[图片" * 50_000, "(" * 100_000, "【" * 100_000, "====== =" * 20_000)
HOSTILE_NAMES = ("(1" * 50_000, "<a@b" * 30_000, "a" + " " * 100_000, "【】" * 50_000)


@pytest.mark.parametrize("hostile", [*HOSTILE, *(f"2020-01-01 10:00:00 {name}" for name in HOSTILE_NAMES)])
def test_hostile_lines_take_linear_time(tmp_path, hostile):
    started = datetime.now()
    parse(tmp_path, f"2020-01-01 10:00:00 小明(12345)\n{hostile}\n\n{hostile}\n")
    assert (datetime.now() - started).total_seconds() < 2
