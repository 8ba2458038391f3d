"""The judge behind an endpoint: answers that are kept, whatever ends the process that got them."""

import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing

import pytest

from chatladder.endpoint.cache import FILE_NAME, AnswerCache, KeptReply
from chatladder.io.console import DataError
from tests.conftest import ROOT
from tests.endpoint_server import score, serving

pytest_plugins = ["tests.endpoint_fixtures"]

COLUMNS = {"score": "REAL NOT NULL"}
#: Of the question below under the options of the tests, as earlier releases computed it.
KEY_OF_EARLIER = "2496f1251e8f03c4fb34fa421f79f2106bf8bb75d3647473ede747ecb5ce1fe8"


def test_a_file_that_holds_no_answers_is_refused(tmp_path):
    path = tmp_path / FILE_NAME
    path.write_bytes(b"no database " * 100)
    with pytest.raises(DataError, match=f"{FILE_NAME}: the answers kept here cannot be read"):
        AnswerCache(tmp_path, COLUMNS)
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version=9")
    with pytest.raises(DataError, match="expected answers of version 1, got 9"):
        AnswerCache(tmp_path, COLUMNS)
    with pytest.raises(DataError, match="cannot be written"):
        AnswerCache(path, COLUMNS)


def test_the_first_answer_of_two_processes_counts(tmp_path):
    with closing(AnswerCache(tmp_path, COLUMNS)) as one, closing(AnswerCache(tmp_path, COLUMNS)) as other:
        assert one.keep(b"k", "plain", KeptReply((3.0,), 1, 1)).values == (3,)
        assert other.keep(b"k", "plain", KeptReply((8.0,), 2, 2)) == ((3,), 1, 1)
        assert other.keep(b"k", "json_schema", KeptReply((8.0,), 1, 1)).values == (8,)
        assert one.find([b"k", b"l"], "json_schema") == {b"k": ((8,), 1, 1)}
        assert one.find([b"k"], "plain") == {b"k": ((3,), 1, 1)}


@pytest.mark.parametrize("structured", ["auto", "never"])
def test_answers_kept_by_earlier_releases_count(judge, structured):
    """The table and the keys of earlier releases: nobody pays twice."""
    judge.folder.mkdir()
    with sqlite3.connect(judge.folder / FILE_NAME) as database:
        database.execute(
            "CREATE TABLE answers (key BLOB NOT NULL, form TEXT NOT NULL, score REAL NOT NULL, "
            "prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, PRIMARY KEY (key, form)) WITHOUT ROWID"
        )
        database.execute("PRAGMA user_version=1")
        key = bytes.fromhex(KEY_OF_EARLIER)
        database.execute("INSERT INTO answers VALUES (?, 'plain', 4, 90, 7)", (key,))
    scores, report = judge(None, ["how do I install it?"], base_url="http://127.0.0.1:9/v1", structured=structured)
    assert (scores, report.cached, report.requests) == ([4], 1, 0)
    assert (report.answer_prompt_tokens, report.answer_completion_tokens) == (90, 7)


CHILD = """
import sys
from pathlib import Path
from chatladder.judges import llm
from tests.endpoint_chat import Chat, options
from tests.endpoint.test_endpoint_kept import many
llm.score(Chat(many()), options(sys.argv[1], concurrency=8), Path(sys.argv[2]), print)
"""


def many():
    return [f"text {number}" for number in range(300)]


def start_child(server, folder):
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, server.base_url, str(folder)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_for(condition):
    limit = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.002)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_what_was_answered_before_a_kill_is_not_asked_again(judge, number):
    """Committed answers are asked for once; of the others at most those that were under way, twice."""
    kill_at = random.randrange(20, 150)
    with serving(lambda request: score(len(request.text) % 11, delay=0.003)) as server:
        child = start_child(server, judge.folder)
        wait_for(lambda: len(server.requests) >= kill_at)
        child.send_signal(number)
        assert child.wait(30) != 0
        before = list(server.texts)
        with sqlite3.connect(judge.folder / FILE_NAME) as database:
            committed = database.execute("SELECT count(*) FROM answers").fetchone()[0]
        assert committed >= kill_at - 2 * 8
        scores, report = judge(server, many(), concurrency=8)
        assert scores == [len(text) % 11 for text in many()]
        assert (report.cached, report.requests) == (committed, 300 - committed)
        twice = set(before) & set(server.texts[len(before) :])
        assert len(twice) <= 8
        assert max(Counter(server.texts).values()) <= 2


def test_two_runs_at_once_share_their_answers(judge):
    with serving(lambda request: score(request.number % 11, delay=0.003)) as server:
        child = start_child(server, judge.folder)
        wait_for(lambda: len(server.requests) >= 20)
        scores, report = judge(server, many(), concurrency=8)
        assert child.wait(30) == 0
        assert report.cached >= 10
        again, last = judge(server, many())
        assert last.requests == 0
        assert again == scores
