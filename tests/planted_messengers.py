"""The planted chat (see ``tests.planted``) in the export formats of messengers."""

import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

#: Number, UTC seconds, sender and text of each message.
Said = Iterable[tuple[int, int, str, str]]


def number_of(who: str) -> int:
    return zlib.crc32(who.encode())


def moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def as_json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode()


def as_csv(*rows: Iterable[str]) -> bytes:
    return "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in rows).encode()


def discord_csv(said: Said) -> bytes:
    rows = (
        (str(number_of(who)), who, f"{moment(at):%Y-%m-%dT%H:%M:%S}.1230000+00:00", text, "", "")
        for _, at, who, text in said
    )
    return b"AuthorID,Author,Date,Content,Attachments,Reactions\n" + as_csv(*rows)


def google_chat(said: Said) -> bytes:
    messages = [
        {
            "creator": {"name": who, "email": f"u{number_of(who)}@example.org", "user_type": "Human"},
            "created_date": f"{moment(at):%A, %B %d, %Y at %I:%M:%S %p} UTC",
            "text": text,
            "topic_id": f"t{number}",
            "message_id": f"space/t{number}/t{number}",
        }
        for number, at, who, text in said
    ]
    return as_json({"messages": messages})


def kakaotalk(said: Said) -> bytes:
    lines, day = ["Friends with KakaoTalk Chats\n\n"], ""
    for _, at, who, text in said:
        before, day = day, f"{moment(at):%A, %B %d, %Y}"
        lines += [f"--------------- {day} ---------------\n"] if day != before else []
        lines.append(f"[{who}] [{moment(at):%I:%M %p}] {text}\n")
    return "".join(lines).encode()


def kakaotalk_csv(said: Said) -> bytes:
    rows = ((f"{moment(at):%Y-%m-%d %H:%M:%S}", who, text) for _, at, who, text in said)
    return b"Date,User,Message\n" + as_csv(*rows)


def line(said: Said) -> bytes:
    lines, day = ["[LINE] Chat history in Friends\nSaved on: 2024/01/16 10:00\n\n"], ""
    for _, at, who, text in said:
        before, day = day, f"{moment(at):%Y/%m/%d(%a)}"
        lines += [f"{day}\n"] if day != before else []
        lines.append(f"{moment(at):%H:%M}\t{who}\t{text}\n")
    return "".join(lines).encode()


def matrix(said: Said) -> bytes:
    said = list(said)
    names = {f"@u{number_of(who)}:example.org": who for _, _, who, _ in said}
    room = {"room_id": "!room:example.org", "origin_server_ts": 1705312700000}
    members = [
        {**room, "type": "m.room.member", "sender": user, "state_key": user, "content": {"displayname": names[user]}}
        for user in sorted(names)
    ]
    messages = [
        {
            **room,
            "type": "m.room.message",
            "sender": f"@u{number_of(who)}:example.org",
            "event_id": f"$event{number}",
            "origin_server_ts": at * 1000 + 123,
            "content": {"msgtype": "m.text", "body": text},
        }
        for number, at, who, text in said
    ]
    return as_json({"room_name": "Help", "exported_by": said[0][2], "messages": members + messages})


def mattermost(said: Said) -> bytes:
    said = list(said)
    users = sorted({who for _, _, who, _ in said})
    things = [
        {"type": "version", "version": 1},
        *({"type": "user", "user": {"username": f"u{number_of(who)}x", "nickname": who}} for who in users),
        *(
            {
                "type": "post",
                "post": {
                    "team": "team",
                    "channel": "help",
                    "user": f"u{number_of(who)}x",
                    "message": text,
                    "create_at": at * 1000,
                },
            }
            for _, at, who, text in said
        ),
    ]
    return "".join(json.dumps(thing, ensure_ascii=False) + "\n" for thing in things).encode()


def meta(said: Said) -> bytes:
    def broken(text: str) -> str:
        return text.encode().decode("latin-1")

    said = list(said)
    messages = [
        {"sender_name": broken(who), "timestamp_ms": at * 1000, "content": broken(text), "type": "Generic"}
        for _, at, who, text in reversed(said)
    ]
    people = [{"name": broken(who)} for who in sorted({who for _, _, who, _ in said})]
    chat = {"participants": people, "messages": messages, "title": "Friends", "thread_path": "inbox/friends_1"}
    return json.dumps(chat, indent=1).encode()


def rocketchat(said: Said) -> bytes:
    messages = [
        {
            "_id": f"m{number}",
            "rid": "room",
            "msg": text,
            "ts": {"$date": f"{moment(at):%Y-%m-%dT%H:%M:%S}.000Z"},
            "u": {"_id": f"i{number_of(who)}", "username": f"u{number_of(who)}x", "name": who},
            "_updatedAt": {"$date": "2024-01-16T10:00:00.000Z"},
        }
        for number, at, who, text in said
    ]
    return as_json(messages)


def signal(said: Said) -> bytes:
    messages = (
        {
            "date": f"{moment(at):%Y-%m-%dT%H:%M:%S}.123000",
            "sender": who,
            "body": f"{text}  ",
            "quote": "",
            "sticker": None,
            "reactions": [[who, "👍"]],
            "attachments": [],
        }
        for _, at, who, text in said
    )
    return "".join(json.dumps(message, ensure_ascii=False) + "\n" for message in messages).encode()


def signal_stored(said: Said) -> bytes:
    """Return the chat in sigtop's layout, which has names only in mentions."""
    messages = [
        {
            "id": f"id{number}",
            "type": "incoming",
            "conversationId": "c1",
            "sourceServiceId": f"aci-{number_of(who)}",
            "sent_at": at * 1000,
            "body": f"{text} \ufffc",
            "bodyRanges": [
                {"start": len(text) + 1, "length": 1, "mentionAci": f"aci-{number_of(who)}", "replacementText": who}
            ],
        }
        for number, at, who, text in said
    ]
    return as_json(messages)


def teams(said: Said) -> bytes:
    messages = [
        {
            "id": str(number),
            "messageType": "message",
            "createdDateTime": f"{moment(at):%Y-%m-%dT%H:%M:%S}.123Z",
            "chatId": "19:chat@thread.v2",
            "from": {"user": {"id": f"guid-{number_of(who)}", "displayName": who}},
            "body": {"contentType": "html", "content": f"<p>{text}</p>"},
            "attachments": [],
            "mentions": [],
        }
        for number, at, who, text in said
    ]
    return as_json({"value": messages})


def zulip_messages(said: Said) -> bytes:
    messages = [
        {
            "id": number + 100,
            "sender": number_of(who),
            "recipient": 5,
            "subject": "help",
            "content": text,
            "date_sent": at + 0.5,
            "rendered_content": None,
        }
        for number, at, who, text in said
    ]
    return as_json({"zerver_message": messages, "zerver_usermessage": []})


def zulip(said: Said) -> bytes:
    said = list(said)
    users = [
        {"id": number_of(who), "full_name": who, "is_bot": False} for who in sorted({who for _, _, who, _ in said})
    ]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("export/realm.json", as_json({"zerver_realm": [], "zerver_userprofile": users}))
        archive.writestr("export/messages-000001.json", zulip_messages(said))
        archive.writestr("export/attachment.json", as_json({"zerver_attachment": []}))
    return buffer.getvalue()


#: The functions that make each format's content, by file name.
MESSENGERS: dict[str, Callable[[Said], bytes]] = {
    "Club - help [2].csv": discord_csv,
    "messages.json": google_chat,
    "KakaoTalk.txt": kakaotalk,
    "KakaoTalk.csv": kakaotalk_csv,
    "[LINE] Friends.txt": line,
    "export.json": matrix,
    "mattermost.jsonl": mattermost,
    "message_1.json": meta,
    "rocketchat_message.json": rocketchat,
    "data.json": signal,
    "sigtop.json": signal_stored,
    "teams.json": teams,
    "zulip.zip": zulip,
}
