"""The judge behind an endpoint: scores in order, each text asked about once, and what counts as an answer."""

import json
import subprocess
import sys
import time
from collections import Counter

import pytest

from chatladder.endpoint import client as endpoint_client
from chatladder.endpoint import run as endpoint_run
from chatladder.io.console import DataError
from chatladder.judges.llm import PROTOCOL, parse_score
from tests.conftest import ROOT
from tests.endpoint_chat import TEXTS, by_length, in_turn, without_schema
from tests.endpoint_server import Say, completion, failure, score, serving

pytest_plugins = ["tests.endpoint_fixtures"]


def test_scores_come_in_the_order_of_the_texts_and_are_kept(judge):
    with serving(by_length) as server:
        scores, report = judge(server)
        assert scores == [len(text) % 11 for text in TEXTS]
        assert (report.texts, report.requests, report.cached) == (4, 4, 0)
        assert (report.prompt_tokens, report.completion_tokens) == (400, 24)
        again, second = judge(server)
        assert again == scores
        assert (second.requests, second.cached, second.prompt_tokens) == (0, 4, 0)
        assert len(server.requests) == 4
    assert "4 of 4 different texts to ask, 0 answered before: 4 requests" in judge.said[0]
    assert judge.said[1].startswith("4 requests (0 retried, 0 asked again) with 400 + 24 tokens; 0 of 4 texts")
    assert "0 requests" in judge.said[2]
    assert len(judge.said) == 3


def test_equal_texts_are_asked_about_once(judge):
    texts = [TEXTS[number % 3] for number in range(300)]
    with serving(by_length) as server:
        scores, report = judge(server, texts)
        assert scores == [len(text) % 11 for text in texts]
        assert sorted(server.texts) == sorted(TEXTS[:3])
        assert report.texts == report.requests == 3


def test_a_large_chat_is_read_in_slices(judge, monkeypatch):
    monkeypatch.setattr("chatladder.endpoint.asking.SLICE", 7)
    texts = [f"text {number}" * (number % 5 + 1) for number in range(60)]
    with serving(by_length) as server:
        scores, _ = judge(server, texts)
        assert scores == [len(text) % 11 for text in texts]
        assert Counter(server.texts) == Counter(texts)


@pytest.mark.parametrize(
    "change",
    [{"model": "n"}, {"temperature": 0.5}, {"seed": None}, {"extra_body": '{"top_p": 0.5}'}, {"structured": "never"}],
    ids=lambda change: next(iter(change)),
)
def test_what_may_change_an_answer_asks_again(judge, change):
    with serving(by_length) as server:
        judge(server)
        _, report = judge(server, **change)
        assert report.requests == 4


def test_another_prompt_asks_again_and_other_limits_do_not(judge, tmp_path):
    other = tmp_path / "prompt.txt"
    other.write_text("Rate it.", encoding="utf-8")
    with serving(by_length) as server:
        judge(server)
        _, limits = judge(server, max_answer_tokens=64, timeout=3.0, concurrency=1, max_retries=0)
        assert limits.requests == 0
        _, prompt = judge(server, prompt=other)
        assert prompt.requests == 4
        assert server.requests[-1].system == "Rate it.\n" + PROTOCOL


def test_requests_say_what_the_options_say(judge):
    with serving(by_length) as server:
        judge(
            server, TEXTS[:1], answer_limit="max_tokens", temperature=None, extra_body='{"thinking": {"type": "off"}}'
        )
        body = server.requests[0].body
    assert body["max_tokens"] == 32
    assert body["seed"] == 7
    assert body["thinking"] == {"type": "off"}
    assert "temperature" not in body
    assert "max_completion_tokens" not in body
    assert body["response_format"]["json_schema"]["schema"]["properties"]["score"]["enum"] == list(range(11))


def test_no_more_requests_at_once_than_said(judge):
    texts = [f"text {number}" for number in range(40)]
    with serving(lambda request: score(3, delay=0.01)) as server:
        judge(server, texts, concurrency=5)
        assert server.busiest == 5


def test_a_server_without_structured_outputs_is_asked_plainly(judge):
    texts = [f"text {number}" for number in range(9)]
    with serving(without_schema) as server:
        scores, report = judge(server, texts)
        assert scores == [4] * 9
        assert report.requests == 10
        assert [r.number for r in server.requests if "response_format" in r.body] == [0]
        _, second = judge(server, texts)
        assert second.requests == 0


def test_structured_always_does_not_fall_back(judge):
    with serving(without_schema) as server:
        with pytest.raises(DataError, match=r"HTTP 422 \(unsupported\) for each of the first 3 texts"):
            judge(server, structured="always")
        assert len(server.requests) == 3


def test_a_single_refused_text_is_named_and_the_others_are_scored(judge):
    def script(request):
        return failure(400, "content_filter") if request.text == TEXTS[0] else score(5)

    with serving(script) as server, pytest.raises(DataError) as caught:
        judge(server, [*TEXTS, TEXTS[0]])
    assert "1 texts got no answer that is a score" in caught.value.message
    assert "HTTP 400 (content_filter)" in caught.value.message
    assert "turns turn-0, turn-4. 3 of 4 texts are answered" in caught.value.message


def test_an_answer_that_is_no_score_is_asked_for_again(judge):
    with serving(in_turn(completion("perhaps 7?"), Say(b'{"choices": [{"mess'), score(7))) as server:
        scores, report = judge(server, TEXTS[:1])
        assert [request.body["seed"] for request in server.requests] == [7, 8, 9]
    assert scores == [7]
    assert (report.requests, report.asked_again, report.retried) == (3, 2, 0)


def test_a_text_that_never_gets_a_score_fails_the_run(judge):
    def script(request):
        return score(11) if request.text == TEXTS[1] else score(5)

    with serving(script) as server:
        with pytest.raises(DataError) as caught:
            judge(server)
        assert server.texts.count(TEXTS[1]) == 3
        assert "turns turn-1. 3 of 4 texts are answered" in caught.value.message
        assert not any(text in caught.value.message for text in TEXTS)
        server.script = lambda request: score(0)
        scores, report = judge(server)
        assert scores == [5, 0, 5, 5]
        assert (report.cached, report.requests) == (3, 1)


def test_a_model_that_cannot_answer_is_not_asked_for_ever(judge):
    texts = [f"text {number}" for number in range(500)]
    with serving(lambda request: completion("I like this message!")) as server:
        with pytest.raises(DataError, match="texts got no answer that is a score"):
            judge(server, texts, concurrency=2)
        assert len(server.requests) <= 3 * (endpoint_run.GIVE_UP_AFTER + 2)


@pytest.mark.parametrize(
    "say",
    [
        score(5, fault="endless"),
        Say(b"[" * 100_000),
        Say(b"null"),
        Say(b'{"choices": null, "usage": []}'),
        Say(b'{"choices": [{"message": {"content": null}, "finish_reason": "content_filter"}]}'),
        Say(b'{"choices": [7]}'),
        Say(b"\xff\xfe", headers={"content-type": "text/plain"}),
        Say(b"\x1f\x8b", headers={"content-encoding": "gzip"}),
    ],
    ids=["endless", "deep", "null", "no choices", "no content", "odd choice", "no JSON", "compressed"],
)
def test_a_body_that_is_no_completion_is_no_score(judge, say, monkeypatch):
    monkeypatch.setattr(endpoint_client, "MAX_BODY_BYTES", 300_000)
    with serving(in_turn(say)) as server:
        with pytest.raises(DataError, match="1 texts got no answer that is a score"):
            judge(server, TEXTS[:1])
        assert len(server.requests) == 3


def test_an_endless_error_fills_no_memory(judge, monkeypatch):
    monkeypatch.setattr(endpoint_client, "MAX_BODY_BYTES", 300_000)
    with serving(in_turn(failure(500, fault="endless"), score(5))) as server:
        assert judge(server, TEXTS[:1])[0] == [5]


def test_an_answer_that_drips_is_late(judge):
    with serving(in_turn(score(5, fault="drip"), score(5))) as server:
        start = time.monotonic()
        _, report = judge(server, TEXTS[:1], timeout=0.5)
    assert report.retried == 1
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("usage", [None, ("many", -1), (True, 2.5), (10**30, None)])
def test_tokens_are_guessed_where_the_server_does_not_count_them(judge, usage):
    body = {"choices": [{"message": {"content": '{"score": 1}'}}]}
    if usage:
        body["usage"] = dict(zip(("prompt_tokens", "completion_tokens"), usage, strict=True))
    with serving(in_turn(Say(json.dumps(body).encode()))) as server:
        _, report = judge(server, TEXTS[:1])
    assert report.prompt_tokens > 200
    assert report.completion_tokens == 32


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"score": 7}', 7.0),
        (' {"score":0}\n', 0.0),
        ('{"score": 10}', 10.0),
        ('{"score": 2.5}', 2.5),
        ('```json\n{"score": 3}\n```', 3.0),
        ('<think>It says {"score": 9}.</think>\n\n{"score": 3}', 3.0),
        ("7", None),
        ("7/10", None),
        ('{"score": "7"}', None),
        ('{"score": "7/10"}', None),
        ('{"score": true}', None),
        ('{"score": null}', None),
        ('{"score": NaN}', None),
        ('{"score": Infinity}', None),
        ('{"score": 1e999}', None),
        ('{"score": 10.01}', None),
        ('{"score": -1}', None),
        ('{"score": [7]}', None),
        ('[["score", 7]]', None),
        ('{"score": 3, "score": 9}', None),
        ('{"score": 3, "reason": "a question"}', None),
        ('{"Score": 3}', None),
        ('The score is {"score": 3}', None),
        ('{"score": 3} because it asks', None),
        ('{"score": 3}{"score": 9}', None),
        ('<think>{"score": 9}', None),
        ("", None),
        (None, None),
        ({"score": 3}, None),
        ('{"score": ' + "1" * 5000 + "}", None),
        ("[" * 100_000, None),
    ],
    ids=lambda value: str(value)[:24],
)
def test_only_a_score_is_a_score(answer, expected):
    assert parse_score(answer) == expected


def test_the_client_is_not_imported_before_something_is_asked():
    code = "import sys; import chatladder.judges.llm; assert not {'openai', 'httpx2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
