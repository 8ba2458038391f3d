"""The annotator's page: who gets in, what each step does, what other pages can do, and where it listens."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from io import StringIO
from types import SimpleNamespace
from typing import ClassVar

import httpx2
import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

from chatladder.cli.annotate import web
from chatladder.cli.annotate.command import annotate_command
from chatladder.cli.annotate.desk import Desk
from chatladder.cli.annotate.display import NAMES, People
from chatladder.cli.annotate.running import Task
from chatladder.cli.annotate.session import Session, SessionItems
from chatladder.cli.annotate.web import Page, Tally, create_app
from chatladder.cli.listening import MOST_BYTES, listening_address
from chatladder.io.console import DataError
from chatladder.io.rows import QUESTIONS, write_rows
from chatladder.labels import log as log_module
from chatladder.labels.answer import Label
from chatladder.labels.log import LogWriter, replay
from chatladder.labels.rounds import log_path
from chatladder.labels.verdicts import Case
from tests.browser import chromium
from tests.conftest import ROOT
from tests.serving import running

TOKEN = "a-token-of-the-tests"
START = 1_696_150_800  # 2023-10-01 09:00 UTC
ANN, BOB, EVE = "u1a2b3c4d", "u00ff00ff11ee11ee", "udeadbeef"
HOSTILE = "<b>x</b><img src=x onerror=alert(1)> \x1b[2J\x07 \u202egnp.exe\u2066"


def row(number, text=None):
    said = [(ANN, "我装了 2.1 版"), (BOB, f"@{ANN} number {number}?")]
    return {
        "item_id": f"item{number:04}",
        "turn_id": f"turn{number:04}",
        "group": "g",
        "conversation": f"g:{number}",
        "sender": BOB,
        "text": text or f"question {number}?",
        "timestamp": START + 60 * number,
        "window": [{"sender": who, "text": text, "timestamp": START + 60 * number - 30} for who, text in said],
    }


class Work:
    """A person's files, and a client of the app on them."""

    def __init__(self, folder, count=6, cases=None, **rows):
        self.folder = folder
        write_rows(
            folder / "questions.parquet", [row(number, rows.get(f"q{number}")) for number in range(count)], QUESTIONS
        )
        self.path = log_path(folder / "annotations", 1, "li")
        self.cases = cases or {}

    @contextmanager
    def app(self, hosts=("testserver",), keys="", notices=()):
        """The app, with the log held."""
        items = SessionItems(self.folder / "questions.parquet")
        with LogWriter(self.path) as log:
            rounds = dict.fromkeys(items.ids, 1)
            session = Session(rounds, replay(self.path).history, log.append, annotator="li")
            guidelines = "# 标注 Guidelines\n\n## needed\nIt **leaves out**\nsomething.\n\n- <i>one</i>\n"
            task = Task("li", "li · round 1", rounds, {1: self.path}, guidelines, notices, self.cases)
            page = Page(Desk(session, items), task, SimpleNamespace(keys=keys, timezone="Asia/Shanghai"))
            yield create_app({TOKEN: page}, list(hosts))

    @contextmanager
    def client(self, **options):
        with self.app(**options) as app:
            client = TestClient(app, raise_server_exceptions=False, headers={"Authorization": f"Bearer {TOKEN}"})
            yield lambda path, **body: said(
                client.post(f"/v1/{path}", json=body) if body else client.get(f"/v1/{path}")
            )

    @contextmanager
    def app_at(self, **options):
        """The address of the app on a port of its own."""
        with ExitStack() as stack:
            address = stack.enter_context(running(lambda hosts: stack.enter_context(self.app(hosts, **options))))
            yield f"{address}/#{TOKEN}"

    def lines(self):
        return [json.loads(line) for line in self.path.read_text("utf-8").splitlines()] if self.path.exists() else []

    def answers(self):
        return {item_id: (answer.label, answer.rewrite) for item_id, answer in replay(self.path).answers.items()}


def said(reply):
    assert reply.status_code == 200, reply.text
    return reply.json()


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Work(tmp_path)


class TestTheDoor:
    STEP: ClassVar = {"item_id": "item0000", "label": "needed"}

    def test_what_is_below_v1_needs_the_token(self, work):
        with work.app() as app:
            client = TestClient(app)
            for wrong in ({}, {"Authorization": TOKEN}, {"Authorization": f"Bearer {TOKEN}x"}, {"Cookie": TOKEN}):
                assert client.get("/v1/state", headers=wrong).status_code == 401
                for path in ("answer", "write", "undo", "go", "other"):
                    assert client.post(f"/v1/{path}", content=b"{", headers=wrong).status_code == 401
                assert client.get(f"/v1/state?token={TOKEN}", headers=wrong).status_code == 401
            assert TOKEN not in "".join(client.get(path).text for path in ("/", "/page.js", "/openapi.json"))
        assert work.lines() == []

    @pytest.mark.parametrize(
        "wrong",
        [{"Host": "evil.example"}, {"Host": "testserver:1"}, {"Origin": "http://evil.example"}, {"Origin": "null"},
         {"Origin": "http://testserver.example"}, {"Origin": "https://testserver"}],
    )  # fmt: skip
    def test_whoever_has_the_token_must_ask_the_printed_address_from_its_own_page(self, work, wrong):
        with work.app() as app:
            client = TestClient(app, headers={"Authorization": f"Bearer {TOKEN}"})
            for path in ("/", "/page.js", "/v1/state"):
                assert client.get(path, headers=wrong).status_code == 403
            assert client.post("/v1/answer", json=self.STEP, headers=wrong).status_code == 403
            assert work.lines() == []
            assert client.post("/v1/answer", json=self.STEP, headers={"Origin": "http://testserver"}).status_code == 200

    def test_the_page_is_for_no_other_page_no_cache_and_no_other_host(self, work):
        with work.app() as app:
            headers = TestClient(app).get("/").headers
        policy = dict(each.strip().split(" ", 1) for each in headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert (headers["Referrer-Policy"], headers["Cache-Control"]) == ("no-referrer", "no-store")
        for name in ("page.html", "page.css", "page.js"):
            text = files("chatladder.cli.annotate").joinpath(name).read_text(encoding="utf-8")
            assert not [word for word in ("http:", "https:", "@import", "innerHTML", "insertAdjacent") if word in text]

    @pytest.mark.parametrize(
        ("body", "code", "message"),
        [
            (b"{", 400, "expected JSON"),
            ("[" * 500_000, 400, "expected JSON"),
            ({"item_id": "item0000"}, 422, "label: "),
            ({"item_id": "item0000", "label": "sure"}, 422, "label: "),
            ({"item_id": 7, "label": "needed"}, 422, "item_id: "),
            ({"item_id": "item0000", "label": "needed", "x": 1}, 422, "x: "),
            ({"item_id": "0", "label": "needed"}, 422, "expected a question of this work, got another"),
            (b'{"item_id": "\\ud83d", "label": "needed"}', 422, "expected a question of this work, got another"),
            (b" " * (MOST_BYTES + 1), 413, "at most 1,048,576 bytes"),
        ],
    )
    def test_what_is_no_answer_is_refused_in_words(self, work, body, code, message):
        with work.app() as app:
            client = TestClient(app, headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"})
            reply = client.post("/v1/answer", content=json.dumps(body) if isinstance(body, dict) else body)
            assert (reply.status_code, set(reply.json())) == (code, {"detail"})
            assert message in reply.json()["detail"]
            form = client.post("/v1/answer", content=json.dumps(self.STEP), headers={"Content-Type": "text/plain"})
            assert form.status_code == 415
        assert work.lines() == []

    @pytest.mark.parametrize(
        ("path", "more"),
        [("go", {}), ("go", {"by": 2}), ("go", {"by": 1, "skip": True}), ("go", {"search": ""}),
         ("go", {"to": "x" * 10_001}), ("write", {}), ("write", {"text": "x" * 10_001}),
         ("undo", {}), ("undo", {"standing": "all"})],
    )  # fmt: skip
    def test_a_step_that_says_too_little_or_too_much_is_refused(self, work, path, more):
        with work.app() as app:
            client = TestClient(app, headers={"Authorization": f"Bearer {TOKEN}"})
            assert client.post(f"/v1/{path}", json={"item_id": "item0000", **more}).status_code == 422


class TestSteps:
    def test_the_state_has_all_that_the_page_shows(self, work):
        with work.client(keys="needed=a,undo=;", notices=["Something happened."]) as ask:
            state = ask("state")
        assert (state["title"], state["place"], state["done"], state["total"]) == ("li · round 1", 1, 0, 6)
        assert state["remark"] == "Something happened."
        first, second, question = state["turns"]
        assert {first["who"], second["who"]} < set(NAMES)
        assert first["who"] != second["who"] == question["who"]
        assert second["text"] == f"@{first['who']} number 0?"
        assert (first["note"], second["note"], first["time"]) == ("2023-10-01 Sun", "", "16:59")
        assert [each["name"] for each in state["labels"]] == ["needed", "not_needed", "not_a_question", "unsure"]
        assert {state["keys"][key] for key in ("a", ";", "ArrowLeft", "?")} == {
            "needed",
            "undo",
            "previous",
            "definition",
        }
        assert "j" not in state["keys"]
        assert ANN not in json.dumps(state)
        assert state["said"] == []

    def test_an_answer_is_of_the_question_it_names_and_counts_once(self, work):
        with work.client() as ask:
            assert ask("answer", item_id="item0000", label="needed")["item_id"] == "item0001"
            again = ask("answer", item_id="item0000", label="needed")
            assert (again["item_id"], again["done"]) == ("item0001", 1)
            # A second tab shows another question.
            assert ask("answer", item_id="item0003", label="unsure")["item_id"] == "item0004"
            assert ask("answer", item_id="item0000", label="not_needed")["item_id"] == "item0001"
        assert [(line["item_id"], line["label"]) for line in work.lines()] == [
            ("item0000", "needed"), ("item0003", "unsure"), ("item0000", "not_needed"),
        ]  # fmt: skip
        with work.client() as ask:
            assert ask("state")["item_id"] == "item0001"
            assert ask("go", item_id="item0001", by=-1)["answer"] == "not_needed"

    def test_an_undo_that_arrives_twice_takes_one_answer_back(self, work):
        with work.client() as ask:
            ask("answer", item_id="item0000", label="needed")
            standing = ask("answer", item_id="item0001", label="unsure")["standing"]
            undone = ask("undo", item_id="item0002", standing=standing)
            assert (undone["item_id"], undone["remark"]) == ("item0001", "Took back unsure of 2.")
            again = ask("undo", item_id="item0002", standing=standing)
            assert "The answers changed in the meantime" in again["remark"]
            assert list(work.answers()) == ["item0000"]
            ask("undo", item_id="item0001", standing=1)
            assert ask("undo", item_id="item0000", standing=0)["remark"] == "Nothing to undo."

    def test_one_goes_on_and_back_to_numbers_ids_and_texts(self, work):
        with work.client() as ask:

            def go(item_id, **where):
                state = ask("go", item_id=item_id, **where)
                return state["item_id"], state["remark"]

            assert go("item0000", by=1) == ("item0001", "")
            assert go("item0005", by=1) == ("item0005", "This is the last item.")
            assert go("item0002", skip=True) == ("item0003", "")
            assert go("item0000", to="5") == ("item0004", "")
            assert go("item0000", to="item0002") == ("item0002", "")
            assert go("item0000", to="99")[1].startswith("Expected a number from 1 to 6")
            assert go("item0000", search="QUESTION 4") == ("item0004", "1 questions match.")
            assert go("item0000", search="question", again=True) == ("item0001", "6 questions match.")
            assert go("item0000", search="nowhere") == ("item0000", "No question matches.")

    def test_a_question_is_written_out_with_people_by_pseudonym_and_masked(self, work):
        (work.folder / "params.yaml").write_text("ingest: {phone_region: [GB]}\n")
        with work.client() as ask:
            refused = ask("write", item_id="item0000", text="x")
            assert refused["remark"] == "A question is written out once its answer is needed."
            state = ask("answer", item_id="item0000", label="needed")
            assert state["write_out"] == "item0000"
            state = ask("go", item_id="item0001", to="item0000")
            assert state["line"] == "question 0?"
            who = state["turns"][0]["who"]
            state = ask("write", item_id="item0000", text=f"{who}的 2.1\nof @{who}, 020 7946 0018?")
            assert state["remark"] == "1: written out, 1 masked."
            assert state["line"] == f"{who}的 2.1 of @{who}, <phone>?"
            assert state["is_written"]
            assert work.answers()["item0000"] == (Label.NEEDED, f"{ANN}的 2.1 of @{ANN}, <phone>?")
            assert ask("write", item_id="item0000", text=state["line"])["remark"] == "Unchanged."
            assert ask("write", item_id="item0000", text="\x1b[1m\u202ex\x00")["line"] == "\ufffd[1m\ufffdx\ufffd"
            assert ask("write", item_id="item0000", text=None)["remark"] == "1: no longer written out."
            assert ask("write", item_id="item0000", text="question 0?")["remark"] == "Unchanged."

    def test_text_of_the_chat_has_no_control_or_direction_characters(self, tmp_path):
        with Work(tmp_path, q0=HOSTILE).client() as ask:
            state = ask("state")
        assert state["turns"][-1]["text"].startswith("<b>x</b><img src=x onerror=alert(1)> ")
        assert not set(json.dumps(state, ensure_ascii=False)) & {"\x1b", "\x07", "\u202e", "\u2066"}

    def test_who_settles_sees_what_others_said(self, tmp_path):
        cases = {"item0000": Case(1, {"wu": Label.UNSURE, "li": Label.NEEDED}, {"chen": Label.NEEDED})}
        with Work(tmp_path, count=1, cases=cases).client() as ask:
            said = ask("state")["said"]
        assert [each["who"] for each in said] == ["li", "wu", "adjudicator chen"]
        assert [each["words"].split()[0] for each in said] == ["needed", "unsure", "needed"]

    def test_what_could_not_be_recorded_is_said_and_counts_as_no_answer(self, work, monkeypatch):
        def full(*_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with work.app() as app:
            client = TestClient(app, headers={"Authorization": f"Bearer {TOKEN}"}, raise_server_exceptions=False)
            step = {"item_id": "item0000", "label": "needed"}
            with monkeypatch.context() as patched:
                patched.setattr(log_module.os, "write", full)
                reply = client.post("/v1/answer", json=step)
            assert (reply.status_code, "the disk is full" in reply.json()["detail"]) == (500, True)
            assert client.get("/v1/state").json()["done"] == 0
            assert client.post("/v1/answer", json=step).json()["done"] == 1


class TestPeople:
    def test_names_are_ones_own_unless_taken_or_in_a_message(self):
        alone = People([ANN], ["hi"]).names[ANN]
        assert People([ANN, BOB], [f"@{EVE} hi"]).names[ANN] == alone
        assert People([BOB, ANN], [f"my {alone.upper()}, @{EVE}"]).names[ANN] != alone
        many = People([f"u{number:08x}" for number in range(200)], [])
        assert len(set(many.names.values())) == len(many.names) == len(NAMES)

    def test_a_text_comes_back_as_it_was(self):
        text = f"@{ANN}:{BOB}说 u12345678 {EVE}x {HOSTILE} Some Words"
        people = People([ANN, BOB], [text])
        assert ANN not in people.named(text)
        assert EVE in people.named(text)  # a longer word is nobody
        assert people.unnamed(people.named(text)) == text


# The command


@contextmanager
def annotator(folder, *arguments):
    """The command itself, and the first address that it prints."""
    words = [sys.executable, "-m", "chatladder.cli.annotate.command", "--web", "--port", "0"]
    places = ["--questions", folder / "questions.parquet", "--annotations", folder / "annotations"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*words, *places, *arguments], cwd=folder, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def client_of(line):
    """A client of the address in a printed line."""
    root, _, token = line[line.index("http://") :].strip().partition("/#")
    return httpx2.Client(base_url=root, headers={"Authorization": f"Bearer {token}"}, timeout=60, trust_env=False)


def test_two_answer_at_once_and_a_killed_server_loses_none_and_doubles_none(tmp_path):
    Work(tmp_path, count=300)
    confirmed = {"li": [], "wu": []}
    for moment, arguments in ((0.0, ["--annotators", "wu,li"]), (0.05, [])):
        with ExitStack() as stack:
            process, first = stack.enter_context(annotator(tmp_path, *arguments))
            lines = [first, process.stdout.readline()]
            assert [line[: line.index("http")] for line in lines] == ["li · round 1: ", "wu · round 1: "]
            threads = [
                threading.Thread(target=answer_on, args=(stack.enter_context(client_of(line)), own))
                for line, own in zip(lines, confirmed.values(), strict=True)
            ]
            for thread in threads:
                thread.start()
            while min(map(len, confirmed.values())) < 20 * (1 + (not arguments)):
                assert process.poll() is None
                time.sleep(0.01)
            time.sleep(moment)
            process.kill()
            for thread in threads:
                thread.join(60)
    for name, own in confirmed.items():
        log = log_path(tmp_path / "annotations", 1, name).read_text("utf-8").splitlines()
        logged = [(line["item_id"], line["label"]) for line in map(json.loads, log)]
        assert len(own) >= 40
        assert [each for each in logged if each in set(own)] == own
        assert len(logged) - len(own) <= 2
        assert len({item_id for item_id, _ in logged}) == len(logged)


def answer_on(client, confirmed):
    """Answer until the server is gone, and add what it confirmed."""
    with suppress(httpx2.TransportError):
        state = said(client.get("/v1/state"))
        while True:
            step = {"item_id": state["item_id"], "label": "unsure" if len(confirmed) % 2 else "needed"}
            state = said(client.post("/v1/answer", json=step))
            confirmed.append((step["item_id"], step["label"]))


def test_ctrl_c_ends_it_with_what_was_done_and_a_second_start_is_refused(tmp_path):
    Work(tmp_path)
    with annotator(tmp_path, "--annotator", "li") as (process, address):
        assert address.startswith("http://127.0.0.1:")
        arguments = ["--annotator", "li", "--questions", str(tmp_path / "questions.parquet"), "--web"]
        second = CliRunner().invoke(annotate_command, [*arguments, "--annotations", str(tmp_path / "annotations")])
        assert (second.exit_code, "another window" in second.output) == (1, True)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        told = process.stdout.read()
    assert "li.jsonl: 0 answers added, 0 of 6 items done." in told
    assert "Traceback" not in told


class Started:
    """What one start printed, and a client of each person."""

    def __init__(self, app, lines):
        self.app, self.lines = app, lines
        self.links = dict(line.rpartition(": ")[::2] for line in lines[:-1])

    def ask(self, person, path, *, status=200, **body):
        root, _, token = self.links[f"{person} · round 1"].partition("/#")
        client = TestClient(self.app, base_url=root, headers={"Authorization": f"Bearer {token}"})
        reply = client.post(f"/v1/{path}", json=body) if body else client.get(f"/v1/{path}")
        assert reply.status_code == status, reply.text
        return reply.json()


@pytest.fixture
def start(work, monkeypatch):
    """Start the command in this process, and use what it serves."""

    def run(*arguments, use=lambda started: None):
        def serve(app, _listening, on_start):
            with redirect_stdout(StringIO()) as printed:
                on_start()
            use(Started(app, printed.getvalue().splitlines()))

        monkeypatch.setattr(web, "serve", serve)
        places = ["--questions", "questions.parquet", "--annotations", "annotations", "--port", "0"]
        return CliRunner().invoke(annotate_command, [*places, "--web", *arguments], catch_exceptions=False)

    return run


class TestSeveral:
    def test_each_reaches_their_own_questions_and_nobody_elses(self, start, work):
        def use(started):
            ask = started.ask
            li, wu = ask("li", "state"), ask("wu", "state")
            assert (li["title"], wu["title"], li["total"], wu["total"]) == ("li · round 1", "wu · round 1", 3, 3)
            for _ in range(2):
                li = ask("li", "answer", item_id=li["item_id"], label="needed")
                wu = ask("wu", "answer", item_id=wu["item_id"], label="unsure")
            assert (li["done"], li["standing"], wu["done"], wu["standing"]) == (2, 2, 2, 2)
            for path, more in {
                "answer": {"label": "needed"}, "go": {"by": 1}, "undo": {"standing": 2}, "write": {"text": "x"}
            }.items():  # fmt: skip
                refused = ask("wu", path, item_id=li["item_id"], status=422, **more)
                assert "expected a question of this work" in refused["detail"]
            assert ask("wu", "go", item_id=wu["item_id"], search="question")["remark"] == "3 questions match."
            ask("wu", "undo", item_id=wu["item_id"], standing=2)
            assert ask("li", "state")["standing"] == 2
            stranger = TestClient(started.app, base_url=started.links["li · round 1"].partition("/#")[0])
            assert stranger.get("/v1/state", headers={"Authorization": "Bearer "}).status_code == 401
            assert "another window" in start("--annotator", "li").output

        result = start("--annotators", "li,wu", "--overlap", "1", use=use)
        logs = [replay(log_path(work.folder / "annotations", 1, name)).answers for name in ("li", "wu")]
        assert [[answer.label for answer in log.values()] for log in logs] == [["needed"] * 2, ["unsure"]]
        assert not {*logs[0]} & {*logs[1]}
        for line in (
            "li opened the page, 0 of 3 answered.",
            "wu opened the page, 0 of 3 answered.",
            "li.jsonl: 2 answers added, 2 of 3",
        ):
            assert line in result.output

    def test_addresses_stay_until_their_secret_or_the_round_is_another(self, start):
        def links(*arguments):
            given = []
            result = start(*arguments, use=lambda started: given.extend(started.links.values()))
            return [link.partition("#")[2] for link in given] or result.output

        first = links("--annotators", "li,wu")
        assert (len({*first}), {*map(len, first)}) == (2, {43})
        assert links() == first
        assert links("--annotators", "chen,li,wu")[1:] == first
        start(use=lambda started: started.ask("li", "answer", item_id="item0000", label="needed"))
        assert not {*first} & {*links("--round", "2", "--new-round", "--annotators", "li,wu")}
        key = web.LINKS_FILE
        assert (key.stat().st_mode & 0o777, key.with_name(".gitignore").read_text()) == (0o600, "*\n")
        key.write_text("")
        assert "expected a secret, got 0 characters" in links("--round", "1")
        key.unlink()
        assert not {*first} & {*links("--round", "1")}
        assert links("--annotator", "li") != links("--annotator", "li")

    def test_where_nobody_or_nobody_of_that_name_can_be_asked_nothing_begins(self, start, work):
        assert "no annotators share this round yet. Name them with --annotators li,wu" in start().output
        assert "expected letters, digits" in start("--annotators", "li,../wu").output
        assert not (work.folder / "annotations").exists()

    def test_no_other_round_begins_while_somebody_has_questions_left(self, start):
        def use(started):
            started.ask("li", "answer", item_id="item0000", label="needed")

        start("--annotators", "li,wu", use=use)
        assert "People have 11 questions left in round 1, so no other was begun." in start("--new-round").output

    def test_progress_is_told_once_a_minute_but_a_beginning_and_an_end_at_once(self, monkeypatch):
        lines, timers = [], []
        monkeypatch.setattr(web, "Timer", lambda *given: timers.append(given) or SimpleNamespace(start=lambda: None))
        tally = Tally(lines.append)
        for person, done in (("li", 0), ("li", 1), ("wu", 5), ("li", 2), ("wu", 5), ("wu", 6)):
            tally(person, done, 7)
        [(seconds, report)] = timers
        report()
        report()
        tally("li", 2, 7)
        assert len(timers) == 1
        tally("wu", 7, 7)
        tally("li", 3, 7)
        assert [each[0] for each in timers] == [seconds] * 2 == [60] * 2
        timers[1][1]()
        assert [line.partition(" ")[2] for line in lines] == [
            "li opened the page, 0 of 7 answered.", "wu opened the page, 5 of 7 answered.", "li 2 of 7, wu 6 of 7.",
            "wu answered all 7.", "li 3 of 7.",
        ]  # fmt: skip


class TestWhereItListens:
    @pytest.mark.parametrize(
        ("host", "message"),
        [
            ("0.0.0.0", "expected a single address"),
            ("::ffff:192.0.2.7", "Add --expose to allow it"),
            ("192.0.2.7", "Add --expose to allow it"),
            ("example.org", "expected an address such as 127.0.0.1"),
        ],
    )
    def test_other_machines_are_kept_out_unless_asked_for(self, work, host, message):
        arguments = ["--annotator", "li", "--questions", "questions.parquet", "--annotations", "annotations"]
        result = CliRunner().invoke(annotate_command, [*arguments, "--web", "--host", host])
        assert result.exit_code == 1
        assert message in result.output

    @pytest.mark.parametrize(
        "host",
        ["0.0.0.0", "::", "0:0:0:0:0:0:0:0", "::0.0.0.0", "::ffff:0.0.0.0", "::ffff:0:0", "::FFFF:0000:0000", "::%lo",
         "0", "0x0", "00.0.0.0", "0.0", "", " ", "*", "0.0.0.0 ", "localhost.", "ip6-localhost", "2130706433", "127.1",
         "[::1]", "fe80::1%eth0"],
    )  # fmt: skip
    def test_no_spelling_of_every_address_or_of_a_name_passes_even_exposed(self, host):
        with pytest.raises(DataError, match="--host"):
            listening_address(host, is_exposed=True)

    @pytest.mark.parametrize(
        ("host", "is_exposed", "expected"),
        [
            ("127.0.0.1", False, "127.0.0.1"),
            ("localhost", False, "127.0.0.1"),
            ("127.8.8.8", False, "127.8.8.8"),
            ("::ffff:127.0.0.1", False, "127.0.0.1"),
            ("::1", False, "::1"),
            ("0:0:0:0:0:0:0:1", False, "::1"),
            ("192.0.2.7", True, "192.0.2.7"),
            ("::ffff:192.0.2.7", True, "192.0.2.7"),
            ("2001:DB8::07", True, "2001:db8::7"),
        ],
    )
    def test_an_address_is_taken_for_what_it_is(self, host, is_exposed, expected):
        assert listening_address(host, is_exposed=is_exposed) == expected
        if is_exposed:
            with pytest.raises(DataError, match="Add --expose"):
                listening_address(host, is_exposed=False)


# In a browser


@pytest.fixture(scope="module")
def browser():
    with chromium("--host-resolver-rules=MAP evil.example 127.0.0.1") as started:
        yield started


class Tab:
    """A tab with its clock stopped, so that no time passes between two taps but what a test lets pass."""

    def __init__(self, context, address):
        self.page = context.new_page()
        self.page.set_default_timeout(120_000)
        self.asked, self.errors = [], []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.clock.install(time=START)
        self.page.clock.pause_at(START + 1)
        self.page.goto(address)
        self.at(None)

    def at(self, place):
        """Wait for a question, and for as long as one looks at it."""
        is_there = "(start) => document.title.startsWith(start) && document.querySelector('li.question')"
        self.page.wait_for_function(is_there, arg=f"{place} of" if place else "")
        self.page.clock.fast_forward(300)

    def press(self, keys, place):
        self.page.keyboard.press(keys)
        self.at(place)

    def says(self, text, selector="#remark"):
        self.page.wait_for_function(
            "([selector, text]) => document.querySelector(selector).innerText.includes(text)", arg=[selector, text]
        )


PHONE = {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark", "has_touch": True, "is_mobile": True}


def test_sixty_answers_by_keys_at_a_desk_and_by_taps_on_a_phone(browser, tmp_path):
    work = Work(tmp_path, count=70, q1=HOSTILE, q2="long " * 5_000)
    with work.app_at() as address:
        desk = Tab(browser.new_context(viewport={"width": 1200, "height": 800}), address)
        desk.page.keyboard.press("j")
        desk.at(2)
        desk.page.keyboard.press("k")  # answered at once, and then typed ahead, before anybody can have read it
        desk.at(3)
        desk.page.keyboard.press("b")
        desk.at(2)
        assert desk.page.locator("li.question .text").inner_text().startswith("<b>x</b><img src=x onerror=alert(1)>")
        assert desk.page.locator("#turns b:not(.who b), #turns img").count() == 0
        desk.press("f", 3)
        assert desk.page.locator(".more").inner_text() == "23,500 more characters"
        desk.page.keyboard.press("e")
        assert desk.page.locator(".more").count() == 0
        for number in range(3, 31):
            desk.press("jkiu"[number % 4], number + 1)
        desk.page.keyboard.down("j")
        desk.page.keyboard.down("j")  # held: the same key again
        desk.page.keyboard.up("j")
        desk.at(32)
        assert len(work.answers()) == 31

        phone = Tab(browser.new_context(**PHONE), address)
        assert phone.page.title().startswith("32 of 70")
        buttons = phone.page.locator("#labels button")
        assert buttons.count() == 4
        for each in phone.page.locator("button:visible").all():
            assert each.bounding_box()["height"] >= 44
        assert phone.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert phone.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 25, 26)"
        question = phone.page.locator("li.question").bounding_box()
        assert question["y"] + question["height"] <= phone.page.locator("footer").bounding_box()["y"]
        for number in range(32, 61):
            buttons.nth(number % 4).tap()
            phone.at(number + 1)
        buttons.nth(0).tap()
        phone.says("61: needed")
        phone.page.wait_for_function("document.title.startsWith('62 of')")
        buttons.nth(0).tap()  # the same finger again, and no time for anybody to read
        phone.at(62)
        assert len(work.answers()) == 61
        phone.page.tap("[data-action=previous]")
        phone.at(61)
        assert buttons.nth(0).get_attribute("aria-pressed") == "true"

        # The desk still shows 32, which is answered by now; the answer is about what it shows.
        desk.press("u", 62)
        assert work.answers()["item0031"] == (Label.UNSURE, None)
        assert len(work.answers()) == 61
        for tab in (desk, phone):
            assert tab.errors == []
            assert {
                url.split("/#")[0].rsplit("/", 1)[0].split("/v1")[0] for url in tab.asked if url[:5] != "data:"
            } == {address.split("/#")[0]}
    assert len(work.lines()) == 62


def test_a_question_is_written_out_and_nothing_loses_the_focus(browser, tmp_path):
    work = Work(tmp_path)
    with work.app_at(keys="needed=a") as address:
        tab = Tab(browser.new_context(viewport={"width": 1200, "height": 800}), address)
        page = tab.page
        tab.press("j", 1)
        assert work.answers() == {}
        tab.press("a", 2)
        page.keyboard.press("w")
        page.wait_for_selector("#line:focus")
        assert page.title().startswith("1 of")
        assert page.input_value("#line") == "question 0?"
        page.keyboard.press("End")
        page.keyboard.type(" jkz")
        page.keyboard.press("Enter")
        tab.says("1: written out.")
        tab.at(2)
        assert work.answers() == {"item0000": (Label.NEEDED, "question 0? jkz")}
        page.keyboard.press("w")
        page.wait_for_selector("#line:focus")
        page.keyboard.press("Escape")
        tab.says("Unchanged.")
        tab.at(2)
        page.click("#rewrite")
        page.wait_for_selector("#line:focus")
        page.click("#turns")
        page.keyboard.press("k")  # what is typed beside the line answers nothing
        page.click("#leave")
        tab.at(2)
        tab.press("k", 3)
        assert page.locator("#rewrite:visible").count() == 0
        page.click("#labels button:nth-child(4)")
        tab.at(4)
        page.keyboard.press("Space")  # scrolls, and presses no button
        page.keyboard.press("w")
        tab.press("z", 3)
        tab.says("Took back unsure of 3.")

        page.keyboard.press("?")
        page.wait_for_selector("#guidelines[open]")
        assert page.locator("#guidelines h2").all_inner_texts() == ["标注 Guidelines", "needed"]
        assert page.locator("#guidelines p").all_inner_texts() == ["It leaves out something.", "• <i>one</i>"]
        assert page.locator("#guidelines p b").inner_text() == "leaves out"
        page.keyboard.press("k")
        page.keyboard.press("?")
        page.wait_for_selector("#guidelines", state="hidden")
        page.keyboard.press("/")
        page.keyboard.type("question")
        page.keyboard.press("Enter")
        tab.says("6 questions match.")
        tab.press("n", 4)
        page.keyboard.press("g")
        page.keyboard.type("6")
        page.keyboard.press("Escape")
        page.keyboard.press("g")
        page.keyboard.type("5")
        page.keyboard.press("Enter")
        tab.at(5)
        page.click("#place")
        page.keyboard.type("6")
        page.click("#find button.act")
        tab.at(6)
        tab.press("s", 3)
        tab.press("k", 4)
        assert tab.errors == []
    assert [*work.answers()] == ["item0000", "item0001", "item0002"]


def test_a_page_goes_on_after_its_server_was_killed_and_started_again(browser, tmp_path):
    work = Work(tmp_path)
    context = browser.new_context()
    with annotator(tmp_path, "--annotator", "li") as (process, address):
        tab = Tab(context, address)
        page = tab.page
        tab.press("j", 2)
        page.reload()
        tab.at(2)
        process.kill()
        process.wait()
        page.keyboard.press("k")
        tab.says("The server does not answer.", "#trouble")
    port = address.split(":")[2].split("/")[0]
    with annotator(tmp_path, "--annotator", "li", "--port", port) as (process, again):
        page.click("#retry")
        tab.says("Open the one that chatladder printed last", "#trouble")
        assert len(work.answers()) == 1
        page.goto(again)  # only what is behind the # differs
        tab.at(2)
        process.send_signal(signal.SIGSTOP)
        page.keyboard.press("k")
        process.send_signal(signal.SIGCONT)
        tab.at(3)
        assert page.locator("#trouble:visible").count() == 0
    assert [label for label, _ in work.answers().values()] == [Label.NEEDED, Label.NOT_NEEDED]


#: What a page of another port may try with the browser's cookies, and even with the token's name: what it could read.
ATTACK = """async (root) => {
  const read = [];
  for (const [path, body] of [["/", null], ["/page.js", null], ["/v1/state", null], ["/v1/answer", STEP]])
    for (const mode of ["cors", "no-cors"])
      for (const type of ["text/plain", "application/json"]) {
        try {
          const headers = body ? {"Content-Type": type} : {};
          const method = body ? "POST" : "GET";
          const reply = await fetch(root + path, {method, body, mode, headers, credentials: "include"});
          if (await reply.text()) read.push([path, mode, type]);
        } catch (error) {}
      }
  for (const path of ["/page.js", "/v1/state"]) await new Promise((done) => {
    const script = document.createElement("script");
    script.onload = () => { read.push([path, "script"]); done(); };
    script.onerror = done;
    script.src = root + path;
    document.body.append(script);
  });
  const frame = document.createElement("iframe");
  frame.src = root + "/";
  document.body.append(frame);
  return read;
}""".replace("STEP", json.dumps(json.dumps(TestTheDoor.STEP)))


@contextmanager
def other_port():
    """Another program's page on loopback: its address, and what each request for it brought as cookies."""
    cookies = []

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            cookies.append(self.headers.get("Cookie"))
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><body>other</body>")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", cookies
    finally:
        server.shutdown()
        server.server_close()


def test_no_page_of_another_port_or_name_reads_or_answers(browser, tmp_path):
    work, context = Work(tmp_path), browser.new_context()
    with work.app_at() as address, other_port() as (other, cookies):
        tab = Tab(context, address)
        root = address.split("/#")[0]
        attacker = context.new_page()
        for page in (other, other.replace("127.0.0.1", "evil.example")):
            attacker.goto(page)
            assert attacker.evaluate(ATTACK, root) == []
            assert [frame.locator("#chat").count() for frame in attacker.frames] == [0] * len(attacker.frames)
        # A name that leads here, with the token.
        reply = attacker.goto(address.replace("127.0.0.1", "evil.example"))
        assert (reply.status, attacker.locator("#chat").count()) == (403, 0)
        assert cookies
        assert not any(cookies)
        assert work.answers() == {}
        tab.press("j", 2)
    assert len(work.answers()) == 1
