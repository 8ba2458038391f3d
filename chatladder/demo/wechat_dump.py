"""Write simulated messages in the form of a WeChat callback log: one pretty-printed JSON object after another.

The shape is the one that the public HuixiangDou reader takes (InternLM/HuixiangDou, ``huixiangdou/frontend/wechat.py``
and ``sft/reconstruct_wechat_group.py``); every identifier is invented.
"""

import json
from collections.abc import Callable
from html import escape

from chatladder.demo.chat import ASSISTANT, Part, nickname
from chatladder.privacy.secret import DEMO_GROUP

BOT = "wxid_b0000000x"
FIRST_MESSAGE_ID = 1_040_000_000
FIRST_SERVER_ID = 7_100_000_000_000_000_000


def dump_record(part: Part, index: int) -> str:
    """One message as the text of one JSON object, with a newline at its end.

    ``index`` counts the chat's messages from 0; identifiers follow from it, so quotes and recalls find their message.
    """
    if part.sender == ASSISTANT:
        fields = {"groupId": DEMO_GROUP, "answer": part.text, "timestamp": part.timestamp}
        return json.dumps(fields, ensure_ascii=False, indent=2) + "\n"
    message_type, content, more = _BODIES[part.kind](part)
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


def _text(part: Part) -> tuple[str, str, dict[str, object]]:
    return "80001", part.text, {"atlist": list(part.mentions)} if part.mentions else {}


def _quote(part: Part) -> tuple[str, str, dict[str, object]]:
    xml = (
        f"<msg><appmsg><title>{escape(part.text)}</title><type>57</type><refermsg><type>1</type>"
        f"<svrid>{server_id(part.refers_to)}</svrid></refermsg></appmsg></msg>"
    )
    return "80014", xml, {"title": part.text}


def _image(part: Part) -> tuple[str, str, dict[str, object]]:
    return "80002", '<?xml version="1.0"?><msg><img length="48213" hdlength="0" /></msg>', {}


def _file(part: Part) -> tuple[str, str, dict[str, object]]:
    xml = f'<?xml version="1.0"?><msg><appmsg><title>{escape(part.text)}</title><type>6</type></appmsg></msg>'
    return "80009", xml, {"pushContent": f"{nickname(part.sender)}: [文件] {part.text}"}


def _link(part: Part) -> tuple[str, str, dict[str, object]]:
    xml = (
        f"<msg><appmsg><title>{escape(part.text)}</title><url>https://example.com/a</url><type>5</type></appmsg></msg>"
    )
    return "80007", xml, {}


def _emoji(part: Part) -> tuple[str, str, dict[str, object]]:
    return "80006", '<msg><emoji type="2" len="9312" /></msg>', {}


def _recall(part: Part) -> tuple[str, str, dict[str, object]]:
    xml = (
        '<sysmsg type="revokemsg"><revokemsg>'
        f"<newmsgid>{server_id(part.refers_to)}</newmsgid>"
        f"<replacemsg>{nickname(part.sender)} 撤回了一条消息</replacemsg></revokemsg></sysmsg>"
    )
    return "80010", xml, {}


def _joined(part: Part) -> tuple[str, str, dict[str, object]]:
    xml = f'<sysmsg type="sysmsgtemplate"><content>{nickname(part.sender)} 加入了群聊</content></sysmsg>'
    return "80010", xml, {}


_BODIES: dict[str, Callable[[Part], tuple[str, str, dict[str, object]]]] = {
    "text": _text,
    "quote": _quote,
    "image": _image,
    "file": _file,
    "link": _link,
    "emoji": _emoji,
    "recall": _recall,
    "joined": _joined,
}
