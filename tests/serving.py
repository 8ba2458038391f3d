"""The server of ``serve`` on its own port, in a thread of this process, with a model or a stub."""

import re
import threading
from contextlib import contextmanager

import httpx2

from chatladder.cli.answering import Answer
from chatladder.cli.export.record import checked
from chatladder.cli.listening import Server, listen, spellings
from chatladder.cli.serve.app import Limits, create_app
from chatladder.cli.serve.messages import Reader
from tests.export_project import PROMPT
from tests.export_project import QUESTIONS as REACH

SETTINGS = checked({**REACH, **PROMPT, "gap_seconds": 18, "rules_threshold": 5, "max_length": 512}, "tests")
MODEL = {"model": "tiny", "threshold": None, "window": 3, "gap_seconds": 18}


def by_number(rows):
    """Answer each question with the number in it, as a probability in percent, and "needed" if it contains "it"."""
    numbers = [re.search(r"\d+", row["text"]) for row in rows]
    return [
        Answer("它" in row["text"], int(number[0]) / 100 if number else 0.5)
        for row, number in zip(rows, numbers, strict=True)
    ]


def app_of(answer=by_number, *, settings=SETTINGS, limits=Limits(), hosts=("testserver",), token=None):  # noqa: B008 - frozen
    return create_app(Reader(settings), answer, MODEL, limits, hosts, token)


@contextmanager
def running(make_app):
    """Serve the app that ``make_app`` makes for the spellings of the server's address; yield the address."""
    with listen("127.0.0.1", 0) as listening:
        hosts = spellings(listening, "127.0.0.1")
        server = Server(make_app(hosts), lambda: None)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://{hosts[0]}"
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


@contextmanager
def served(answer=by_number, **options):
    """Yield a client of the server."""
    with (
        running(lambda hosts: app_of(answer, hosts=hosts, **options)) as address,
        httpx2.Client(base_url=address, timeout=60, trust_env=False) as client,
    ):
        yield client


def question(text="它好用吗？", history=(), sender="wu", **rest):
    said = [{"sender": name, "text": words} for name, words in history]
    return {"history": said, "question": {"sender": sender, "text": text}, **rest}
