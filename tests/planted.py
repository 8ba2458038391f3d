"""One small chat in every export format, with a secret of every kind planted in it."""

import io
import json
import zipfile
from collections.abc import Iterator

from tests import planted_wechat
from tests.planted_messengers import MESSENGERS

#: Secrets that must not appear anywhere after ingest, by kind: invented, but in a realistic form.
SECRETS = {
    "phone": "13912345678",
    "phone with a country": "+49 170 1234567",
    "email": "mei.lin@example.com",
    "id": "11010519491231002X",
    "card": "4111 1111 1111 1111",
    "ip": "203.0.113.77",
    "key": "sk-proj-Zk3Vq8LmN2pRtYw5XcB7dF",
    "token": "ghp_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
    "password": "hunter2-Tr0ub4dor",
    "denied": "Project Nightjar",
    "sender": "Marguerite Oyelaran",
    "handle": "qx_tibor77",
    "chinese": "欧阳菡菲",
}
#: Sender and text of each message, a minute apart.
SAID = [
    (
        SECRETS["sender"],
        f"does anybody know why it fails? call me on {SECRETS['phone']} or {SECRETS['phone with a country']}",
    ),
    (
        SECRETS["handle"],
        f"write to {SECRETS['email']}, {SECRETS['sender']}, and how do I reach {SECRETS['ip']} from here?",
    ),
    (SECRETS["chinese"], f"身份证 {SECRETS['id']} 卡号 {SECRETS['card']} 这个怎么填？"),
    (SECRETS["sender"], f"{SECRETS['chinese']} 说得对, what does {SECRETS['handle']} think of {SECRETS['key']} ?"),
    (SECRETS["handle"], f"is {SECRETS['token']} still valid? password: {SECRETS['password']}"),
    (SECRETS["chinese"], f"who works on {SECRETS['denied']} and how is it going?"),
]
START = 1_705_312_800  # 2024-01-15 10:00 UTC


def times() -> Iterator[tuple[int, int, str, str]]:
    """Yield number, UTC seconds, sender and text of each message."""
    for number, (sender, text) in enumerate(SAID):
        yield number, START + 60 * number, sender, text


def clock(seconds: int) -> str:
    """Return HH:MM of a time on the day of the chat."""
    return f"{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}"


def table_jsonl() -> bytes:
    rows = ({"group": "g", "sender": who, "timestamp": at, "text": text} for _, at, who, text in times())
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def table_csv() -> bytes:
    rows = "".join(f'g,{who},{at},"{text}"\n' for _, at, who, text in times())
    return f"group,sender,timestamp,text\n{rows}".encode()


def wechat() -> bytes:
    records = []
    for number, at, who, text in times():
        data = {
            "fromGroup": "9876543210@chatroom",
            "fromUser": f"wxid_{sum(map(ord, who))}abc",
            "newMsgId": number + 1,
            "timestamp": at,
            "content": text,
            "pushContent": f"{who} : {text}",
        }
        records.append(json.dumps({"messageType": "80001", "data": data}, ensure_ascii=False, indent=2) + "\n")
    return "".join(records).encode()


def telegram() -> bytes:
    messages = [
        {
            "id": number + 1,
            "type": "message",
            "date": "2024-01-15T10:00:00",
            "date_unixtime": str(at),
            "from": who,
            "from_id": f"user{sum(map(ord, who))}",
            "text": text,
        }
        for number, at, who, text in times()
    ]
    chat = {"name": SECRETS["denied"], "type": "private_supergroup", "id": 5, "messages": messages}
    return json.dumps(chat, ensure_ascii=False, indent=1).encode()


def discord() -> bytes:
    messages = [
        {
            "id": str(10 + number),
            "type": "Default",
            "timestamp": f"2024-01-15T{clock(at)}:00+00:00",
            "timestampEdited": None,
            "isPinned": False,
            "content": text,
            "author": {
                "id": str(sum(map(ord, who))),
                "name": who,
                "discriminator": "0000",
                "nickname": who,
                "isBot": False,
            },
            "attachments": [],
            "embeds": [],
            "stickers": [],
            "reactions": [],
            "mentions": [],
        }
        for number, at, who, text in times()
    ]
    guild, channel = {"id": "1", "name": "guild", "iconUrl": ""}, {"id": "2", "type": "GuildTextChat", "name": "room"}
    return json.dumps({"guild": guild, "channel": channel, "messages": messages}, ensure_ascii=False).encode()


def slack() -> bytes:
    ids = {who: f"U{number:08}X" for number, who in enumerate(sorted({who for who, _ in SAID}))}
    users = [{"id": ids[who], "name": who, "real_name": who, "profile": {"display_name": who}} for who in ids]
    said = [{"type": "message", "user": ids[who], "text": text, "ts": f"{at}.000100"} for _, at, who, text in times()]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("users.json", json.dumps(users, ensure_ascii=False))
        archive.writestr(
            "channels.json", json.dumps([{"id": "C0000001", "name": "room", "members": list(ids.values())}])
        )
        archive.writestr("room/2024-01-15.json", json.dumps(said, ensure_ascii=False))
    return buffer.getvalue()


def whatsapp() -> bytes:
    return "".join(f"1/15/24, {clock(at)} - {who}: {text}\n" for _, at, who, text in times()).encode()


def irc() -> bytes:
    sender, nick = SECRETS["sender"], SECRETS["sender"].replace(" ", "")  # a nick holds no blanks
    said = "".join(f"[{clock(at)}] <{who}> {text}\n" for _, at, who, text in times())
    return said.replace(sender, nick).encode()


def qq() -> bytes:
    said = "".join(
        f"2024-01-15 {clock(at)}:00 {who}({10_000 + sum(map(ord, who))})\n{text}\n\n" for _, at, who, text in times()
    )
    return f"消息记录（此消息记录为文本格式，不支持重新导入）\n\n消息对象:群\n\n{said}".encode()


#: The functions that make each format's content, by file name.
EXPORTS = {
    "chat.jsonl": table_jsonl,
    "chat.csv": table_csv,
    "wechat.json": wechat,
    "result.json": telegram,
    "discord.json": discord,
    "slack.zip": slack,
    "WhatsApp Chat with friends.txt": whatsapp,
    "2024-01-15.channel.log": irc,
    "qq.txt": qq,
    **planted_wechat.exports(times),
    **{name: (lambda make=make: make(times())) for name, make in MESSENGERS.items()},
}
