"""qq-chat-exporter's JSON: one document, chunks, a manifest; elements, people, mentions and replies."""

import json

import pytest

from chatladder.chat.message import Message, Skipped
from chatladder.io.console import DataError
from tests.reading import Reading, person

ANN = {
    "uid": "u_ann7",
    "uin": "1234567",
    "name": "咸鱼翻了个身",
    "nickname": "王小明",
    "groupCard": "咸鱼翻了个身",
    "remark": "小明同学某",
}
BOB = {"uid": "u_bob8", "uin": "7654321", "name": "qx_tibor77"}


def element(type_, **data):
    return {"type": type_, "data": data}


def message(*elements, sender=BOB, **fields):
    content = {"text": "[回复消息]", "html": "", "elements": list(elements), "resources": [], "mentions": []}
    base = {"id": "9", "seq": "3", "timestamp": 1705312800000, "time": "2024-01-15T10:00:00.000Z", "sender": sender}
    return base | {"type": "text", "content": content, "recalled": False, "system": False} | fields


def said(text):
    return message(element("text", text=text))


HEAD = {"metadata": {"name": "QQChatExporter V5"}, "chatInfo": {"name": "群", "type": "group"}, "statistics": {}}


def document(*messages):
    return json.dumps(HEAD | {"messages": list(messages)}, ensure_ascii=False, indent=1)


def lines(*messages):
    return "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in messages)


def test_a_message_has_the_number_of_who_speaks(tmp_path):
    assert Reading(tmp_path / "a.json", document(said("hi"))).messages == [
        Message(11, "群", "7654321", 1705312800, "text", "hi", own_id="9", typed="[回复消息]")
    ]


def test_chunks_of_a_file_and_lines_beside_a_manifest_are_the_same_chat(tmp_path):
    whole = Reading(tmp_path / "a.json", document(said("a"), said("b"))).messages
    chunks = {"metadata": {}, "chunkInfo": {"totalChunks": 2}, "chunks": [HEAD | {"messages": [said("a")]}]}
    chunks["chunks"].append(HEAD | {"messages": [said("b")]})
    in_chunks = Reading(tmp_path / "b.json", json.dumps(chunks, ensure_ascii=False)).messages
    manifest = json.dumps(HEAD | {"chunked": {"format": "jsonl", "chunks": []}}, ensure_ascii=False)
    assert Reading(tmp_path / "out" / "manifest.json", manifest).items == [Skipped(1, "file_head")]
    as_lines = Reading(
        tmp_path / "out" / "chunks" / "c000001.jsonl", lines(said("a"), said("b")), name="chunks/c000001.jsonl"
    )
    assert [each._replace(line=1) for each in whole] == [each._replace(line=1) for each in in_chunks]
    assert [each._replace(line=1) for each in whole] == [each._replace(line=1) for each in as_lines.messages]


def test_pictures_of_members_hold_no_messages(tmp_path):
    assert Reading(tmp_path / "avatars.json", '{"1234567": "data:image/png;base64,xx"}').items == [
        Skipped(1, "file_head")
    ]


def test_every_name_of_a_member_leads_to_one_pseudonym(tmp_path):
    texts = [said(f"@{name} 看下") for name in ("王小明", "咸鱼翻了个身", "小明同学某")]
    reading = Reading(tmp_path / "a.json", document(message(element("text", text="hi"), sender=ANN), *texts))
    assert set(reading.said[1:]) == {("text", f"@{person('1234567')} 看下")}


def test_mentions_have_pseudonyms(tmp_path):
    mention = message(
        element("at", uid="u_ann7", uin="1234567", name="王小明"),
        element("text", text=" 和 "),
        element("at", uid="all", uin="0", name="全体成员"),
        element("at", uid="u_x", uin="0", name="陌生人某某"),
        element("text", text=" 在吗 王小明"),
    )
    ann = person("1234567")
    assert Reading(tmp_path / "a.json", document(mention)).said == [
        ("text", f"@{ann} 和 @all @{person('陌生人某某')} 在吗 {ann}")
    ]


def test_a_reply_answers_and_its_quote_is_not_said(tmp_path):
    quoted = element("reply", messageId="555", referencedMessageId="6", senderName="王小明", content="怎么装")
    reading = Reading(tmp_path / "a.json", document(message(quoted, element("text", text="apt")), said("王小明说")))
    assert (reading.messages[0].text, reading.messages[0].reply_to) == ("apt", "6")
    assert reading.said[1] == ("text", f"{person('王小明')}说")


@pytest.mark.parametrize(
    ("elements", "fields", "expected"),
    [
        ([element("image", filename="a.jpg")], {}, ("image", "")),
        ([element("image", filename="a.jpg"), element("text", text="看图")], {}, ("text", "看图")),
        ([element("file", filename="报告.pdf")], {"type": "file"}, ("file", "报告.pdf")),
        ([element("json", title="标题", url="https://a.org")], {"type": "json"}, ("link", "标题 https://a.org")),
        ([element("face", id="1", name="微笑")], {}, ("other", "")),
        ([element("market_face", name="比心")], {}, ("other", "")),
        ([element("audio", duration=3)], {"type": "audio"}, ("other", "")),
        ([element("forward", messages=[{"sender": {"name": "x"}}])], {"type": "forward"}, ("other", "")),
        ([element("system", text="张三丰某 撤回了一条消息")], {"type": "system", "system": True}, ("system", "")),
        ([element("text", text="oops")], {"recalled": True}, ("system", "")),
        ([], {"content": {"text": "old"}}, ("text", "old")),
        ([], {"content": 7}, ("other", "")),
    ],
)
def test_kinds(tmp_path, elements, fields, expected):
    assert Reading(tmp_path / "a.json", document(message(*elements, **fields))).said == [expected]


def test_whom_a_notice_names_becomes_known(tmp_path):
    notice = message(element("system", text="张三丰某 撤回了一条消息"), system=True, sender={})
    reading = Reading(tmp_path / "a.json", document(notice, said("张三丰某在吗")))
    assert (reading.messages[0].sender, reading.said[1]) == ("", ("text", f"{person('张三丰某')}在吗"))


def test_what_is_no_message_is_counted(tmp_path):
    reading = Reading(
        tmp_path / "a.json", document(message(sender={"uid": "未知", "name": "未知用户"}), None, said("a"))
    )
    assert [each.reason for each in reading.items if isinstance(each, Skipped)] == ["no_sender", "not_a_message"]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (document(said("a") | {"timestamp": -5}), r"a\.json:11: expected a timestamp in UTC seconds since 1970"),
        (document(said("a"))[:-9], r"a\.json:\d+: expected whole JSON"),
        (lines(said("a"), said("b"))[:-9], r"a\.json:2: expected whole JSON"),
        (json.dumps(HEAD), r"a\.json: expected a JSON document with \"messages\.\*\""),
    ],
)
def test_refusals_name_file_and_line(tmp_path, content, match):
    with pytest.raises(DataError, match=match):
        Reading(tmp_path / "a.json", content)


TEXT = """[QQChatExporter V5 / https://github.com/shuakami/qq-chat-exporter]
[free]

===============================================
           QQ聊天记录导出文件
===============================================

聊天名称: 俱乐部
聊天类型: 群聊


qx_tibor77:
时间: 2024-01-15 10:00:00
内容: 看这里:
时间: 明天

第二:
 @陌生人某某 来吗
提及: 陌生人某某
回复: 王小明 - what he said


王小明:
时间: 2024-01-15 10:01:00
内容: [图片: a.jpg]
资源: 1 个文件
  - image: a.jpg


王小明:
时间: 2024-01-15 10:02:00
内容: [file消息]
资源: 1 个文件
  - file: 报告.pdf


王小明:
时间: 2024-01-15 10:03:00
内容: [表情消息]


Ann:
时间: 2024-01-15 10:04:00
内容: [系统消息]

===============================================
              导出完成
===============================================
总计导出 5 条消息
导出时间: 2024-01-16 10:00:00
"""


def test_the_text_is_read(tmp_path):
    reading = Reading(tmp_path / "a.txt", TEXT, "Asia/Shanghai")
    assert [(each.group, each.sender, each.timestamp) for each in reading.messages] == [
        ("俱乐部", sender, 1_705_284_000 + 60 * minute)
        for minute, sender in enumerate(("qx_tibor77", "王小明", "王小明", "王小明", "Ann"))
    ]
    assert reading.said == [
        ("text", f"看这里:\n时间: 明天\n\n第二:\n @{person('陌生人某某')} 来吗"),
        ("image", ""),
        ("file", "报告.pdf"),
        ("other", ""),
        ("system", ""),
    ]
    assert {("王小明",), ("陌生人某某",)} == set(reading.known)  # who is quoted and mentioned
