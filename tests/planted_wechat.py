"""The planted chat in the export formats of current tools for WeChat and QQ."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from zlib import crc32

Times = Callable[[], Iterator[tuple[int, int, str, str]]]  # number, UTC seconds, sender and text of each message


def account(who: str) -> str:
    return f"wxid_{crc32(who.encode()):08x}"


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
    """Return a message whose sender has only a name besides a number."""
    elements = [{"type": "text", "data": {"text": text}}]
    return {
        "id": str(number + 1),
        "seq": str(number),
        "timestamp": at * 1000,
        "sender": {"uid": f"u_{account(who)}", "uin": str(10_000 + crc32(who.encode())), "name": who},
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


def qq_text(times: Times) -> bytes:
    said = "".join(f"{who}:\n时间: {local(at)}\n内容: {text}\n\n\n" for _, at, who, text in times())
    return f"[QQChatExporter V5 / https://example.org]\n\n聊天名称: g\n\n\n{said}{'=' * 47}\n    导出完成\n".encode()


def cells(rows: Iterable[Sequence[object]]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue().encode()


def local(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def pywxdump(times: Times) -> bytes:
    """Return rows whose talkers are ids, with names in the list of users; in this chat the ids are the names."""
    head = ("id", "MsgSvrID", "type_name", "is_sender", "talker", "room_name", "msg", "src", "CreateTime")
    rows = (
        (number, number + 1, "文本", 0, who, "1@chatroom", text, "", local(at)) for number, at, who, text in times()
    )
    return cells([head, *rows])


def weflow(times: Times) -> bytes:
    messages = [
        {"localId": number, "createTime": at, "formattedTime": local(at), "type": "文本消息", "localType": 1}
        | {"content": text, "isSend": 0, "senderUsername": account(who), "senderDisplayName": who, "source": ""}
        for number, at, who, text in times()
    ]
    return document({"weflow": {"version": "1"}, "session": {"wxid": "1@chatroom"}, "messages": messages})


def weflow_text(times: Times) -> bytes:
    return "".join(f"{local(at)} '{who}'\n{text}\n\n" for _, at, who, text in times()).encode()


def memotrace(times: Times) -> bytes:
    """Return the export of all chats of an account."""
    head = "localId,TalkerId,Type,SubType,IsSender,CreateTime,Status,StrContent,StrTime,Remark,NickName,Sender"
    rows = ((number, 4, 1, 0, 0, at, "", text, local(at), "", "", who) for number, at, who, text in times())
    return f"{head}\r\n".encode("utf-8-sig") + cells(rows)


def memotrace_3(times: Times) -> bytes:
    head = ("消息ID", "类型", "发送人", "时间", "内容", "备注", "昵称", "更多信息")
    rows = ((number + 1, "文本", who, local(at), text, who, who, "more") for number, at, who, text in times())
    return cells([head, *rows])


def memotrace_text(times: Times) -> bytes:
    return "".join(f"{local(at)} {who}\n{text}\n\n" for _, at, who, text in times()).encode()


def chatlog(times: Times) -> bytes:
    messages = [
        {"seq": at * 1000, "time": f"{local(at)}Z".replace(" ", "T"), "talker": "1@chatroom", "talkerName": "g"}
        | {"isChatRoom": True, "sender": account(who), "senderName": who, "isSelf": False, "type": 1, "subType": 0}
        | {"content": text}
        for _, at, who, text in times()
    ]
    return document(messages)


def chatlog_csv(times: Times) -> bytes:
    head = ("Time", "SenderName", "Sender", "TalkerName", "Talker", "Content")
    return cells([head, *((local(at), who, account(who), "g", "1@chatroom", text) for _, at, who, text in times())])


def chatlog_text(times: Times) -> bytes:
    return "".join(f"{who}({account(who)}) {local(at)}\n{text}\n\n" for _, at, who, text in times()).encode()


EXPORTS = {
    "chatlab.json": chatlab,
    "qce.json": qq_chat_exporter,
    "c000001.jsonl": qq_chunk,
    "qce.txt": qq_text,
    "1@chatroom_0_5000.csv": pywxdump,
    "weflow.json": weflow,
    "weflow.txt": weflow_text,
    "messages.csv": memotrace,
    "group.csv": memotrace_3,
    "group.txt": memotrace_text,
    "chatlog.json": chatlog,
    "chatlog.csv": chatlog_csv,
    "chatlog.txt": chatlog_text,
}


def exports(times: Times) -> dict[str, Callable[[], bytes]]:
    """Return the functions that make each format's content from the messages of ``times``, by file name."""
    return {name: partial(make, times) for name, make in EXPORTS.items()}
