"""Write simulated messages in the form of a WeChat callback log: one pretty-printed JSON object after another.

The shape is the one that the public HuixiangDou reader takes (InternLM/HuixiangDou, ``huixiangdou/frontend/wechat.py``
and ``sft/reconstruct_wechat_group.py``); every identifier is invented.
"""

import json
from html import escape

from chatladder.demo.chat import ASSISTANT, Part, nickname
from chatladder.privacy.secret import DEMO_GROUP

BOT = "wxid_b0000000x"
_XML = '<?xml version="1.0"?>'
FIRST_MESSAGE_ID = 1_040_000_000
FIRST_SERVER_ID = 7_100_000_000_000_000_000


def dump_record(part: Part, index: int) -> str:
    """One message as the text of one JSON object, with a newline at its end.

    ``index`` counts the chat's messages from 0; identifiers follow from it, so quotes and recalls find their message.
    """
    if part.sender == ASSISTANT:
        fields = {"groupId": DEMO_GROUP, "answer": part.text, "timestamp": part.timestamp}
        return json.dumps(fields, ensure_ascii=False, indent=2) + "\n"
    message_type, content, more = _body(part)
    lines = [
        "{",
        '  "wcId": "wxid_b0000000x",',
        '  "account": "1064930000",',
        f'  "messageType": "{message_type}",',
        '  "data": {',
        '    "wId": "f2b1c9d0",',
        f'    "fromUser": "{part.sender}",',
        f'    "fromGroup": "{DEMO_GROUP}",',
        f'    "toUser": "{BOT}",',
        f'    "msgId": {FIRST_MESSAGE_ID + index},',
        f'    "newMsgId": {server_id(index)},',
        f'    "timestamp": {part.timestamp},',
        *(f'    "{name}": {json.dumps(value, ensure_ascii=False)},' for name, value in more.items()),
        f'    "content": {json.dumps(content, ensure_ascii=False)},',
        '    "self": false',
        "  }",
        "}",
    ]
    return "\n".join(lines) + "\n"


def server_id(index: int) -> int:
    """The identifier by which a later message quotes or recalls this one."""
    return FIRST_SERVER_ID + index * 1_009


def _body(part: Part) -> tuple[str, str, dict[str, object]]:
    """The number of the message's type, its content, and what else it has."""
    match part.kind:
        case "text":
            return "80001", part.text, {"atlist": list(part.mentions)} if part.mentions else {}
        case "quote":
            quoted = f"<refermsg><type>1</type><svrid>{server_id(part.refers_to)}</svrid></refermsg>"
            return "80014", _app(part, f"<type>57</type>{quoted}"), {"title": part.text}
        case "image":
            return "80002", f'{_XML}<msg><img length="48213" hdlength="0" /></msg>', {}
        case "file":
            pushed = f"{nickname(part.sender)}: [文件] {part.text}"
            return "80009", _XML + _app(part, "<type>6</type>"), {"pushContent": pushed}
        case "link":
            return "80007", _app(part, "<url>https://example.com/a</url><type>5</type>"), {}
        case "emoji":
            return "80006", '<msg><emoji type="2" len="9312" /></msg>', {}
        case "recall":
            said = f"<replacemsg>{nickname(part.sender)} 撤回了一条消息</replacemsg>"
            recalled = f"<revokemsg><newmsgid>{server_id(part.refers_to)}</newmsgid>{said}</revokemsg>"
            return "80010", f'<sysmsg type="revokemsg">{recalled}</sysmsg>', {}
        case _:
            joined = f"<content>{nickname(part.sender)} 加入了群聊</content>"
            return "80010", f'<sysmsg type="sysmsgtemplate">{joined}</sysmsg>', {}


def _app(part: Part, more: str) -> str:
    return f"<msg><appmsg><title>{escape(part.text)}</title>{more}</appmsg></msg>"
