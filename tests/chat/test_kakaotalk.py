"""KakaoTalk: the exports of four systems in two languages, kinds, what happened, and refusals."""

import pytest

from chatladder.chat.formats import kakaotalk
from chatladder.chat.message import Message
from chatladder.io.console import DataError
from tests.reading import parse, shown

EVENING = 1705351740  # 2024-01-15 20:49 UTC
KOREAN_DAY = "--------------- 2024년 1월 15일 월요일 ---------------\n"
WINDOWS = f"친구 님과 카카오톡 대화\n저장한 날짜 : 2024-01-16 10:00:00\n\n{KOREAN_DAY}"


def read(tmp_path, content, name="KakaoTalk.txt", **options):
    return parse(kakaotalk, tmp_path, content, name, **options)


@pytest.mark.parametrize(
    "content",
    [
        WINDOWS + "[Ann] [오후 8:49] hi\nthere\n",
        "with KakaoTalk Chats\n\n-------------- Monday, January 15, 2024 --------------\n[Ann] [8:49 PM] hi\nthere\n",
        "대화\n\n2024년 1월 15일 오후 8:49\n2024년 1월 15일 오후 8:49, Ann : hi\nthere\n",
        "KakaoTalk Chats with Ann\n\n8:49pm, January 15, 2024\n8:49pm, January 15, 2024, Ann : hi\nthere\n",
        "대화.txt\n\n2024년 1월 15일 월요일\n2024. 1. 15. 오후 8:49, Ann : hi\nthere\n",
        "대화.txt\n\n2024. 1. 15. 20:49, Ann : hi\nthere\n",
        "Chats.txt\n\nMonday, January 15, 2024\nJan 15, 2024, 8:49 PM, Ann : hi\nthere\n",
        "Chats.txt\n\nJan 15, 2024 at 8:49 PM, Ann : hi\nthere\n",
    ],
)
def test_every_text_export(tmp_path, content):
    assert kakaotalk.detects("a.txt", content.encode())
    messages = [row for row in read(tmp_path, content) if isinstance(row, Message)]
    line = content[: content.index(" hi")].count("\n") + 1
    assert messages == [Message(line, "KakaoTalk", "Ann", EVENING, "text", "hi\nthere", 60)]


def test_the_csv_of_macos(tmp_path):
    content = 'Date,User,Message\n2024-01-15 20:49:07,"Ann","a ""b""\nc"\n'
    content += '2024-01-15 20:50:00,"Ann","Ann invited Bob and Cid."\n'
    known = []
    assert kakaotalk.detects("a.csv", content.encode())
    rows = read(tmp_path, content, "Friends.csv", known=known)
    assert rows == [
        Message(2, "Friends", "Ann", EVENING + 7, "text", 'a "b"\nc', 1),
        Message(4, "Friends", "", EVENING + 60, "system", "", 1),
    ]
    assert known == [("Bob",), ("Cid",)]  # who speaks is known without it


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("사진", "image", ""),
        ("사진 3장", "image", ""),
        ("<Photo>", "image", ""),
        ("(emoticon)", "other", ""),
        ("이모티콘", "other", ""),
        ("파일: a.pdf", "file", "a.pdf"),
        ("삭제된 메시지입니다.", "system", ""),
        ("사진 좋다", "text", "사진 좋다"),
        ("we invited everybody", "text", "we invited everybody"),
        ("one\nBob invited Cid.", "text", "one\nBob invited Cid."),
    ],
)
def test_kinds(tmp_path, text, kind, said):
    assert shown(read(tmp_path, f"{WINDOWS}[Ann] [오후 8:49] {text}\n"))[-1] == (kind, said)


def test_what_happened_ends_a_message_and_names_people(tmp_path):
    known = []
    content = f"{WINDOWS}[Ann] [오후 8:49] hi\nAnn님이 박님과 최님을 초대했습니다.\n김님이 나갔습니다.\n"
    assert shown(read(tmp_path, content, known=known))[-3:] == [("text", "hi"), ("system", ""), ("system", "")]
    assert known == [("김",), ("박",), ("최",)]
    phone = "2024. 1. 15. 오후 8:48: Ann님이 박님을 초대했습니다.\n2024. 1. 15. 오후 8:49, 회원님 : hi\n"
    rows = read(tmp_path, phone)
    assert [row.sender for row in rows] == ["", "kakaotalk_owner"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[Ann] [오후 8:49] hi\n", r"KakaoTalk\.txt:1: expected a day before this line, got none"),
        ("2024. 13. 15. 오후 8:49, Ann : hi\n", r"KakaoTalk\.txt:1: expected a date and a time, got some"),
        ("8:49pm, Smarch 15, 2024, Ann : hi\n", r"KakaoTalk\.txt:1: expected a date and a time, got some"),
        ("Date,User,Message\n15.01.2024,Ann,hi\n", r"KakaoTalk\.txt:2: expected a time such as .* '99\.99\.9999'"),
    ],
)
def test_refusals(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, content)


def test_a_chat_that_somebody_pasted_into_another_export_is_not_taken_for_it():
    content = "1/15/24, 10:00 - Ann: look\n" * 12 + "2024. 1. 15. 오후 8:49, Bob : hi\n"
    assert not kakaotalk.detects("a.txt", content.encode())


def test_other_files_are_not_taken_for_it():
    for content in ("[Ann] [9:20] hello\n", "2024년 1월 15일\n", "Date,User,Text\n", "[20:49] <ann> hi\n", ""):
        assert not kakaotalk.detects("a.txt", content.encode())
