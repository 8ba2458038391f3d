"""MemoTrace's CSV of all chats and of one, before and since 3.0, and its text."""

import csv
import io

import pytest

from chatladder.chat.message import Message, Skipped
from chatladder.io.console import DataError
from tests.reading import Reading, person

AT = 1705312800
NUMBERED = "localId,TalkerId,Type,SubType,IsSender,CreateTime,Status,StrContent,StrTime,Remark,NickName,Sender"
LABELLED = "消息ID,类型,发送人,时间,内容,备注,昵称,更多信息"


def table(head, *rows):
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return f"\ufeff{head}\r\n{out.getvalue()}"


def numbered(content, *names, talker=4, type_=1, subtype=0, is_self=0):
    return (1, talker, type_, subtype, is_self, AT, "", content, "2024-01-15 18:00:00", *names)


def labelled(content, type_="文本", who="小明同学某", own_id="7"):
    return (own_id, type_, who, "2024-01-15 18:00:00", content, "小明同学某", "王小明某", "more")


def test_one_chat_has_every_name_of_who_speaks(tmp_path):
    rows = [numbered("@王小明某 和小明同学某", "", "李四光某", "wxid_bob")]
    rows.append(numbered("hi", "小明同学某", "王小明某", "wxid_ann"))
    reading = Reading(tmp_path / "群_utf8.csv", table(NUMBERED, *rows))
    ann = person("wxid_ann")
    assert [(each.group, each.sender, each.timestamp) for each in reading.messages] == [
        ("群", "wxid_bob", AT),
        ("群", "wxid_ann", AT),
    ]
    assert reading.said[0] == ("text", f"@{ann} 和{ann}")


def test_in_all_chats_names_beside_who_speaks_are_the_chats(tmp_path):
    rows = [numbered("hi", "备注群", "交流群某", "王小明某"), numbered("好", "备注群", "交流群某", "我", is_self=1)]
    rows.append(numbered("交流群某的王小明某", "李四光某", "李四", "李四", talker=9))
    reading = Reading(tmp_path / "messages.csv", table(NUMBERED, *rows))
    assert [(each.group, each.sender) for each in reading.messages] == [("4", "王小明某"), ("4", "我"), ("9", "李四")]
    assert reading.said[2] == ("text", f"交流群某的{person('王小明某')}")


def test_a_private_chat_of_the_first_version_names_nobody(tmp_path):
    reading = Reading(tmp_path / "王小明某.csv", table(NUMBERED, numbered("hi"), numbered("好", is_self=1)))
    assert [each.sender for each in reading.messages] == ["王小明某", "我"]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (numbered("<msg><img/></msg>", "", "a", "wxid_a", type_=3), ("image", "")),
        (numbered("<msg><emoji/></msg>", "", "a", "wxid_a", type_=47), ("other", "")),
        (numbered("", "", "a", "wxid_a", type_=49, subtype=57), ("other", "")),
        (numbered("<msg/>", "", "a", "wxid_a", type_=49, subtype=6), ("file", "")),
        (numbered('"王小明某" 撤回了一条消息', "", "", "", type_=10000), ("system", "")),
        (numbered("", "", "a", "wxid_a"), ("other", "")),
    ],
)
def test_kinds_by_number(tmp_path, cells, expected):
    assert Reading(tmp_path / "a.csv", table(NUMBERED, cells)).said == [expected]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (labelled("装好了\n引用：李四光某: 怎么装\n第二行", "引用消息"), ("text", "装好了")),
        (labelled("【图片】", "图片"), ("image", "")),
        (labelled("【语音】你好", "语音"), ("other", "")),
        (labelled("【文件】报告.pdf", "文件"), ("file", "报告.pdf")),
        (
            labelled("【分享链接】\n标题：部署\n描述：x\n链接: https://a.org\n应用：y\n", "分享链接"),
            ("link", "部署 https://a.org"),
        ),
        (labelled('"王小明某"邀请"李四光某"加入了群聊', "系统消息", who=""), ("system", "")),
        (labelled('我拍了拍 "李四光某"', "拍一拍"), ("system", "")),
    ],
)
def test_kinds_by_label(tmp_path, cells, expected):
    assert Reading(tmp_path / "a.csv", table(LABELLED, cells)).said == [expected]


def test_since_3_rows_have_ids_and_three_names(tmp_path):
    rows = [labelled("hi"), labelled("王小明某和@小明同学某 说", who="李四光某"), ("",) * 8, labelled("x", who="")]
    reading = Reading(tmp_path / "群.csv", table(LABELLED, *rows), "Asia/Shanghai")
    assert reading.items[0] == Message(2, "群", "小明同学某", AT, "text", "hi", own_id="7", typed="hi")
    assert [each.reason for each in reading.items if isinstance(each, Skipped)] == ["blank", "no_sender"]


TEXT = """2024-01-15 18:00:00 王小明某
第一行

第三行

2024-01-15 18:01:00 a &amp; 王五六某
装好了
引用:李四光某:怎么装

2024-01-15 18:02:00 王小明某
[图片]

2024-01-15 18:03:00 "赵六七某" 撤回了一条消息

2024-01-15 18:04:00
"钱七八某"拍了拍我

2024-01-15 18:05:00 王小明某
李四光某、赵六七某、钱七八某

"""


def test_text(tmp_path):
    reading = Reading(tmp_path / "群.txt", TEXT, "Asia/Shanghai")
    assert [(each.group, each.sender, each.timestamp - AT) for each in reading.messages] == [
        ("群", "王小明某", 0),
        ("群", "a & 王五六某", 60),
        ("群", "王小明某", 120),
        ("群", "", 180),
        ("群", "", 240),
        ("群", "王小明某", 300),
    ]
    hidden = "、".join(person(name) for name in ("李四光某", "赵六七某", "钱七八某"))
    assert reading.said == [
        ("text", "第一行\n\n第三行"),
        ("text", "装好了"),
        ("image", ""),
        ("system", ""),
        ("system", ""),
        ("text", hidden),
    ]


@pytest.mark.parametrize("text", ["2024-01-15 18:00:00 王小明某\nhi\n", TEXT[TEXT.index("2024-01-15 18:03") :]])
def test_a_text_is_told_by_its_first_entry(tmp_path, text):
    assert Reading(tmp_path / "a.txt", text).format.NAME == "memotrace"


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.csv", table(NUMBERED, (1, 4, 1, 0, 0, "x", "", "a", "", "", "", "b")), r"a\.csv:2: expected a timestamp"),
        ("a.csv", table(LABELLED, labelled("a")[:-1]), r"a\.csv:2: expected 8 cells, got 7"),
        ("a.csv", table(NUMBERED) + '1,"2', r"a\.csv:2: expected CSV"),
        ("a.txt", TEXT.replace("15 18:05", "32 18:05"), r"a\.txt:18: expected a timestamp"),
    ],
)
def test_refusals_name_file_and_line(tmp_path, name, content, match):
    with pytest.raises(DataError, match=match):
        Reading(tmp_path / name, content)
