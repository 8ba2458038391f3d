"""chatlog's JSON, CSV and text, and its list of contacts."""

import csv
import io
import json

import pytest

from chatladder.chat.message import Message, Skipped
from chatladder.io.console import DataError
from tests.reading import Reading, person

ROOM = "20814553575@chatroom"
AT = 1705312800


def message(content="hello", **fields):
    base = {"seq": AT * 1000, "time": "2024-01-15T18:00:00+08:00", "talker": ROOM, "talkerName": "群"}
    base |= {"isChatRoom": True, "sender": "wxid_ann", "senderName": "王小明某", "isSelf": False}
    return base | {"type": 1, "subType": 0, "content": content} | fields


def document(*messages):
    return json.dumps(list(messages), ensure_ascii=False, indent=1)


HEAD = ("Time", "SenderName", "Sender", "TalkerName", "Talker", "Content")


def table(*rows, head=HEAD):
    out = io.StringIO()
    csv.writer(out).writerows([head, *rows])
    return out.getvalue()


def row(content, name="王小明某", sender="wxid_ann", talker=ROOM):
    return ("2024-01-15 18:00:00", name, sender, "群", talker, content)


def test_a_message_and_what_it_quotes(tmp_path):
    refer = {"sender": "wxid_bob", "senderName": "咸鱼翻了个身", "content": "怎么装", "type": 1}
    quote = message("装好了", type=49, subType=57, contents={"refer": refer})
    reading = Reading(tmp_path / "a.json", document(quote, message("咸鱼翻了个身说 @王小明某\u2005")))
    assert reading.messages[0] == Message(2, ROOM, "wxid_ann", AT, "text", "装好了", typed="装好了")
    assert reading.said[1] == ("text", f"{person('wxid_bob')}说 @{person('wxid_ann')}\u2005")


def test_a_list_may_stand_under_items(tmp_path):
    content = json.dumps({"total": 1, "items": [message("hi")]}, ensure_ascii=False)
    assert Reading(tmp_path / "a.json", content).said == [("text", "hi")]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"type": 3, "contents": {"md5": "x"}, "content": ""}, ("image", "")),
        ({"type": 47, "content": ""}, ("other", "")),
        ({"type": 49, "subType": 6, "contents": {"title": "报告.pdf"}, "content": ""}, ("file", "报告.pdf")),
        (
            {"type": 49, "subType": 5, "contents": {"title": "标题", "url": "https://a.org"}, "content": ""},
            ("link", "标题 https://a.org"),
        ),
        ({"type": 49, "subType": 62, "content": '"王小明某"拍了拍我'}, ("system", "")),
        ({"type": 10000, "sender": "系统消息", "content": '"李四光某"加入群聊'}, ("system", "")),
        ({"type": [], "subType": {}, "content": 7, "contents": 7}, ("other", "")),
    ],
)
def test_kinds(tmp_path, fields, expected):
    assert Reading(tmp_path / "a.json", document(message(**fields))).said == [expected]


def test_what_is_no_message_is_counted(tmp_path):
    reading = Reading(tmp_path / "a.json", document(message(sender=""), message(talker=""), 7, message()))
    skipped = [each.reason for each in reading.items if isinstance(each, Skipped)]
    assert skipped == ["no_sender", "no_group", "not_a_message"]


QUOTING = "> 咸鱼翻了个身(wxid_bob) 01-15 17:59:00\n> 怎么装\n> 第二行\n装好了"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (QUOTING, ("text", "装好了")),
        ("> [引用]\n装好了", ("text", "装好了")),
        ("![图片](http://127.0.0.1:5030/image/x,y)", ("image", "")),
        ("[语音](http://127.0.0.1:5030/voice/x)", ("other", "")),
        ("![动画表情](http://a.org/x)", ("other", "")),
        ("[文件|报告.pdf](http://127.0.0.1:5030/file/x)", ("file", "报告.pdf")),
        ("[链接|标题](https://a.org/x)", ("link", "标题 https://a.org/x")),
        ("[合并转发|群聊的聊天记录]\n  李四光某 2024-01-15\n  好", ("other", "")),
        ("[微笑] 好的", ("text", "[微笑] 好的")),
        ("[图片] 是我打的字", ("text", "[图片] 是我打的字")),
    ],
)
def test_rows_and_texts_hold_the_same(tmp_path, content, expected):
    text = f"王小明某(wxid_ann) 2024-01-15 18:00:00\n{content}\n\n"
    for reading in (
        Reading(tmp_path / "a.csv", table(row(content)), "Asia/Shanghai"),
        Reading(tmp_path / "a.txt", text),
    ):
        assert reading.said == [expected]
        assert reading.messages[0].sender == "wxid_ann"


def test_who_is_quoted_is_known_by_id(tmp_path):
    reading = Reading(
        tmp_path / "a.csv", table(row(QUOTING), row("咸鱼翻了个身说"), row("x", sender="系统消息", name=""))
    )
    assert reading.said[1:] == [("text", f"{person('wxid_bob')}说"), ("system", "")]


def test_the_columns_of_an_export_to_a_file(tmp_path):
    head = ("Time", "Talker", "TalkerName", "Sender", "SenderName", "IsSelf", "Type", "TypeDesc", "Content")
    rows = [
        ("2024-01-15 18:00:00", ROOM, "群", "wxid_ann", "王小明某", "false", type_, label, content)
        for type_, label, content in (
            (1, "文本消息", "hi"),
            (3, "图片消息", ""),
            (49, "引用消息", "好"),
            (34, "语音消息", ""),
        )
    ]
    reading = Reading(tmp_path / "a.csv", table(*rows, head=head))
    assert reading.said == [("text", "hi"), ("image", ""), ("text", "好"), ("other", "")]


def test_contacts_make_their_names_known(tmp_path):
    contacts = "UserName,Alias,Remark,NickName\nwxid_ann,ann_77x,小明同学某,王小明某\n"
    reading = Reading(tmp_path / "contacts.csv", contacts)
    assert reading.items == [Skipped(2, "contact")]
    assert reading.known == [("wxid_ann", "ann_77x", "小明同学某", "王小明某")]


TEXT = """王小明某(wxid_ann) [群(1@chatroom)] 01-15 18:00:00
第一行

第三行

李四光某(我) [2@chatroom] 01-15 18:01:00
hi

系统消息 [群(1@chatroom)] 01-15 18:02:00
"赵六七某"加入群聊

wxid_bob7 [群(1@chatroom)] 01-15 18:03:00
赵六七某和王小明某

"""


@pytest.mark.parametrize(("name", "first"), [("chat_2024-01-01_2024-01-31.txt", AT), ("chat.txt", None)])
def test_text_of_several_talkers(tmp_path, name, first):
    reading = Reading(tmp_path / name, TEXT, "Asia/Shanghai")
    assert [(each.group, each.sender) for each in reading.messages] == [
        ("1@chatroom", "wxid_ann"),
        ("2@chatroom", "我"),
        ("1@chatroom", ""),
        ("1@chatroom", "wxid_bob7"),
    ]
    assert reading.messages[0].timestamp == first
    assert reading.said[0] == ("text", "第一行\n\n第三行")
    assert reading.said[3] == ("text", f"{person('赵六七某')}和{person('wxid_ann')}")


def test_the_day_may_stand_in_the_name_of_the_file(tmp_path):
    text = "王小明某(wxid_ann) 18:00:00\nhi\n\n"
    reading = Reading(tmp_path / "2024-01-15.txt", text, "Asia/Shanghai")
    assert [(each.group, each.timestamp) for each in reading.messages] == [("2024-01-15", AT)]


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.json", document(message(time="x")), r"a\.json:2: expected a timestamp"),
        ("a.json", document(message())[:-9], r"a\.json:\d+: expected whole JSON"),
        ("a.csv", table(row("a"), row("b")[:-1]), r"a\.csv:3: expected 6 cells, got 5"),
        ("a.txt", "王(wxid_ann) 2024-13-15 18:00:00\nhi\n", r"a\.txt:1: expected a timestamp"),
    ],
)
def test_refusals_name_file_and_line(tmp_path, name, content, match):
    with pytest.raises(DataError, match=match):
        Reading(tmp_path / name, content)
