"""Shared parts of the tests of the judge behind an endpoint: a chat, options, and scripts of the server."""

import pyarrow as pa

from chatladder.judges.llm import LlmSettings
from tests.conftest import ROOT
from tests.endpoint_server import failure, score

PROMPT = ROOT / "chatladder" / "judges" / "prompts" / "question.txt"
TEXTS = ["how do I install it?", "重启一下", "能不能换成 4bit 量化", "thanks"]


#: Numbers that JSON allows, or that Python's parser accepts, but that are no count, score or probability.
ODD_NUMBERS = ["1e999", "-1e999", "NaN", "Infinity", "-Infinity", "9" * 400, "-" + "9" * 400, "9" * 5000]


class Chat:
    """Turns in parts of five."""

    def __init__(self, texts):
        self.num_rows = len(texts)
        self._parts = [texts[start : start + 5] for start in range(0, len(texts), 5)]

    def texts(self):
        yield from self._parts

    def ids(self):
        for number, part in enumerate(self._parts):
            yield pa.chunked_array([[f"turn-{5 * number + place}" for place in range(len(part))]])


def options(base_url, **changes):
    defaults = {
        "model": "m",
        "prompt": PROMPT,
        "key_variable": "",
        "structured": "auto",
        "answer_limit": "max_completion_tokens",
        "max_answer_tokens": 32,
        "max_characters": 2000,
        "temperature": 0.0,
        "seed": 7,
        "extra_body": "",
        "concurrency": 4,
        "requests_per_minute": 0,
        "tokens_per_minute": 0,
        "max_requests": 1000,
        "max_tokens": 1_000_000,
        "timeout": 10.0,
        "max_retries": 3,
    }
    return LlmSettings(base_url=base_url, **{**defaults, **changes})


def by_length(request):
    return score(len(request.text) % 11)


def in_turn(*says):
    """Answer the first requests with these replies in order, and all later ones with the last."""
    return lambda request: says[min(request.number, len(says) - 1)]


def without_schema(request):
    """Answer as a server that does not support ``response_format``."""
    return failure(422, "unsupported") if "response_format" in request.body else score(4)
