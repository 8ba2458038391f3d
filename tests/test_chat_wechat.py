"""The WeChat callback dump: kinds, mentions, quotes, recalls, and what a hostile member may send."""

import json

import pytest

from stages.chat.formats import wechat
from stages.chat.message import Context, Message, Skipped
from stages.chat.source import Source
from stages.cli import DataError
from stages.privacy.pseudonyms import Pseudonyms

NAMES = Pseudonyms("key")
GROUP = "20814553575@chatroom"


def record(type_="80001", **data):
    base = {"fromGroup": GROUP, "fromUser": "wxid_a", "newMsgId": 11, "timestamp": 1672531200, "content": "text"}
    return {"wcId": "wxid_bot", "messageType": type_, "data": base | data}


def parse(tmp_path, *records, indent=2):
    path = tmp_path / "chat.json"
    path.write_text(
        "".join(json.dumps(each, ensure_ascii=False, indent=indent) + "\n" for each in records), encoding="utf-8"
    )
    return list(wechat.parse(Source(path), Context(NAMES)))


def one(tmp_path, type_, **data):
    return parse(tmp_path, record(type_, **data))[0]


@pytest.mark.parametrize("indent", [None, 2])
def test_pretty_printed_and_compact_objects(tmp_path, indent):
    rows = parse(tmp_path, record(), record(content='{"a": "}"}\n}'), indent=indent)
    lines = (1, 2) if indent is None else (1, 12)
    assert rows == [
        Message(lines[0], GROUP, "wxid_a", 1672531200, "text", "text", own_id="11", typed="text"),
        Message(lines[1], GROUP, "wxid_a", 1672531200, "text", '{"a": "}"}\n}', own_id="11", typed='{"a": "}"}\n}'),
    ]


@pytest.mark.parametrize("type_", ["80001", 80001, 5, "9"])
def test_text_under_every_type_number(tmp_path, type_):
    assert one(tmp_path, type_).kind == "text"


@pytest.mark.parametrize(
    ("type_", "data", "kind", "text"),
    [
        ("80002", {"content": "<msg><img/></msg>"}, "image", ""),
        ("80009", {"content": "", "pushContent": "张三 : [文件]a b.pdf"}, "file", "a b.pdf"),
        ("80009", {"content": "<appmsg><title>c&amp;d.zip</title></appmsg>"}, "file", "c&d.zip"),
        (
            "80007",
            {"content": "<title><![CDATA[部署 <指南>]]></title><url>https://a.cn/?x=1&amp;y=2</url>"},
            "link",
            "部署 <指南> https://a.cn/?x=1&y=2",
        ),
        ("80006", {"content": "<msg><emoji fromusername='wxid_a'/></msg>"}, "other", ""),
        ("80010", {"content": '<sysmsg type="x"><content>张三 joined</content></sysmsg>'}, "system", ""),
    ],
)
def test_kinds(tmp_path, type_, data, kind, text):
    row = one(tmp_path, type_, **data)
    assert (row.kind, row.text) == (kind, text)


def test_a_quote_is_what_its_sender_wrote_and_answers_the_quoted_message(tmp_path):
    content = "<appmsg><title>x</title><refermsg><svrid>99</svrid><displayname>张三</displayname></refermsg></appmsg>"
    row = one(tmp_path, "80014", title="这个怎么装", content=content)
    assert (row.kind, row.text, row.reply_to) == ("text", "这个怎么装", "99")


def test_a_recall_names_the_message_that_it_takes_back(tmp_path):
    content = '<sysmsg type="revokemsg"><newmsgid>99</newmsgid><replacemsg>"张三" recalled</replacemsg></sysmsg>'
    row = one(tmp_path, "80010", content=content)
    assert (row.kind, row.text, row.recalls) == ("system", "", "99")


def test_a_recall_typed_as_text_is_only_text(tmp_path):
    content = '<sysmsg type="revokemsg"><newmsgid>99</newmsgid></sysmsg>'
    row = one(tmp_path, "80001", content=content)
    assert (row.kind, row.text, row.recalls) == ("text", content, None)


def test_entities_are_not_expanded(tmp_path):
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><title>&b;</title>'
    assert one(tmp_path, "80009", content=bomb).text == "&b;"


def test_answers_of_the_assistant_take_the_time_of_the_message_before(tmp_path):
    rows = parse(
        tmp_path, record(), {"groupId": GROUP, "answer": "yes"}, {"groupId": GROUP, "answer": "", "timestamp": 5}
    )
    assert [(row.sender, row.timestamp, row.kind, row.text) for row in rows[1:]] == [
        ("assistant", 1672531200, "text", "yes"),
        ("assistant", 5, "text", ""),
    ]


def test_records_that_are_no_group_message_are_skipped_by_name(tmp_path):
    private, no_group, no_sender = record("60001"), record(), record()
    del no_group["data"]["fromGroup"], no_sender["data"]["fromUser"]
    rows = parse(tmp_path, private, no_group, no_sender, {"messageType": "00000"}, {"answer": "x"})
    assert [row.reason for row in rows if isinstance(row, Skipped)] == [
        "private_chat",
        "no_group",
        "no_sender",
        "not_a_message",
        "no_group",
    ]


B, C = NAMES.person("wxid_b"), NAMES.person("wxid_c")


@pytest.mark.parametrize(
    ("text", "at_list", "expected"),
    [
        ("@李 四\u2005@王五\u2005看下", ["wxid_b", "wxid_c"], f"@{B} @{C} 看下"),
        ("@李四\u2005对，@李四\u2005@王五\u2005", ["wxid_b", "wxid_c"], f"@{B} 对，@{B} @{C} "),
        ("@李四\u2005@王五\u2005", ["wxid_b"], f"@{B} @<user> "),
        ("@李四\u2005看下", None, "@<user> 看下"),
        ("@所有人\u2005开会", ["notify@all"], "@all 开会"),
        ("@Tom 看下 a@b.cn", ["wxid_b"], f"@{B} 看下 a@b.cn"),
        ("@李四 看下", [], "@<user> 看下"),
        ("@李四你看这个怎么装", [], "@李四你看这个怎么装"),
        ("@property 和 @types/node 报错", [], "@property 和 @types/node 报错"),
        ("no mention", ["wxid_b"], "no mention"),
    ],
)
def test_mentions_become_pseudonyms(text, at_list, expected):
    assert wechat.replace_mentions(text, at_list, NAMES) == expected


WHOLE = json.dumps(record(), indent=2) + "\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (WHOLE + WHOLE[:-20], r"chat\.json:12: expected one whole JSON object, but the file ends before it does"),
        (WHOLE[:-20] + "\n" + WHOLE, r"chat\.json:1: .* the next object starts before it ends"),
        (WHOLE + WHOLE.replace('"text"', '"te'), r"chat\.json:12: .* at line \d+"),
        (WHOLE + '{"messageType": [}\n', r"chat\.json:12: expected one whole JSON object"),
        (WHOLE + WHOLE.replace("1672531200", "1672531200000"), r"chat\.json:12: .*milliseconds"),
        (WHOLE + WHOLE.replace("1672531200", "1" * 5000), r"chat\.json:12: .* ValueError"),
        (
            WHOLE.encode() + WHOLE.replace("text", "怎么").encode("gb18030"),
            r"chat\.json:20: expected UTF-8, got byte 0x",
        ),
    ],
)
def test_refusals_name_file_and_line(tmp_path, content, message):
    path = tmp_path / "chat.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    with pytest.raises(DataError, match=message):
        list(wechat.parse(Source(path), Context(NAMES)))
