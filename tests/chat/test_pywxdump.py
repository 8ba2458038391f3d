"""PyWxDump's CSV, its list of users, and the same columns as WeFlow writes them for WeClone."""

import csv
import io
import json

import pytest

from chatladder.chat.formats import pywxdump
from chatladder.chat.message import Context, Message, Skipped
from chatladder.chat.source import Source
from chatladder.io.console import DataError
from tests.reading import NAMES, Reading, person

ROOM = "20814553575@chatroom"
HEAD = ("id", "MsgSvrID", "type_name", "is_sender", "talker", "room_name", "msg", "src", "CreateTime")
AT = 1705312800


def table(*rows, head=HEAD):
    out = io.StringIO()
    csv.writer(out).writerows([head, *rows])
    return out.getvalue()


def row(msg, type_name="文本", talker="wxid_ann", is_sender=0, src="", own_id="7"):
    return (1, own_id, type_name, is_sender, talker, ROOM, msg, src, "2024-01-15 18:00:00")


def said(tmp_path, *rows):
    return Reading(tmp_path / "a.csv", table(*rows)).said


def test_a_row_is_a_message_at_local_time(tmp_path):
    reading = Reading(tmp_path / "a.csv", table(row("hi\n2", own_id="0"), ("",) * 9, row("b")), "Asia/Shanghai")
    assert reading.items == [
        Message(2, ROOM, "wxid_ann", AT, "text", "hi\n2", typed="hi\n2"),
        Skipped(4, "blank"),
        Message(5, ROOM, "wxid_ann", AT, "text", "b", own_id="7", typed="b"),
    ]


def test_older_versions_have_text_and_path_in_one_column(tmp_path):
    head = [*HEAD[:6], "content", "CreateTime"]
    rows = [(*row("")[:6], json.dumps({"src": "", "msg": "你好"}), row("")[8]), (*row("")[:6], "[", row("")[8])]
    assert Reading(tmp_path / "a.csv", table(*rows, head=head)).said == [("text", "你好"), ("text", "[")]


def test_weflow_has_names_and_no_room(tmp_path):
    head = ("id", "MsgSvrID", "type_name", "is_sender", "talker", "msg", "src", "CreateTime")
    rows = [
        (1, "7", "text", 0, "王小明某", "看 @qx_tibor77 的", "", "2024-01-15T10:00:00.000Z"),
        (2, "8", "text", 1, "qx_tibor77", "[链接] 标题 https://a.org", "", "2024-01-15T10:00:00.000Z"),
        (3, "9", "sticker", 1, "qx_tibor77", "[动画表情]", "", "2024-01-15T10:00:00.000Z"),
        (4, "10", "file", 0, "王小明某", "[文件] 报告.pdf", "", "2024-01-15T10:00:00.000Z"),
        (5, "11", "text", 0, "王小明某", '"王小明某"撤回了一条消息', "", "2024-01-15T10:00:00.000Z"),
    ]
    reading = Reading(tmp_path / "club.csv", "\ufeff" + table(*rows, head=head))
    assert {each.group for each in reading.messages} == {"club"}
    assert [each.timestamp for each in reading.messages] == [AT] * 5
    assert reading.said == [
        ("text", f"看 @{person('我')} 的"),
        ("link", "标题 https://a.org"),
        ("other", ""),
        ("file", "报告.pdf"),
        ("system", ""),
    ]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (row("图片", "图片", src="FileStorage\\Image\\a.dat"), ("image", "")),
        (row("语音时长：2秒\n翻译结果：x", "语音"), ("other", "")),
        (row("表情", "动画表情"), ("other", "")),
        (row("文件", "文件", src="FileStorage\\File\\2024-01\\报告 2.pdf"), ("file", "报告 2.pdf")),
        (
            row('标题\n描述\n\n<a href="https://a.org/x">点击查看详情</a>', "(分享)卡片式链接"),
            ("link", "标题 https://a.org/x"),
        ),
        (row("群聊的聊天记录\n王小明: x", "合并转发的聊天记录"), ("other", "")),
        (row("装好了\n\n[引用](2024-01-15 10:00:00)王小明某:怎么装", "引用回复"), ("text", "装好了")),
        (row('"王小明某"邀请"李四光某"加入了群聊', "邀请加群", talker="系统"), ("system", "")),
        (row("x", "消息撤回5", talker="未知"), ("system", "")),
    ],
)
def test_kinds(tmp_path, cells, expected):
    assert said(tmp_path, cells) == [expected]


def test_who_is_quoted_mentioned_or_in_a_notice_is_hidden(tmp_path):
    rows = [
        row("好\n\n[引用](2024-01-15 10:00:00)王小明某:怎么装", "引用回复"),
        row("@李四光某\u2005在吗"),
        row('"赵六七某"拍了拍"我"', "拍一拍", talker="系统"),
        row("王小明某和李四光某、赵六七某"),
    ]
    hidden = [person(name) for name in ("王小明某", "李四光某", "赵六七某")]
    assert said(tmp_path, *rows)[3] == ("text", "{}和{}、{}".format(*hidden))


def test_the_list_of_users_makes_their_names_known(tmp_path):
    users = {"wxid_ann": {"wxid": "wxid_ann", "nickname": "王小明某", "remark": "小明同学某", "account": "ann_77x"}}
    reading = Reading(tmp_path / "users.json", json.dumps(users, ensure_ascii=False, indent=4))
    assert reading.items == [Skipped(1, "file_head")]
    assert reading.known == [("wxid_ann", "王小明某", "小明同学某", "ann_77x")]


def test_who_made_the_export_and_who_is_nobody(tmp_path):
    reading = Reading(tmp_path / "a.csv", table(row("a", talker="我", is_sender=1), row("b", talker="未知")))
    assert [each.sender for each in reading.messages] == ["我"]
    assert reading.items[1] == Skipped(3, "no_sender")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (table(row("a"), row("b")[:-1]), r"a\.csv:3: expected 9 cells, got 8"),
        (table((*row("a")[:-1], "yesterday")), r"a\.csv:2: expected a timestamp .* got one like 'a'"),
        ("MsgSvrID,type_name,is_sender,talker,CreateTime,a\n1,2,3,4,5\n", r"a\.csv:2: expected 6 cells"),
        (table(row("a")) + '1,"2', r"a\.csv:3: expected CSV: unexpected end of data"),
    ],
)
def test_refusals_name_file_and_line(tmp_path, content, match):
    with pytest.raises(DataError, match=match):
        Reading(tmp_path / "a.csv", content)


def test_a_header_without_the_columns_is_refused_where_the_format_is_named(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"a\.csv:1: expected the columns MsgSvrID, .*; missing MsgSvrID, "):
        list(pywxdump.parse(Source(tmp_path / "a.csv"), Context(NAMES)))


def test_the_json_has_the_same_rows(tmp_path):
    rows = [row("hi"), row("[图片]", "图片", src="a.jpg"), row("yo", talker="我", is_sender=1, own_id=9)]
    objects = [dict(zip(HEAD, each, strict=True)) | {"extra": {"x": [1]}} for each in rows]
    as_json = Reading(tmp_path / "a.json", json.dumps([*objects, {}, 7], ensure_ascii=False, indent=4))
    as_table = Reading(tmp_path / "a.csv", table(*rows))
    assert [each._replace(line=1) for each in as_json.messages] == [each._replace(line=1) for each in as_table.messages]
    assert [each.reason for each in as_json.items if isinstance(each, Skipped)] == ["blank", "blank"]
