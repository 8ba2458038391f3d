"""WeFlow's JSON, plain and with a list of senders, and its text."""

import json

import pytest

from chatladder.chat.message import Message, Skipped
from chatladder.io.console import DataError
from tests.reading import Reading, person

ROOM = "20814553575@chatroom"
AT = 1705312800


def message(content="hello", type_="文本消息", **fields):
    base = {"localId": 1, "createTime": AT, "formattedTime": "2024-01-15 18:00:00", "type": type_, "content": content}
    return base | {"isSend": 0, "senderUsername": "wxid_ann", "senderDisplayName": "王小明某", "source": ""} | fields


def document(*messages, **fields):
    head = {"weflow": {"version": "4.3.0"}, "session": {"wxid": ROOM, "nickname": "群", "type": "群聊"}}
    return json.dumps(head | fields | {"messages": list(messages)}, ensure_ascii=False, indent=2)


def test_a_message_has_id_and_answer(tmp_path):
    answer = message("装好了[引用 李四光某：怎么[装]]", "引用消息", platformMessageId="8", replyToMessageId="7")
    reading = Reading(tmp_path / "a.json", document(answer, message("李四光某说")))
    assert reading.messages[0]._replace(line=0, typed=None) == Message(
        0, ROOM, "wxid_ann", AT, "text", "装好了", own_id="8", reply_to="7"
    )
    assert reading.said[1] == ("text", f"{person('李四光某')}说")


def test_senders_are_told_by_number(tmp_path):
    senders = [
        {
            "senderID": 1,
            "wxid": "wxid_bob",
            "displayName": "咸鱼翻了个身",
            "nickname": "王小明某",
            "groupNickname": "明",
        }
    ]
    compact = {
        "localId": 1,
        "createTime": AT,
        "type": "文本消息",
        "content": "@王小明某 hi",
        "senderID": 1,
        "source": "",
    }
    reading = Reading(tmp_path / "a.json", document(compact, senders=senders))
    assert reading.messages[0].sender == "wxid_bob"
    assert reading.said == [("text", f"@{person('wxid_bob')} hi")]


def test_mentions_have_the_ids_beside_the_text(tmp_path):
    source = "<msgsource><atuserlist><![CDATA[wxid_bob,wxid_eve]]></atuserlist></msgsource>"
    mention = message("@咸鱼翻了个身\u2005@李四光某\u2005看下", source=source)
    reading = Reading(tmp_path / "a.json", document(mention, message("咸鱼翻了个身在吗")))
    bob, eve = person("wxid_bob"), person("wxid_eve")
    assert reading.said == [("text", f"@{bob} @{eve} 看下"), ("text", f"{bob}在吗")]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"type_": "图片消息", "content": "media/images/a.jpg"}, ("image", "")),
        ({"type_": "语音消息", "content": "[语音消息]"}, ("other", "")),
        ({"type_": "动画表情", "content": "[表情包]"}, ("other", "")),
        ({"type_": "文件消息", "content": "[文件] 报告.pdf"}, ("file", "报告.pdf")),
        ({"type_": "文件消息", "content": "media/files/报告.pdf"}, ("file", "报告.pdf")),
        ({"type_": "链接消息", "content": "[链接] 标题 https://a.org/x"}, ("link", "标题 https://a.org/x")),
        ({"type_": "聊天记录", "content": "[聊天记录] x"}, ("other", "")),
        ({"type_": "系统消息", "content": "x", "senderUsername": ""}, ("system", "")),
        ({"content": None}, ("text", "")),
    ],
)
def test_kinds(tmp_path, fields, expected):
    assert Reading(tmp_path / "a.json", document(message(**fields))).said == [expected]


def test_what_is_no_message_is_counted(tmp_path):
    reading = Reading(tmp_path / "a.json", document(message(senderUsername=None), 7, message()))
    assert [each.reason for each in reading.items if isinstance(each, Skipped)] == ["no_sender", "not_a_message"]


TEXT = """2024-01-15 18:00:00 '王小明某'
第一行

第三行

2024-01-15 18:01:00 'it's me'
装好了[引用 李四光某：怎么装]

2024-01-15 18:02:00 '王小明某'
[图片]

2024-01-15 18:03:00 '王小明某'
media/files/报告.pdf

2024-01-15 18:04:00 '王小明某'
"赵六七某"撤回了一条消息

2024-01-15 18:05:00 '王小明某'
赵六七某和@李四光某 都不在

"""


def test_text(tmp_path):
    reading = Reading(tmp_path / "club.txt", TEXT, "Asia/Shanghai")
    assert [(each.group, each.sender, each.timestamp) for each in reading.messages[:2]] == [
        ("club", "王小明某", AT),
        ("club", "it's me", AT + 60),
    ]
    assert reading.said == [
        ("text", "第一行\n\n第三行"),
        ("text", "装好了"),
        ("image", ""),
        ("file", "报告.pdf"),
        ("system", ""),
        ("text", f"{person('赵六七某')}和@{person('李四光某')} 都不在"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.json", document(message(createTime="x")), r"a\.json:11: expected a timestamp"),
        ("a.json", document(message())[:-9], r"a\.json:\d+: expected whole JSON"),
        ("a.txt", "2024-01-15 18:00:00 'a'\nb\n\n2024-02-31 18:00:00 'a'\nb\n", r"a\.txt:4: expected a timestamp"),
        ("a.txt", "2024-01-15 18:00:00 'a'\n" + ("b" * 1000 + "\n") * 1100, r"a\.txt:1: expected messages of at most"),
        ("a.txt", b"2024-01-15 18:00:00 'a'\n" + "怎么".encode("gb18030"), r"a\.txt:2: expected UTF-8"),
    ],
)
def test_refusals_name_file_and_line(tmp_path, name, content, match):
    with pytest.raises(DataError, match=match):
        Reading(tmp_path / name, content)


def test_echotrace_has_no_header(tmp_path):
    theirs = json.loads(document(message()))
    del theirs["weflow"]
    assert Reading(tmp_path / "a.json", json.dumps(theirs)).said == [("text", "hello")]
