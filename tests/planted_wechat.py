"""The planted chat as today's tools for WeChat and QQ write it."""

import json
from collections.abc import Callable, Iterator
from functools import partial

Times = Callable[[], Iterator[tuple[int, int, str, str]]]  # number, UTC seconds, sender and text of each message


def account(who: str) -> str:
    return f"wxid_{sum(map(ord, who))}abc"


def document(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode()


def chatlab(times: Times) -> bytes:
    messages = [
        {"sender": account(who), "accountName": who, "timestamp": at, "type": 0, "content": text}
        for _, at, who, text in times()
    ]
    members = [
        {"platformId": account(who), "accountName": who} for who in dict.fromkeys(who for _, _, who, _ in times())
    ]
    meta = {"name": "g", "platform": "wechat", "type": "group", "groupId": "1"}
    return document({"chatlab": {"version": "0.0.2"}, "meta": meta, "members": members, "messages": messages})


def qq_message(number: int, at: int, who: str, text: str) -> dict[str, object]:
    """A message, of whose sender the name alone is told beside a number."""
    elements = [{"type": "text", "data": {"text": text}}]
    return {
        "id": str(number + 1),
        "seq": str(number),
        "timestamp": at * 1000,
        "sender": {"uid": f"u_{len(who)}", "uin": str(10_000 + sum(map(ord, who))), "name": who},
        "type": "text",
        "content": {"text": text, "html": "", "elements": elements, "resources": [], "mentions": []},
        "recalled": False,
        "system": False,
    }


def qq_chat_exporter(times: Times) -> bytes:
    head = {"metadata": {"name": "QQChatExporter"}, "chatInfo": {"name": "g", "type": "group"}, "statistics": {}}
    return document(head | {"messages": [qq_message(*each) for each in times()]})


def qq_chunk(times: Times) -> bytes:
    return "".join(json.dumps(qq_message(*each), ensure_ascii=False) + "\n" for each in times()).encode()


EXPORTS = {"chatlab.json": chatlab, "qce.json": qq_chat_exporter, "c000001.jsonl": qq_chunk}


def exports(times: Times) -> dict[str, Callable[[], bytes]]:
    """File of each format -> its content, of what is said at some times."""
    return {name: partial(make, times) for name, make in EXPORTS.items()}
