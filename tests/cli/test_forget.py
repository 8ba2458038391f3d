"""One member leaves a project: nothing of theirs is left in any file, and everybody else is what they were."""

import bz2
import gzip
import io
import json
import lzma
import os
import shutil
import signal
import subprocess
from contextlib import nullcontext
from pathlib import Path

import pytest
from click.testing import CliRunner

from chatladder.chat.messages import ingest
from chatladder.cli.annotate.round_records import read_sample, settle_sample
from chatladder.cli.app import main as chatladder
from chatladder.io.console import DataError
from chatladder.io.rows import MESSAGES, QUESTIONS, read_rows
from chatladder.labels.answer import Answer, Label
from chatladder.labels.log import LogWriter, replay
from chatladder.labels.review import Review, begin, read_review
from chatladder.labels.rounds import adjudication_path, log_path
from chatladder.privacy.pseudonyms import Pseudonyms
from tests.conftest import ROOT
from tests.logs import append
from tests.workers_here import Here

KEY = "a key for tests of forgetting"
ANN, BOB, CAI = "Marguerite Oyelaran", "qx_tibor77", "欧阳菡菲"
#: Ann's where names have no spaces.
NICK = "Marguerite_Oyelaran"
#: Words that nobody but Ann says.
SECRET = "zygomorphic"
#: (sender, text), a minute apart.
SAID = [
    (BOB, "does anybody know how to install it?"),
    (ANN, f"the {SECRET} one works"),
    (CAI, f"{ANN} 说得对"),
    (ANN, f"why is it {SECRET} again?"),
    (BOB, f"@{ANN} thanks, but how do I start it?"),
    (CAI, "这个怎么填？"),
]
START = 1_705_312_800
PIPELINE = """\
stages:
  ingest:
    cmd: >-
      python -m stages.ingest --raw data/raw --format auto --timezone UTC --date-order auto
      --out data/messages.parquet --counts data/counts.json
    deps: [data/raw]
    outs: [data/messages.parquet, data/counts.json]
  pick_questions:
    cmd: python -m make
    deps: [data/messages.parquet]
    outs: [data/questions.parquet, data/turns.parquet, data/alpaca]
  train:
    foreach: [small, large]
    do:
      cmd: cp -r data/alpaca data/adapter_${item}
      deps: [data/alpaca]
      outs: ["data/adapter_${item}"]
  base:
    cmd: echo nobody > data/base
    outs: [data/base]
"""
#: Every message a question, the three before it its window.
MAKE = """\
import json, pathlib
from chatladder.io.rows import MESSAGES, QUESTIONS, TURNS, read_rows, write_rows
rows = read_rows(pathlib.Path("data/messages.parquet"), MESSAGES).to_pylist()
fields = ("sender", "text", "timestamp")
turns = [{**{name: row[name] for name in (*fields, "group", "kind", "reply_to")}, "turn_id": "t" + row["message_id"],
          "message_ids": [row["message_id"]]} for row in rows]
write_rows(pathlib.Path("data/turns.parquet"), turns, TURNS)
items = [{**{name: row[name] for name in (*fields, "group")}, "item_id": row["message_id"], "conversation": "c",
          "turn_id": "t" + row["message_id"],
          "window": [{name: each[name] for name in fields} for each in rows[max(0, at - 3):at]]}
         for at, row in enumerate(rows)]
write_rows(pathlib.Path("data/questions.parquet"), items, QUESTIONS)
pathlib.Path("data/alpaca").mkdir(exist_ok=True)
pathlib.Path("data/alpaca/train.json").write_text(json.dumps(items, ensure_ascii=False))
pathlib.Path("data/alpaca/count.json").write_text(str(len(items)))
"""
PARAMS = "ingest: {format: auto, timezone: UTC, date_order: auto}\n"


def rows(said=SAID):
    return [
        {"group": "g", "sender": who, "timestamp": START + 60 * at, "text": text} for at, (who, text) in enumerate(said)
    ]


def jsonl(said=SAID, **options):
    return "".join(json.dumps(row, **options) + "\n" for row in rows(said)).encode()


def csv(said=SAID):
    lines = [f'"{row["text"]}",{row["sender"]},g,{row["timestamp"]}' for row in rows(said)]
    return "\n".join(["text,sender,group,timestamp", *lines, ""]).encode()


def irc(said=SAID):
    lines = [f"[10:{at:02}] <{who}> {text}".replace(ANN, NICK) for at, (who, text) in enumerate(said)]
    return "\r\n".join([*lines, f"[10:58] * {BOB} waves", f"[10:59] *** {BOB} sets mode: +o {NICK}", ""]).encode()


def whatsapp(said=SAID):
    lines = (f"15/01/2024, 10:{at:02} - {who}: {text}\n  and more\n" for at, (who, text) in enumerate(said))
    return "".join([f"15/01/2024, 09:59 - {ANN} added {BOB}\n", *lines]).encode()


def qq(said=SAID):
    numbers = {ANN: 1234567, BOB: 2345678, CAI: 3456789}
    entries = (f"2024-01-15 10:{at:02}:00 {who}({numbers[who]})\n{text}\n\n" for at, (who, text) in enumerate(said))
    return ("消息记录（此消息记录为文本格式，不支持重新导入）\n\n" + "".join(entries)).encode()


def wechat(said=SAID, **options):
    records = []
    for at, (who, text) in enumerate(said):
        data = {"fromGroup": "1@chatroom", "fromUser": who, "newMsgId": at + 1, "timestamp": START + 60 * at}
        data |= {"content": text, "atlist": [ANN] if f"@{ANN}" in text else []}
        records.append({"messageType": "80001", "data": data})
    return "".join(json.dumps(record, **options) + "\n" for record in records).encode()


def telegram(said=SAID):
    messages = [
        {
            "id": at + 1,
            "type": "message",
            "date": "2024-01-15T10:00:00",
            "date_unixtime": str(START + 60 * at),
            "from": who,
            "from_id": f"user{len(who)}",
            "text": text,
        }
        for at, (who, text) in enumerate(said)
    ]
    return json.dumps({"name": "g", "type": "private_group", "id": 7, "messages": messages}).encode()


def run(*arguments, **more):
    return CliRunner().invoke(chatladder, ["forget", *arguments], **more)


def dvc(*arguments):
    done = subprocess.run(["dvc", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def git(*arguments):
    named = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(["git", *named, *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def folder(tmp_path, monkeypatch, warm):
    """A folder with exports and nothing else, under a key of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", warm["PATH"])
    monkeypatch.setenv("CHATLADDER_PRIVACY_KEY", KEY)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    Path("data/raw").mkdir(parents=True)
    return tmp_path


@pytest.fixture(scope="module")
def begun(tmp_path_factory, warm):
    """A project in which nothing has run yet."""
    root = tmp_path_factory.mktemp("begun") / "project"
    (root / "data" / "raw").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(root)
        patched.setenv("PATH", warm["PATH"])
        git("init", "--quiet")
        dvc("init", "--quiet")
        Path("dvc.yaml").write_text(PIPELINE)
        Path("params.yaml").write_text(PARAMS)
    return root


@pytest.fixture(scope="module")
def built(begun, tmp_path_factory, warm):
    """A project that has run, twice."""
    root = tmp_path_factory.mktemp("built") / "project"
    shutil.copytree(begun, root)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(root)
        patched.setenv("PATH", warm["PATH"])
        patched.setenv("CHATLADDER_PRIVACY_KEY", KEY)
        patched.setenv("PYTHONPATH", str(ROOT))
        Path("make.py").write_text(MAKE)
        Path(".gitignore").write_text("/data\n/.chatladder\n/exported\n")
        for number in (4, 6):
            Path("data/raw/a.jsonl").write_bytes(jsonl(SAID[:number]))
            dvc("repro", "--quiet")
            git("add", ".")
            git("commit", "--quiet", "-m", f"{number} messages")
        for place in ("exported/small", "data/reports", ".chatladder/judges"):
            Path(place).mkdir(parents=True)
            (Path(place) / "kept.json").write_text(SECRET)
    return root


@pytest.fixture
def project(built, folder, monkeypatch):
    """A copy of that project."""
    shutil.copytree(built, folder / "project")
    monkeypatch.chdir(folder / "project")
    return folder / "project"


def pseudonym(name):
    return Pseudonyms(KEY).person(name)


def items():
    return read_rows(Path("data/questions.parquet"), QUESTIONS).to_pylist()


def answer(path, item_id, name, label=Label.NEEDED, rewrite=None):
    append(path, Answer(item_id, name, 1, label, "2024-02-01T00:00:00Z", rewrite=rewrite))


def texts_of(path):
    """All that a file holds, with what is packed in it."""
    data = path.read_bytes()
    if data[:4] == b"PAR1":
        import pyarrow.parquet as pq

        data = json.dumps(pq.read_table(io.BytesIO(data)).to_pylist(), ensure_ascii=False).encode()
    for opener in (gzip.decompress, bz2.decompress, lzma.decompress):
        try:
            data += opener(data)
        except (OSError, EOFError, ValueError, lzma.LZMAError):
            continue
    return data


def holding(root, *words):
    """Files below a folder, git's own left out, that hold one of some words, escaped or not."""
    forms = [form for word in words for form in (word.encode(), json.dumps(word)[1:-1].encode())]
    found = [path for path in root.rglob("*") if path.is_file() and ".git" not in path.relative_to(root).parts]
    return sorted(str(path.relative_to(root)) for path in found if any(form in texts_of(path) for form in forms))


def test_nothing_of_a_member_is_left_in_the_project(project):
    his = [row for row in items() if row["sender"] != pseudonym(ANN)]
    hers = [row for row in items() if row["sender"] == pseudonym(ANN)]
    assert len(hers) == 2
    for name in ("li", "wu"):
        for row in items():
            shows = any(turn["sender"] == pseudonym(ANN) for turn in row["window"])
            text = f"{SECRET} of nobody?" if shows else "of nobody?"
            answer(log_path(Path("data/annotations"), 1, name), row["item_id"], name, rewrite=text)
    answer(adjudication_path(Path("data/annotations"), 1, "chen"), hers[0]["item_id"], "chen")
    begin(
        Path("data/annotations/round_2"),
        Review((hers[0]["item_id"], his[0]["item_id"]), (his[0]["item_id"],), frozenset([hers[0]["item_id"]])),
    )
    settle_sample(Path("data/annotations/round_1"), [hers[0]["item_id"], his[0]["item_id"]], 2)
    settle_sample(Path("data/annotations/round_2"), [hers[0]["item_id"]], 1)
    Path("data/marks").mkdir()
    marks = [{"turn_id": row["turn_id"], "question": True} for row in items()]
    Path("data/marks/me.jsonl").write_text("".join(json.dumps(mark) + "\n" for mark in marks))
    cached = [path for path in Path(".dvc/cache").rglob("*") if path.is_file()]
    assert len(holding(project, SECRET)) > 6
    assert len(holding(project / ".dvc", SECRET)) > 3

    done = run(ANN, "--yes")

    assert done.exit_code == 0, done.output
    theirs = [pseudonym(ANN), *(row["item_id"] for row in hers), *(row["turn_id"] for row in hers)]
    assert holding(project, SECRET, ANN, *theirs) == []
    assert Path("data/base").exists()
    assert holding(project / ".dvc" / "cache", "nobody")  # the base is of nobody's words
    assert len(cached) > len([path for path in Path(".dvc/cache").rglob("*") if path.is_file()])
    for name in ("li", "wu"):
        assert list(replay(log_path(Path("data/annotations"), 1, name)).answers) == [row["item_id"] for row in his]
    assert not adjudication_path(Path("data/annotations"), 1, "chen").exists()
    assert read_review(Path("data/annotations/round_2")) == Review((his[0]["item_id"],), (his[0]["item_id"],))
    assert read_sample(Path("data/annotations/round_1")) == [his[0]["item_id"]]
    assert read_sample(Path("data/annotations/round_2")) is None
    kept = [json.loads(line)["turn_id"] for line in Path("data/marks/me.jsonl").read_text().splitlines()]
    assert kept == [row["turn_id"] for row in his]
    assert "7 answers and marks removed" in done.output
    assert "ingest, pick_questions, train (2)" in done.output
    again = [row["item_id"] for row in his if any(turn["sender"] == pseudonym(ANN) for turn in row["window"])]
    assert again
    assert all(item in done.output for item in again)
    written = replay(log_path(Path("data/annotations"), 1, "li")).answers
    assert [each.rewrite for each in written.values()] == [
        None if row["item_id"] in again else "of nobody?" for row in his
    ]

    dvc("repro", "--quiet")
    assert json.loads(Path("data/counts.json").read_text())["messages"] == 4
    assert [row["sender"] for row in items()] == [row["sender"] for row in his]
    assert "<name> 说得对" in [row["text"] for row in items()]
    assert holding(project, SECRET, ANN, pseudonym(ANN)) == []

    carried = CliRunner().invoke(chatladder, ["carry-answers", "--before", ".chatladder/before_forgetting.parquet"])
    assert carried.exit_code == 0, carried.output
    for name in ("li", "wu"):
        answers = replay(log_path(Path("data/annotations"), 1, name)).answers
        assert list(answers) == [row["item_id"] for row in items()]


def read_again():
    """Sender, time and text of what ingest makes of the exports."""
    pseudonyms = Pseudonyms()
    counts = ingest(Path("data/raw"), pseudonyms, Path("messages.parquet"))
    found = read_rows(Path("messages.parquet"), MESSAGES).to_pylist()
    Path("messages.parquet").unlink()
    return [(row["sender"], row["timestamp"], row["text"]) for row in found], counts


def everything(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def bare(begun, folder):
    """A copy of the one in which nothing has run yet."""
    shutil.copytree(begun, folder, dirs_exist_ok=True)
    return folder


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", jsonl()),
        ("a.jsonl", jsonl(ensure_ascii=False)),
        ("a.csv", csv()),
        ("a.csv", b"\xef\xbb\xbf" + csv()),
        ("a.csv.gz", gzip.compress(csv())),
        ("2024-01-15.g.txt.bz2", bz2.compress(irc())),
        ("WhatsApp Chat with g.txt", whatsapp()),
        ("qq.txt", qq()),
        ("a.json", wechat(indent=4)),
        ("a.json.xz", lzma.compress(wechat(ensure_ascii=False))),
    ],
)
def test_exports_of_lines_lose_their_records_and_nothing_else(bare, name, content):
    path = Path("data/raw") / name
    path.write_bytes(content)
    path.chmod(0o600)
    before, _ = read_again()
    identity = {"2": NICK.lower(), "q": "1234567"}.get(name[0], ANN)
    called = NICK if name.startswith("2") else ANN
    hers = Pseudonyms().person(identity)
    assert sum(sender == hers for sender, _, _ in before) == 2

    done = run(called, "--yes")

    assert done.exit_code == 0, done.output
    assert holding(bare, SECRET, ANN, NICK) == []
    assert path.stat().st_mode & 0o777 == 0o600
    after, counts = read_again()
    others = [row for row in before if row[0] != hers]
    assert [row[:2] for row in after] == [row[:2] for row in others]
    for (_, _, text), (_, _, old) in zip(after, others, strict=True):
        # WeChat's reader takes the first word behind an @ alone.
        assert text == old.replace(hers, "<name>").replace("<name> <name>", "<name>")
    assert "skipped_forgotten" not in counts
    assert path.read_bytes()[:3] == content[:3]


def test_what_wechat_quotes_of_them_goes(bare):
    quote = f"<refermsg><svrid>2</svrid><chatusr>{ANN}</chatusr><content>the {SECRET} one works</content></refermsg>"
    answered = {"fromGroup": "1@chatroom", "fromUser": BOB, "newMsgId": 9, "timestamp": START + 900}
    answered |= {"title": "which one?", "content": f"<appmsg><title>which one?</title>{quote}</appmsg>"}
    record = json.dumps({"messageType": "80014", "data": answered}) + "\n"
    Path("data/raw/a.json").write_bytes(wechat() + record.encode())
    assert run(ANN, "--yes").exit_code == 0
    assert holding(bare, SECRET, ANN) == []
    assert "<svrid>2</svrid>" in Path("data/raw/a.json").read_text()
    assert read_again()[0][-1] == (pseudonym(BOB), START + 900, "which one?")


def test_records_of_others_stay_to_the_byte(bare):
    path = Path("data/raw/a.jsonl")
    odd = b'{"text": "1e5 \\u00e9", "n": 1.50, "sender":"Bo","timestamp":1705312800 }\n\n'
    path.write_bytes(odd + jsonl([(ANN, "hello")]) + odd.replace(b"800 }", b"900 }"))
    assert run(ANN, "--yes").exit_code == 0
    assert path.read_bytes() == odd + odd.replace(b"800 }", b"900 }")


def test_an_export_that_comes_later_does_not_bring_them_back(bare):
    Path("data/raw/a.jsonl").write_bytes(jsonl())
    assert run(ANN, "--yes").exit_code == 0
    Path("data/raw/b.jsonl").write_bytes(jsonl())
    found, counts = read_again()
    assert counts["skipped_forgotten"] == 2
    assert SECRET not in str(found)
    assert ANN not in str(found)
    assert "<name> 说得对" in [text for _, _, text in found]
    assert pseudonym(ANN) not in str(found)


def test_workers_leave_them_out_too(bare, monkeypatch):
    Path("data/raw/a.jsonl").write_bytes(jsonl())
    Path("data/raw/b.jsonl").write_bytes(jsonl([("Dee", f"what does {ANN} say?")]))
    assert run(ANN, "--yes").exit_code == 0
    Path("data/raw/a.jsonl").write_bytes(jsonl())
    here = read_again()
    monkeypatch.setattr("chatladder.chat.messages.workers", lambda: nullcontext(Here()))
    assert read_again() == here


def test_a_list_of_another_key_is_refused(bare, monkeypatch):
    Path("data/raw/a.jsonl").write_bytes(jsonl())
    assert run(ANN, "--yes").exit_code == 0
    monkeypatch.setenv("CHATLADDER_PRIVACY_KEY", KEY[::-1])
    with pytest.raises(DataError, match="another"):
        read_again()


def test_an_export_that_is_one_document_is_left_and_named_until_it_is_replaced(bare):
    path = Path("data/raw/result.json")
    path.write_bytes(telegram())
    for _ in range(2):
        done = run(ANN, "--yes")
        assert done.exit_code == 1
        assert "data/raw/result.json: it mentions them" in done.output
        assert path.read_bytes() == telegram()
        assert SECRET not in str(read_again())
    path.write_bytes(telegram([each for each in SAID if ANN not in "".join(each)]))
    assert run(ANN, "--yes").exit_code == 0
    assert holding(bare, SECRET, ANN) == []


def test_an_export_that_would_read_differently_is_left(bare):
    """Without the line of after midnight the day never ends."""
    path = Path("data/raw/2024-01-15.g.log")
    path.write_text("[23:00] <bob> one\n[01:00] <annika77> two\n[22:00] <bob> three\n")
    before = path.read_bytes()
    done = run("annika77", "--yes")
    assert done.exit_code == 1
    assert "data/raw/2024-01-15.g.log: without their records it would read differently" in done.output
    assert path.read_bytes() == before


def test_a_record_that_is_nested_deep_is_written_again_like_any_other(bare):
    deep = jsonl([(BOB, "hello")]).replace(b'"text"', b'"more": ' + b"[" * 700 + b'"NAME"' + b"]" * 700 + b', "text"')
    Path("data/raw/a.jsonl").write_bytes(jsonl([(ANN, "hello")]) + deep.replace(b"NAME", ANN.encode()))
    done = run(ANN, "--yes")
    assert done.exit_code == 0, done.output
    assert Path("data/raw/a.jsonl").read_bytes() == deep.replace(b"NAME", b"<name>")


def test_of_a_record_that_names_them_nothing_but_the_name_changes(bare):
    odd = (
        '{ "group":"g","n":1.50,"sender" : "Bo", "timestamp":1705312800,'
        '\t"text": "NAME says \\u00e9 \\"\\/\\" \\ud83d",'
        '"Marguerite Oyelaran": [1e5, "ü NAME", "NAME"] }\r\n'
    )
    path = Path("data/raw/a.jsonl")
    path.write_bytes(jsonl([(ANN, "hello")]) + odd.replace("NAME", ANN).encode())
    done = run(ANN, "--yes")
    assert done.exit_code == 0, done.output
    # A string that has the name is written anew, with the escapes that it had.
    assert path.read_bytes().decode() == odd.replace("NAME", "<name>").replace("\\/", "/")


def test_a_file_that_is_named_for_them_is_named(bare):
    Path(f"data/raw/WhatsApp Chat with {ANN}.txt").write_bytes(whatsapp())
    done = run(ANN, "--yes")
    assert done.exit_code == 1
    assert "its file name contains their name" in done.output


def test_names_that_are_words_stay_where_they_are_words(bare):
    said = [("linux", "hi"), (BOB, "linux is an operating system"), (CAI, "linux: which one?")]
    Path("data/raw/a.jsonl").write_bytes(jsonl(said))
    assert run("linux", "--yes").exit_code == 0
    left = [json.loads(line)["text"] for line in Path("data/raw/a.jsonl").read_text().splitlines()]
    assert left == ["linux is an operating system", "<name>: which one?"]


def test_of_several_people_of_one_name_those_are_forgotten_who_are_chosen(bare):
    Path("data/raw/qq.txt").write_bytes(
        "消息记录（此消息记录为文本格式，不支持重新导入）\n\n2024-01-15 10:00:00 小明(1234567)\n一\n\n"
        "2024-01-15 10:01:00 小明(2345678)\n二\n\n2024-01-15 10:02:00 小明(2345678)\n三\n\n".encode()
    )
    before = everything(Path("data"))
    done = run("小明", "--yes")
    assert done.exit_code == 1
    first, second = pseudonym("1234567"), pseudonym("2345678")
    assert f"{first} (1 messages)" in done.output
    assert f"{second} (2 messages)" in done.output
    assert run("小明", "--only", "u00000000", "--yes").exit_code == 1
    assert everything(Path("data")) == before
    assert run("小明", "--only", second, "--yes").exit_code == 0
    assert [sender for sender, _, _ in read_again()[0]] == [first]


def test_who_is_forgotten_already_is_no_error(bare):
    Path("data/raw/a.jsonl").write_bytes(jsonl())
    for said in ("1 exports written again", "is forgotten already"):
        done = run(ANN, "--yes")
        assert done.exit_code == 0
        assert said in done.output


def test_nobody_of_that_name_changes_nothing(project):
    before = everything(project)
    done = run("Nobody", "--yes")
    assert done.exit_code == 1
    assert "nobody in the exports has this name" in done.output
    assert {name: data for name, data in everything(project).items() if not name.startswith(".dvc/tmp")} == {
        name: data for name, data in before.items() if not name.startswith(".dvc/tmp")
    }


@pytest.mark.parametrize("arguments", [("--dry-run",), ()], ids=["dry run", "no"])
def test_what_would_go_is_said_and_nothing_done(project, arguments):
    before = {name: data for name, data in everything(project).items() if not name.startswith((".dvc/tmp", ".git/"))}
    done = run(pseudonym(ANN), *arguments, input="n\n")
    assert done.exit_code == (0 if arguments else 1)
    assert f"{pseudonym(ANN)}: 2 messages" in done.output
    assert "data/alpaca" in done.output
    assert "exported" in done.output
    now = {name: data for name, data in everything(project).items() if not name.startswith((".dvc/tmp", ".git/"))}
    assert now == before


def test_without_the_questions_nothing_is_done_while_there_are_answers(project):
    answer(log_path(Path("data/annotations"), 1, "li"), items()[0]["item_id"], "li")
    Path("data/questions.parquet").unlink()
    done = run(ANN, "--yes")
    assert done.exit_code == 1
    assert "dvc checkout" in done.output
    assert SECRET in Path("data/raw/a.jsonl").read_text()
    assert not Path("data/raw/members.forgotten").exists()


def test_a_log_that_somebody_writes_is_left_until_they_stop(project):
    path = log_path(Path("data/annotations"), 1, "li")
    for row in items():
        answer(path, row["item_id"], "li")
    with LogWriter(path):
        assert run(ANN, "--yes").exit_code == 1
        assert len(replay(path).answers) == 6
    assert run(ANN, "--yes").exit_code == 0
    assert len(replay(path).answers) == 4


def test_a_cache_outside_of_the_project_is_left_and_named(project, tmp_path_factory):
    shared = tmp_path_factory.mktemp("shared")
    dvc("cache", "dir", str(shared / "cache"))
    dvc("repro", "--quiet", "--force")
    held = holding(shared, SECRET)
    assert held
    done = run(ANN, "--yes")
    assert done.exit_code == 1
    assert "dvc gc --workspace --projects OTHER" in done.output
    assert holding(shared, SECRET) == held


def test_versions_of_exports_that_dvc_keeps_go(bare):
    Path("data/raw/a.jsonl").write_bytes(jsonl(SAID[:4]))
    Path("data/raw/b.jsonl").write_bytes(jsonl([("Dee", "and what is this?")]))
    dvc("add", "--quiet", "data/raw/a.jsonl", "data/raw/b.jsonl")
    git("add", "--force", "data/raw/a.jsonl.dvc")
    git("commit", "--quiet", "-m", "first")
    Path("data/raw/a.jsonl").unlink()
    Path("data/raw/a.jsonl").write_bytes(jsonl())
    dvc("add", "--quiet", "data/raw/a.jsonl")
    assert len(holding(bare / ".dvc", SECRET)) == 2
    done = run(ANN, "--yes")
    assert done.exit_code == 0, done.output
    assert "dvc add it again" in done.output
    assert holding(bare, SECRET, ANN) == []
    assert holding(bare / ".dvc", "what is this")


def test_what_git_and_remotes_keep_is_said(project, tmp_path):
    git("add", "--force", "data/raw/a.jsonl")
    git("commit", "--quiet", "-m", "the chat")
    commit = git("log", "-1", "--format=%h").strip()
    dvc("remote", "add", "--quiet", "team", str(tmp_path / "team"))
    done = run(ANN, "--yes")
    assert done.exit_code == 0
    assert f"git's history of data/raw (1 commits: {commit})" in done.output
    assert "git filter-repo --invert-paths --path data/raw" in done.output
    assert "dvc gc --workspace --cloud --remote team" in done.output


def test_a_stage_that_had_another_name_came_from_the_exports_all_the_same(project):
    for before, after in (("pick_questions", "choose"), ("data/alpaca", "data/pairs"), ("train:", "tune:")):
        for name in ("dvc.yaml", "make.py"):
            Path(name).write_text(Path(name).read_text().replace(before, after))
    dvc("repro", "--quiet", "--no-run-cache")
    shutil.rmtree(".dvc/cache/runs")
    assert run(ANN, "--yes").exit_code == 0
    assert holding(project / ".dvc", SECRET, pseudonym(ANN)) == []
    assert holding(project / ".dvc" / "cache", "nobody")


def test_what_only_an_experiment_names_goes_too(project):
    git("update-ref", "refs/exps/aa/some-experiment", "HEAD")
    git("reset", "--quiet", "--hard", "HEAD~1")
    shutil.rmtree(".dvc/cache/runs")
    copy = Path(".dvc/tmp/exps/tmpabc")
    (copy / "data").mkdir(parents=True)
    done = run(ANN, "--yes")
    assert done.exit_code == 1
    assert f"{copy}: an experiment's copy" in done.output
    copy.joinpath("data").rmdir()
    assert run(ANN, "--yes").exit_code == 0
    assert holding(project, SECRET, ANN, pseudonym(ANN)) == []


def test_an_export_that_knows_them_by_another_name_is_not_forgotten_after_a_kill(bare):
    """Only the first export tells the name that is given."""
    said = [(who, text.replace(ANN, "her")) for who, text in SAID]
    Path("data/raw/a.txt").write_bytes(qq(said))
    numbers = {ANN: "1234567", BOB: "2345678", CAI: "3456789"}
    Path("data/raw/b.jsonl").write_bytes(jsonl([(numbers[who], text) for who, text in said]))
    child = os.fork()
    if not child:
        kill_at(6)
        run(ANN, "--yes")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 9
    assert holding(bare, SECRET) == ["data/raw/b.jsonl"]
    done = run(ANN, "--yes")
    assert done.exit_code == 0, done.output
    assert holding(bare, SECRET, ANN) == []


@pytest.mark.parametrize("step", [0, 1, 2, 4, 6, 8, 12, 18, 25, 32])
def test_a_kill_leaves_what_the_same_command_ends(project, step):
    path = log_path(Path("data/annotations"), 1, "li")
    for row in items():
        answer(path, row["item_id"], "li")
    his = [row["item_id"] for row in items() if row["sender"] != pseudonym(ANN)]
    child = os.fork()
    if not child:
        kill_at(step)
        run(ANN, "--yes")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 9
    done = run(ANN, "--yes")
    assert done.exit_code == 0, done.output
    assert holding(project, SECRET, ANN, pseudonym(ANN)) == []
    assert list(replay(path).answers) == his
    assert all(item in done.output for item in his[1:])


def kill_at(step):
    """Have this process killed before it replaces or removes one more file than so many."""
    left = [step]

    def dying(change):
        def wrapped(*arguments, **more):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(*arguments, **more)

        return wrapped

    for place, name in ((Path, "replace"), (Path, "unlink"), (shutil, "rmtree")):
        setattr(place, name, dying(getattr(place, name)))
