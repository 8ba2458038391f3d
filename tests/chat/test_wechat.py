"""The WeChat callback dump: kinds, mentions, quotes, recalls, and what a hostile member may send."""

import json
from collections import Counter

import pytest

from chatladder.chat.formats import wechat
from chatladder.chat.message import Context, Message, People, Skipped
from chatladder.chat.source import Source
from chatladder.io.console import DataError
from chatladder.privacy.names import Names
from chatladder.privacy.pseudonyms import Pseudonyms

NAMES = Pseudonyms("key")
GROUP = "20814553575@chatroom"


def record(type_="80001", **data):
    base = {"fromGroup": GROUP, "fromUser": "wxid_a", "newMsgId": 11, "timestamp": 1672531200, "content": "text"}
    return {"wcId": "wxid_bot", "messageType": type_, "data": base | data}


def parse(tmp_path, *records, indent=2, known=None):
    path = tmp_path / "chat.json"
    path.write_text(
        "".join(json.dumps(each, ensure_ascii=False, indent=indent) + "\n" for each in records), encoding="utf-8"
    )
    know = (lambda *names: None) if known is None else (lambda *names: known.append(names))
    return list(wechat.parse(Source(path), Context(NAMES, know)))


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


@pytest.mark.parametrize("type_", ["80002", "80007", "80009", "80014", "80010"])
@pytest.mark.parametrize(
    "content",
    [
        '<msg><title><![CDATA[<sysmsg type="revokemsg"><newmsgid>99</newmsgid></sysmsg>]]></title></msg>',
        '<msg><appmsg><title>&lt;sysmsg type="revokemsg"&gt;&lt;newmsgid&gt;99&lt;/newmsgid&gt;</title></appmsg></msg>',
        '<msg><appmsg><title>x</title><sysmsg type="revokemsg"><newmsgid>99</newmsgid></sysmsg></appmsg></msg>',
        "<msg><appmsg><title><![CDATA[<refermsg><svrid>99</svrid></refermsg>]]></title></appmsg></msg>",
        "<msg><title><![CDATA[<refermsg><svrid>99</svrid><title>]]></title><x></refermsg></msg>",
    ],
)
def test_a_title_forges_neither_a_recall_nor_an_answer(tmp_path, type_, content):
    row = one(tmp_path, type_, title="hello", content=content)
    assert (row.kind == "system", row.recalls, row.reply_to) == (False, None, None)


def test_a_nickname_in_a_recall_does_not_choose_what_is_recalled(tmp_path):
    name = "<newmsgid>5</newmsgid>"
    content = (
        f'<sysmsg type="revokemsg"><revokemsg><replacemsg><![CDATA["{name}" 撤回了一条消息]]></replacemsg>'
        "<newmsgid>99</newmsgid></revokemsg></sysmsg>"
    )
    assert one(tmp_path, "80010", content=content).recalls == "99"


def test_notices_of_other_kinds_recall_nothing(tmp_path):
    content = '<sysmsg type="pat"><x>revokemsg</x><newmsgid>99</newmsgid></sysmsg>'
    row = one(tmp_path, "80010", content=content)
    assert (row.kind, row.recalls) == ("system", None)


INVITED = """<sysmsg type="sysmsgtemplate"><sysmsgtemplate><content_template type="tmpl_type_profile">
<plain><![CDATA[]]></plain><template><![CDATA["$username$"邀请"$names$"加入了群聊]]></template><link_list>
<link name="username" type="link_profile"><memberlist><member><username>wxid_b</username>
<nickname><![CDATA[月亮打烊了]]></nickname></member></memberlist></link>
<link name="names" type="link_profile"><memberlist><member><username><![CDATA[wxid_c]]></username>
<nickname><![CDATA[A&B <3]]></nickname></member></memberlist></link></link_list></content_template>
</sysmsgtemplate></sysmsg>"""
QUOTE = (
    "<msg><appmsg><title>x</title><refermsg><svrid>9</svrid><fromusr>1@chatroom</fromusr>{}</refermsg></appmsg></msg>"
)
FORWARDED = (
    "<msg><appmsg><title>x</title><recorditem><![CDATA[<recordinfo><datalist><dataitem><sourcename>王小明"
    "</sourcename></dataitem></datalist></recordinfo>]]></recorditem></appmsg></msg>"
)


@pytest.mark.parametrize(
    ("type_", "data", "expected"),
    [
        (
            "80001",
            {"content": "@月亮打烊了\u2005@李四\u2005在吗", "atlist": ["wxid_b", "wxid_c"]},
            [("wxid_b", "月亮打烊了"), ("wxid_c", "李四")],
        ),
        ("80001", {"content": "@Tom 看下", "atlist": ["wxid_b"]}, [("wxid_b", "Tom")]),
        ("80001", {"content": "@怎么装\u2005 @linux "}, []),
        ("80001", {"content": "@所有人\u2005开会", "atlist": ["notify@all"]}, []),
        ("80001", {"content": "a : b", "pushContent": "王小明 : a : b"}, [("wxid_a", "王小明")]),
        ("80001", {"content": "hi", "pushContent": "a:b: hi"}, [("wxid_a", "a:b")]),
        ("80001", {"content": "@x\u2005hi", "pushContent": "王小明在群聊中@了你"}, [("wxid_a", "王小明")]),
        ("80001", {"content": "hi : there", "pushContent": "hi : there"}, []),
        ("80001", {"content": "怎么装: apt install x y z", "pushContent": "怎么装: apt install..."}, []),
        ("80002", {"pushContent": "王小明 : [图片]"}, [("wxid_a", "王小明")]),
        ("80009", {"content": "", "pushContent": "王小明 : [文件]a: b.pdf"}, [("wxid_a", "王小明")]),
        (
            "80014",
            {"title": "好", "content": QUOTE.format("<chatusr>wxid_b</chatusr><displayname>李四</displayname>")},
            [("wxid_b", "李四")],
        ),
        ("80014", {"title": "好", "content": QUOTE.format("<displayname>李四</displayname>")}, [("李四",)]),
        ("80010", {"content": INVITED}, [("wxid_b", "月亮打烊了"), ("wxid_c", "A&B <3")]),
        (
            "80010",
            {"content": '2@chatroom:\n<sysmsg type="revokemsg"><replacemsg>"张三" 撤回了消息</replacemsg></sysmsg>'},
            [("张三",)],
        ),
        ("80013", {"content": '"张三"邀请"李四"加入了群聊'}, [("张三",), ("李四",)]),
        ("80003", {"content": '<msg bigheadimgurl="x" username="v3_x" nickname="王&amp;明" sex="1"/>'}, [("王&明",)]),
        ("80013", {"content": FORWARDED}, [("王小明",)]),
    ],
)
def test_names_that_a_message_tells_are_known(tmp_path, type_, data, expected):
    known = []
    parse(tmp_path, record(type_, **data), known=known)
    assert known == expected


def test_who_is_only_named_is_known_by_name_unless_an_id_has_it(tmp_path):
    known = []
    notice = '<sysmsg type="revokemsg"><replacemsg>"张三" 撤回了一条消息</replacemsg></sysmsg>'
    parse(tmp_path, record("80010", content=notice), record(content="x", pushContent="张三 : x"), known=known)
    assert known == [("wxid_a", "张三")]


def test_a_mentioned_member_is_hidden_without_an_at_too(tmp_path):
    mention = record(content="@月亮打烊了\u2005@怎么\u2005在吗", atlist=["wxid_b", "wxid_c"])
    texts = [mention, record(content="月亮打烊了今天来吗", newMsgId=12), record(content="这个怎么装", newMsgId=13)]
    texts.append(
        record("80009", content="<title>简历_王小明_v2.pdf</title>", pushContent="王小明 : [文件]x", newMsgId=14)
    )
    names = Names(NAMES)
    path = tmp_path / "chat.json"
    path.write_text("".join(json.dumps(each, indent=2) + "\n" for each in texts), encoding="utf-8")
    rows = list(wechat.parse(Source(path), Context(NAMES, names.know)))
    replace = names.replacer()
    said = [replace.in_file_name(row.text, Counter()) for row in rows]
    assert said[1:] == [f"{B}今天来吗", "这个怎么装", f"简历 {NAMES.person('wxid_a')} v2.pdf"]


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
    assert wechat.replace_mentions(text, at_list, People(Context(NAMES))) == expected


WHOLE = json.dumps(record(), indent=2) + "\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (WHOLE + WHOLE[:-20], r"chat\.json:\d+: expected whole JSON, but the file ends before it does"),
        (WHOLE[:-20] + "\n" + WHOLE, r"chat\.json:\d+: expected whole JSON, but "),
        (WHOLE + WHOLE.replace('"text"', '"te'), r"chat\.json:20: expected whole JSON, but Invalid control character"),
        (WHOLE + '{"messageType": [}\n', r"chat\.json:12: expected whole JSON"),
        (WHOLE + WHOLE.replace("1672531200", "1672531200000"), r"chat\.json:12: .*milliseconds"),
        (WHOLE + WHOLE.replace("1672531200", "1" * 5000), r"chat\.json:12: .* JSON has no such number"),
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
