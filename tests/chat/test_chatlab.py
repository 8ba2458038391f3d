"""ChatLab's standard format: JSON and lines, kinds, people, replies, and what is refused."""

import json

import pytest

from chatladder.chat.message import Message, Skipped
from chatladder.io.console import DataError
from tests.reading import Reading, person

HEAD = {"version": "0.0.2", "exportedAt": 1703001600}
META = {"name": "Club", "platform": "wechat", "type": "group", "groupId": "38988428513"}
ANN = {"platformId": "wxid_ann", "accountName": "王小明", "groupNickname": "咸鱼翻了个身", "aliases": ["明明不是我"]}


def message(**fields):
    base = {"sender": "wxid_bob", "accountName": "qx_tibor77", "timestamp": 1703001600, "type": 0, "content": "hello"}
    return base | fields


def document(*messages, **fields):
    return json.dumps(
        {"chatlab": HEAD, "meta": META, "members": [ANN], "messages": list(messages)} | fields,
        ensure_ascii=False,
        indent=1,
    )


def lines(*messages, meta=META):
    entries = [{"_type": "header", "chatlab": HEAD, "meta": meta}, {"_type": "member"} | ANN]
    entries += [{"_type": "message"} | each for each in messages]
    return "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in entries)


def test_a_document_and_lines_hold_the_same(tmp_path):
    said = [
        message(platformMessageId="7"),
        message(type=25, content="yes", replyToMessageId="7", platformMessageId="8"),
    ]
    as_document = Reading(tmp_path / "a.json", document(*said)).messages
    as_lines = Reading(tmp_path / "a.jsonl", "# from a tool\n\n" + lines(*said)).messages
    assert [each._replace(line=1) for each in as_document] == [each._replace(line=1) for each in as_lines]
    assert as_lines[1] == Message(
        6, "38988428513", "wxid_bob", 1703001600, "text", "yes", own_id="8", reply_to="7", typed="yes"
    )


def test_every_name_of_a_member_leads_to_one_pseudonym(tmp_path):
    texts = [message(content=f"@{name} 看下") for name in ("王小明", "咸鱼翻了个身", "明明不是我")]
    assert set(Reading(tmp_path / "a.json", document(*texts)).said) == {("text", f"@{person('wxid_ann')} 看下")}


def test_who_is_only_mentioned_is_known_by_name(tmp_path):
    said = [
        message(content="@陌生人某某\u2005在吗"),
        message(content="@所有人\u2005开会"),
        message(content="@dataclass x"),
    ]
    assert Reading(tmp_path / "a.json", document(*said)).said == [
        ("text", f"@{person('陌生人某某')}\u2005在吗"),
        ("text", "@all 开会"),
        ("text", "@dataclass x"),
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"type": 1, "content": "media/images/a.jpg"}, ("image", "")),
        ({"type": 2, "content": "[语音消息]"}, ("other", "")),
        ({"type": 5, "content": "[表情包]"}, ("other", "")),
        ({"type": 4, "content": "[文件] 报告.pdf"}, ("file", "报告.pdf")),
        ({"type": 7, "content": "[链接] 标题 https://a.org/x"}, ("link", "标题 https://a.org/x")),
        ({"type": 7, "content": "[标题](https://a.org/x)"}, ("link", "标题 https://a.org/x")),
        ({"type": 80, "content": '"张三丰某"邀请"李四光某"加入了群聊'}, ("system", "")),
        ({"type": 81, "content": "张三丰某撤回了一条消息"}, ("system", "")),
        ({"type": 0, "sender": "SYSTEM", "content": "x"}, ("system", "")),
        ({"type": 25, "content": "装好了[引用 王小明：怎么装]"}, ("text", "装好了")),
        ({"type": 0, "content": "他写[引用 王小明：怎么装]"}, ("text", "他写[引用 {}：怎么装]")),
        ({"type": 99, "content": None}, ("other", "")),
        ({"type": ["0"], "content": {"a": 1}}, ("other", "")),
    ],
)
def test_kinds(tmp_path, fields, expected):
    kind, text = expected
    assert Reading(tmp_path / "a.json", document(message(**fields))).said == [(kind, text.format(person("wxid_ann")))]


def test_whom_a_notice_names_becomes_known(tmp_path):
    said = [message(type=80, content='"张三丰某"邀请"李四光某"加入了群聊'), message(content="张三丰某来了")]
    assert Reading(tmp_path / "a.json", document(*said)).said[1] == ("text", f"{person('张三丰某')}来了")


def test_what_is_no_message_is_counted(tmp_path):
    reading = Reading(tmp_path / "a.json", document(message(sender=""), 7, message()))
    assert [each.reason for each in reading.items if isinstance(each, Skipped)] == ["no_sender", "not_a_message"]
    reading = Reading(tmp_path / "a.jsonl", "#\n" + lines(message(), meta={}) + '{"_type": "x"}\n')
    assert [each.reason for each in reading.items if isinstance(each, Skipped)] == [
        "blank",
        "file_head",
        "not_a_message",
    ]
    assert reading.messages[0].group == "a"


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (document(message(timestamp=1703001600000)), r"a\.json:\d+: expected a timestamp in seconds, .*milliseconds"),
        (document(message())[:-9], r"a\.json:\d+: expected whole JSON"),
        (lines(message()) + "{", r"a\.json:4: expected one whole JSON object on the line"),
        (lines(message()) + "[]\n", r"a\.json:4: expected a JSON object, got list"),
    ],
)
def test_refusals_name_file_and_line(tmp_path, content, match):
    with pytest.raises(DataError, match=match):
        Reading(tmp_path / "a.json", content)
