"""Questions over HTTP: the same answers as offline, many clients at once, and nothing that hurts."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from importlib.resources import files
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import httpx2
import numpy as np
import psutil
import pytest
from model_fixtures import PROMPT as PROMPT_WORDS
from model_fixtures import run, write_questions
from starlette.testclient import TestClient

from chatladder.cli.answering import WRITER, Gate
from chatladder.cli.listening import MOST_BYTES, listen, serve
from chatladder.cli.serve.app import Limits
from chatladder.cli.serve.command import serve_command
from chatladder.cli.serve.messages import MOST_OF_TEXT, Asked, Chat, Reader
from chatladder.evaluation.predictions import read_predictions
from chatladder.evaluation.scores import NEEDED
from chatladder.evaluation.threshold import decide
from chatladder.models.loading import add_adapter, load
from chatladder.models.prompts import PromptSettings, render_row
from chatladder.vocabulary import ITEMS, TASK
from stages.predict import main as predict
from tests.browser import chromium
from tests.conftest import ROOT
from tests.export_project import PROMPT, RUNG, make_project
from tests.serving import SETTINGS, app_of, by_number, question, served

TOKEN = "a-token-of-the-tests"


@pytest.fixture
def client():
    return TestClient(app_of(), raise_server_exceptions=False)


# Answers


def test_answers_are_those_that_predict_writes(tiny_base, tiny_adapter, tmp_path):
    rows = write_questions(tmp_path / "labelled.parquet", 48)
    asked = ("--questions", tmp_path / "labelled.parquet", "--max-length", 512, "--out", tmp_path / "p.parquet")
    assert run(predict, "--base", tiny_base, "--adapter", tiny_adapter, *PROMPT_WORDS, *asked).exit_code == 0
    offline = read_predictions(tmp_path / "p.parquet", [row["item_id"] for row in rows])
    threshold = float(np.median(offline.log_odds)) + 1e-6
    needed = (decide(offline, threshold).answers == NEEDED).tolist()
    assert 0 < sum(needed) < len(needed)
    p_needed = (1 - offline.p_unknown) / (1 + np.exp(-offline.log_odds))
    settings = SETTINGS.__class__(**{**SETTINGS.__dict__, "threshold": threshold})
    gate = Gate(*load(tiny_base, tiny_adapter), settings)
    bodies = [
        question(
            row["text"],
            [(turn["sender"], turn["text"]) for turn in row["window"]],
            row["sender"],
            item_id=row["item_id"],
        )
        for row in rows
    ]
    with served(lambda some: gate.answer(some)[0], settings=settings) as client:
        together = client.post("/v1/questions", json=bodies).json()
        with ThreadPoolExecutor(8) as pool:
            single = list(pool.map(lambda body: client.post("/v1/questions", json=body).json(), bodies))
    for answers in (together, single):
        assert [answer["needed"] for answer in answers] == needed
        assert [answer["p_needed"] for answer in answers] == pytest.approx(p_needed.tolist(), abs=2e-5)


def test_a_second_adapter_writes_out_what_the_first_calls_needed(tiny_base, tiny_adapter):
    settings = SETTINGS.__class__(**{**SETTINGS.__dict__, "threshold": 0.0})
    model, tokenizer = load(tiny_base, tiny_adapter)
    rows = [
        Reader(settings).row(Asked.model_validate(question(f"它的第{n}版好用吗？", [("li", "伞")]))) for n in range(9)
    ]
    before, _ = Gate(model, tokenizer, settings).answer(rows)
    add_adapter(model, tiny_adapter, WRITER)
    after, _ = Gate(model, tokenizer, settings).answer(rows)
    assert [each[:2] for each in after] == [each[:2] for each in before]
    assert 0 < sum(each.needed for each in after) < len(after)
    assert [each.rewritten is not None for each in after] == [each.needed for each in after]
    assert Gate(model, tokenizer, settings).answer(rows)[0] == after


def test_names_and_personal_data_are_gone_before_the_model_reads(monkeypatch):
    monkeypatch.delenv("CHATLADDER_PRIVACY_KEY", raising=False)
    history = [("Ann Smith", "我的电话是13812345678"), ("u1a2b3c4d", "@Ann Smith 好")]
    row = Reader(SETTINGS).row(Asked.model_validate(question("Ann Smith, 它好用吗？", history, "Bob")))
    prompt = render_row(row, PromptSettings(**PROMPT)).instruction
    assert not [private for private in ("Ann", "Smith", "Bob", "13812345678") if private in prompt]
    assert "<phone>" in prompt
    # A pseudonym of the pipeline stays what it is.
    assert row["window"][1]["sender"] == "u1a2b3c4d"
    assert row["window"][1]["text"] == f"@{row['window'][0]['sender']} 好"


def test_the_model_reads_no_more_history_than_it_was_trained_on():
    history = [(f"user{number}", f"第{number}句") for number in range(10)]
    row = Reader(SETTINGS).row(Asked.model_validate(question(history=history)))
    assert [turn["text"] for turn in row["window"]] == ["第7句", "第8句", "第9句"]


def test_questions_of_a_chat_are_those_of_the_judge_of_rules(client):
    said = [
        ("li", "我买了一台RTX 4090"),
        ("wu", "它能跑多大的模型？70"),
        ("li", "？"),
        ("wu", "好的"),
        ("li", "怎么安装CUDA 12？"),
    ]
    turns = [{"sender": sender, "text": text} for sender, text in said]
    judged = client.post("/v1/chats", json={"turns": turns}).json()
    assert [turn["is_question"] for turn in judged] == [False, True, False, False, True]
    assert judged[1]["answer"] == {"needed": True, "p_needed": 0.7, "rewritten": None}
    assert [turn["answer"] is None for turn in judged] == [True, False, True, True, False]
    rows = Reader(SETTINGS).questions(Chat.model_validate({"turns": turns}))
    assert [turn["text"] for turn in rows[4]["window"]] == ["它能跑多大的模型？70", "？", "好的"]


def test_a_task_about_messages_asks_about_each_that_has_a_text(monkeypatch):
    monkeypatch.setattr("chatladder.cli.serve.messages.TASK", replace(TASK, item=ITEMS["messages"]))
    turns = [{"sender": "li", "text": text} for text in ("好的", " ", "谢谢大家")]
    rows = Reader(SETTINGS).questions(Chat.model_validate({"turns": turns}))
    assert [row and row["text"] for row in rows] == ["好的", None, "谢谢大家"]


# Many at once


def test_fifty_clients_at_once_are_answered_in_few_batches_each_with_its_own_answer():
    sizes, threads = [], set()

    def answer(rows):
        sizes.append(len(rows))
        threads.add(threading.get_ident())
        time.sleep(0.05)
        return by_number(rows)

    with served(answer) as client:

        def ask(number):
            return client.post("/v1/questions", json=question(f"它的第{number}版好用吗？"))

        with ThreadPoolExecutor(50) as pool:
            replies = list(pool.map(ask, range(50)))
    assert [reply.status_code for reply in replies] == [200] * 50
    assert [reply.json()["p_needed"] for reply in replies] == [number / 100 for number in range(50)]
    assert len(threads) == 1
    assert sum(sizes) == 50
    assert len(sizes) < 25


def test_a_question_that_fails_fails_alone():
    first = threading.Event()

    def answer(rows):
        first.wait(10)
        if any("99" in row["text"] for row in rows):
            raise RuntimeError("a bug of the tests")
        return by_number(rows)

    with served(answer) as client, ThreadPoolExecutor(3) as pool:
        replies = [pool.submit(client.post, "/v1/questions", json=question(f"第{n}版？")) for n in (1, 99, 2)]
        time.sleep(0.3)
        first.set()
        assert [reply.result().status_code for reply in replies] == [200, 500, 200]


def test_more_than_may_wait_is_told_to_come_again_and_a_slow_answer_is_given_up():
    go = threading.Event()

    def answer(rows):
        go.wait(20)
        return by_number(rows)

    with served(answer, limits=Limits(seconds=0.5, most_waiting=2)) as client, ThreadPoolExecutor(1) as pool:
        slow = pool.submit(client.post, "/v1/questions", json=question())
        time.sleep(0.2)
        full = client.post("/v1/questions", json=[question()] * 3)
        assert (full.status_code, full.headers["Retry-After"]) == (503, "1")
        assert slow.result().status_code == 504
        assert client.get("/health").json()["status"] == "ok"
        go.set()
        assert client.post("/v1/questions", json=question()).status_code == 200


# What is refused


GOOD = question()
LONE = '{"history": [], "question": {"sender": "a", "text": "\\ud83d"}}'


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"", 422, "body: "),
        (b"{", 400, "expected JSON"),
        (b"\xff\xfe\x00", 400, "expected JSON"),
        ("[" * 500_000, 400, "expected JSON"),
        ('{"history":' * 80_000, 400, "expected JSON"),
        ("1" * 100_000, 400, "expected JSON"),
        ("NaN", 422, "body: "),
        ("null", 422, "body: "),
        ("[]", 422, "at least 1 item"),
        (LONE, 422, "question.text: "),
        ('{"\\ud83d": 1}', 422, "body: "),
        (json.dumps({**GOOD, "histroy": []}), 422, "histroy: "),
        (json.dumps({**GOOD, "x" * 5000: []}), 422, "x…: "),
        (json.dumps({"history": []}), 422, "question: "),
        (json.dumps({**GOOD, "history": {}}), 422, "history: "),
        (json.dumps({**GOOD, "history": [GOOD["question"]] * 101}), 422, "history: "),
        (json.dumps([GOOD] * 65), 422, "at most 64 items"),
        (json.dumps(question(float("nan"))), 422, "question.text: "),
        (json.dumps(question(7)), 422, "question.text: "),
        (json.dumps(question(" \n")), 422, "question.text: expected text, got none"),
        (json.dumps(question("a\x00b?")), 422, "question.text: expected text, got a control character (U+0000)"),
        (json.dumps(question("a\x1b[31m?")), 422, "control character (U+001B)"),
        (json.dumps(question("?" * (MOST_OF_TEXT + 1))), 422, "question.text: "),
        (json.dumps(question(sender="")), 422, "question.sender: "),
        (json.dumps(question("秘密" * MOST_BYTES)), 413, "at most 1,048,576 bytes"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_question_is_refused_in_words(client, body, code, message):
    reply = client.post("/v1/questions", content=body, headers={"Content-Type": "application/json"})
    assert (reply.status_code, set(reply.json())) == (code, {"detail"})
    assert message in reply.json()["detail"]
    assert len(reply.content) < 400
    assert "秘密" not in reply.text


def test_a_form_of_another_page_is_no_question(client):
    plain = client.post("/v1/questions", content=json.dumps(GOOD), headers={"Content-Type": "text/plain"})
    assert (plain.status_code, plain.json()["detail"]) == (415, "expected Content-Type: application/json.")
    for wrong in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
        for path in ("/", "/health", "/openapi.json"):
            assert client.get(path, headers=wrong).status_code == 403
        assert client.post("/v1/questions", json=GOOD, headers=wrong).status_code == 403
    assert client.post("/v1/questions", json=GOOD, headers={"Origin": "http://testserver"}).status_code == 200


def test_the_token_is_wanted_for_answers_whatever_the_server_is_called(capfd):
    client = TestClient(app_of(token=TOKEN), raise_server_exceptions=False)
    for wrong in ({}, {"Authorization": TOKEN}, {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": "Bearer é"}):
        given = {name: value.encode() for name, value in wrong.items()}
        for path in ("/v1/questions", "/v1/chats"):
            assert client.post(path, content=b"{", headers=given).status_code == 401
    reply = client.post("/v1/questions", json=GOOD, headers={"Authorization": f"Bearer {TOKEN}", "Host": "gpu.example"})
    assert reply.status_code == 200
    assert "HTTPBearer" in client.get("/openapi.json").text
    assert TOKEN not in "".join(capfd.readouterr())


def sent(client, head, *pieces, wait=0.0):
    """The first line of the answer to a request that is sent in pieces, and the seconds that it took."""
    start = time.monotonic()
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=30) as connection:
        connection.sendall(head.format(host=client.base_url.netloc.decode()).encode())
        for piece in pieces:
            time.sleep(wait)
            try:
                connection.sendall(piece)
            except OSError:
                break
        return connection.makefile("rb").readline().decode(), time.monotonic() - start


HEAD = "POST /v1/questions HTTP/1.1\r\nHost: {{host}}\r\nContent-Type: application/json\r\n{}\r\n\r\n"


def test_what_arrives_in_no_end_or_in_no_time_is_refused_without_being_held():
    piece = b"100000\r\n" + b" " * 2**20 + b"\r\n"
    with served(limits=Limits(seconds=1)) as client:
        before = psutil.Process().memory_info().rss
        line, _ = sent(client, HEAD.format("Transfer-Encoding: chunked"), *[piece] * 200)
        assert " 413 " in line
        line, _ = sent(client, HEAD.format(f"Content-Length: {2**40}"), *[piece] * 200)
        assert " 413 " in line
        line, took = sent(client, HEAD.format("Content-Length: 100"), b"{")
        assert " 408 " in line
        assert took < 10
        assert psutil.Process().memory_info().rss - before < 64 * 2**20
        assert client.post("/v1/questions", json=GOOD).status_code == 200


# The page, and what the API says of itself


def test_the_page_and_the_api_load_nothing_foreign(client):
    for name in ("page.html", "page.css", "page.js"):
        text = files("chatladder.cli.serve").joinpath(name).read_text(encoding="utf-8")
        assert not re.search(r"https?:|//\w|@import|innerHTML", text.replace('startsWith("//")', "")), name
    page = client.get("/")
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
    assert (page.headers["Cache-Control"], page.headers["X-Content-Type-Options"]) == ("no-store", "nosniff")
    for path in ("/docs", "/redoc"):
        assert client.get(path).status_code == 404
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {"/v1/questions", "/v1/chats", "/health"}
    assert client.get("/health").json() == {
        "status": "ok", "ask": TASK.ask["en"], "items": "questions", "labels": ["needed", "not needed"],
        "model": "tiny", "threshold": None, "window": 3, "gap_seconds": 18, "waiting": 0,
    }  # fmt: skip


TALK = "li: 我买了一台RTX 4090\nwu：它能跑多大的模型？70\n  <b>想跑</b> http://x.example/70B 的\nli: 怎么安装CUDA 12？"


def test_the_page_judges_what_is_pasted_on_a_phone_in_the_dark():
    with served(token=TOKEN) as client, chromium() as browser:
        context = browser.new_context(
            viewport={"width": 360, "height": 640}, color_scheme="dark", has_touch=True, is_mobile=True
        )
        page = context.new_page()
        asked, errors = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(str(client.base_url))
        page.fill("#chat", TALK)
        page.tap("#judge")
        page.wait_for_selector("#token:visible")
        page.fill("#token", TOKEN)
        page.tap("#judge")
        page.wait_for_selector("li.question")
        assert page.inner_text("#status") == "“needed”: 1 of 2 questions."
        assert page.inner_text("h1") == page.title() == TASK.ask["en"]
        turns = page.locator("#turns li").all_inner_texts()
        assert len(turns) == 3
        assert "needed\nProbability of “needed”: 70\u00a0%" in turns[1]
        assert "<b>想跑</b> http://x.example/70B 的" in turns[1]
        assert "not needed" in turns[2]
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 25, 26)"
        assert page.locator("#judge").bounding_box()["height"] >= 44
        page.fill("#chat", "no name here")
        page.tap("#judge")
        page.wait_for_function("document.querySelector('#status').textContent.startsWith('Paste')")
        assert {url.split("/")[2] for url in asked if not url.startswith("data:")} == {client.base_url.netloc.decode()}
        assert errors == []


def test_the_page_shows_what_was_written_out():
    def answer(rows):
        return [
            each._replace(rewritten="RTX 4090能跑<b>多大</b>？" if each.needed else None) for each in by_number(rows)
        ]

    with served(answer) as client, chromium() as browser:
        page = browser.new_page()
        page.goto(str(client.base_url))
        page.fill("#chat", TALK)
        page.click("#judge")
        page.wait_for_selector("li.question")
        turns = page.locator("#turns li").all_inner_texts()
        assert "Written out: RTX 4090能跑<b>多大</b>？" in turns[1]
        assert "Written out" not in turns[2]


# The command


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ((), 2, "expected either a rung or --model"),
        (("tiny", "--model", "."), 2, "expected either a rung or --model"),
        (("tiny", "--host", "192.0.2.7"), 1, "Add --expose to allow it"),
        (("tiny", "--host", "192.0.2.7", "--expose"), 1, "expected a token that requests must contain, got none"),
        (("tiny", "--token", "short"), 1, "expected 16 to 256 ASCII letters"),
        (("tiny", "--cost-missed", 5), 2, "--cost-missed and --cost-needless go together"),
        (("tiny",), 2, "dvc.lock does not say what the model was trained with"),
    ],
)
def test_a_server_that_should_not_be_is_refused(tmp_path, monkeypatch, options, code, message):
    monkeypatch.chdir(tmp_path)
    result = run(serve_command, *options)
    assert result.exit_code == code, result.output
    assert message in " ".join(result.output.split())
    assert "short" not in result.output


@contextmanager
def command(project, *options):
    """The command itself, and the address that it prints."""
    words = [sys.executable, "-m", "chatladder.cli.serve.command", RUNG, "--port", "0", *options]
    with subprocess.Popen(words, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            line = next((line for line in process.stdout if line.startswith("http://")), None)
            assert line, "it ended before it said where it is"
            yield process, line.strip().rstrip("/")
        finally:
            process.kill()


@pytest.mark.slow
def test_a_rung_is_served_until_it_is_stopped(tiny_base, tiny_adapter, tiny_alpaca, tmp_path, monkeypatch):
    project = make_project(tmp_path / "project", tiny_base, tiny_adapter, tiny_alpaca)
    monkeypatch.setenv("CHATLADDER_SERVE_TOKEN", TOKEN)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with command(project) as (process, address):
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        with httpx2.Client(base_url=address, headers=bearer, timeout=60, trust_env=False) as client:
            assert client.get("/health").json()["model"] == RUNG
            assert set(client.post("/v1/questions", json=GOOD).json()) == {"needed", "p_needed", "rewritten"}
            before = psutil.Process(process.pid).memory_info().rss
            piece = b" " * 2**20
            large = client.post("/v1/questions", content=(piece for _ in range(1024)))
            assert large.status_code == 413
            assert psutil.Process(process.pid).memory_info().rss - before < 64 * 2**20
            assert client.post("/v1/questions", json=GOOD).status_code == 200
        process.send_signal(signal.SIGTERM)  # Ctrl+C ends it in tests/cli/test_commands.py
        assert process.wait(30) == 0
        said = process.stdout.read()
        assert TOKEN not in said
        assert "Traceback" not in said


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_a_server_that_has_said_its_address_stops_in_order(end):
    """Whoever read the address may stop it at once."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        with listen("127.0.0.1", 0) as listening:
            serve(app_of(), listening, on_start=lambda: signal.raise_signal(end))
    finally:
        signal.signal(signal.SIGTERM, before)


# The bot


@pytest.fixture
def bot():
    """The example as a module."""
    spec = spec_from_file_location("bot", ROOT / "docs" / "examples" / "bot.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_bot_hands_on_the_history_where_it_is_needed(bot):
    assert len(Path(bot.__file__).read_text(encoding="utf-8").splitlines()) <= 60
    with served(token=TOKEN) as client:
        ours = bot.Bot(str(client.base_url).rstrip("/"), TOKEN)
        for number in range(20):
            assert ours.hear("home", "li", f"我买了第{number}把伞") is None
        alone = {"sender": "wu", "text": "怎么安装CUDA 12？"}
        assert ours.hear("work", **alone) == [alone]
        context = ours.hear("home", "wu", "它好用吗？")
    assert len(context) == 13
    assert context[0]["text"] == "我买了第8把伞"


def test_the_bot_hands_on_the_question_where_it_was_written_out(bot):
    def answer(rows):
        return [each._replace(rewritten="伞好用吗？" if each.needed else None) for each in by_number(rows)]

    with served(answer) as client:
        ours = bot.Bot(str(client.base_url).rstrip("/"))
        ours.hear("home", "li", "我买了把伞")
        assert ours.hear("home", "wu", "它好用吗？") == [{"sender": "wu", "text": "伞好用吗？"}]


def test_the_bot_lives_on_whatever_is_said_and_without_a_server(bot):
    def listens(address, *texts):
        lines = [json.dumps({"group": "a", "sender": "li", "text": text}) for text in texts]
        done = subprocess.run(
            [sys.executable, bot.__file__], env={"CHATLADDER_SERVER": address, "PYTHONUTF8": "1"},
            input="\n".join(lines), capture_output=True, text=True, encoding="utf-8", timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()], done.stderr

    with served() as client:
        address = str(client.base_url).rstrip("/")
        texts = "伞\x00\ud83d", "它好用吗？", "x" * (MOST_OF_TEXT + 1) + "?", "第7把好用吗？"
        said, complaints = listens(address, *texts)
    assert [len(context) for context in said] == [2, 1, 1]
    assert complaints == ""
    said, complaints = listens(address, "第7把好用吗？", "好的")
    assert said == []
    assert "refused" in complaints
