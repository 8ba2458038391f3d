"""The judge behind an endpoint: failures that pass and that do not, budgets and rates."""

import asyncio
import time
from email.utils import formatdate

import httpx2
import pytest

from chatladder.endpoint.client import retry_after
from chatladder.endpoint.run import RequestBudget
from chatladder.io.console import DataError
from tests.endpoint_chat import ODD_NUMBERS, TEXTS, by_length, in_turn, options
from tests.endpoint_server import Say, completion, failure, score, serving

pytest_plugins = ["tests.endpoint_fixtures"]


def test_a_wait_that_the_server_asks_for_is_kept_by_all(judge):
    texts = [f"text {number}" for number in range(12)]
    with serving(in_turn(score(1), failure(429, headers={"retry-after": "0.4"}), score(1))) as server:
        _, report = judge(server, texts)
        limited, later = server.requests[1], [r for r in server.requests if r.number > 1]
        # Those under way beside the limited one were sent before anybody knew.
        waited = [request.at - limited.at for request in later if request.at - limited.at > 0.05]
        assert len(waited) >= 8
        assert min(waited) >= 0.4
    assert report.retried == 1
    assert report.requests == 13


@pytest.mark.parametrize(
    "first",
    [
        failure(500, "internal"),
        failure(503, headers={"retry-after": "soon"}),
        failure(429, "engine_overloaded_error"),
        Say(b"[" * 100_000, 500),
        Say(b'{"error": {"code": {"a": []}, "type": ["b"], "message": 7}}', 529),
        Say(b"\xff\xfe", 500, {"content-type": "text/plain; charset=none-such"}),
        Say(b"<html>bad gateway</html>", 502, {"content-type": "text/html"}),
        score(9, fault="cut"),
        score(9, delay=1.0),
    ],
    ids=["500", "503", "429", "deep", "odd", "no text", "502 in HTML", "cut", "time-out"],
)
def test_a_failure_that_passes_is_retried(judge, first):
    with serving(in_turn(first, score(6))) as server:
        scores, report = judge(server, TEXTS[:1], timeout=0.5)
    assert scores == [6]
    assert (report.requests, report.retried, report.asked_again) == (2, 1, 0)


def test_a_server_that_stays_down_ends_the_run_and_keeps_what_was_answered(judge):
    with serving(lambda request: score(2) if request.number < 2 else failure(500)) as server:
        with pytest.raises(DataError) as caught:
            judge(server, max_retries=2, concurrency=1)
        assert "HTTP 500, at the last of 3 tries of one request; 2 of 4 texts are answered" in caught.value.message
        assert len(server.requests) == 2 + 3
        server.script = lambda request: score(3)
        _, report = judge(server)
        assert (report.cached, report.requests) == (2, 2)


def test_nobody_there(judge):
    with serving(by_length) as server:
        address = server.base_url
    with pytest.raises(DataError, match="cannot be reached, at the last of 2 tries"):
        judge(None, base_url=address, max_retries=1)


def test_retry_after_is_read_in_every_form():
    def seconds(**headers):
        return retry_after(httpx2.Headers({name.replace("_", "-"): value for name, value in headers.items()}))

    assert seconds(retry_after="2") == 2
    assert seconds(retry_after_ms="250", retry_after="9") == 0.25
    assert 55 < seconds(retry_after=formatdate(time.time() + 60, usegmt=True)) <= 60
    for unreadable in ("", "-1", "nan", "inf", "soon", "Thu, 99 Foo 2026"):
        assert seconds(retry_after=unreadable) == 0


@pytest.mark.parametrize("number", ODD_NUMBERS, ids=lambda number: f"{number[:9]} of {len(number)}")
def test_a_number_that_is_none_is_no_answer(judge, number):
    odd = f'{{"code": {number}, "type": {number}, "param": {number}, "message": {number}}}'
    counted = score(7).content.replace(b": 100", f": {number}".encode()).replace(b": 6", f": {number}".encode())
    says = [
        completion(f'{{"score": {number}}}'),
        Say(f'{{"error": {odd}}}'.encode(), 500),
        Say(f'{{"error": {number}}}'.encode(), 429, {"retry-after-ms": number[:400], "retry-after": number[:400]}),
        Say(counted),
    ]
    with serving(in_turn(*says)) as server:
        scores, report = judge(server, TEXTS[:1])
    assert scores == [7]
    assert (report.requests, report.retried, report.asked_again) == (4, 2, 1)
    # Of a reply without a count the reservation stands.
    assert 100 < report.prompt_tokens < 1000
    assert 6 < report.completion_tokens < 100


@pytest.mark.parametrize(
    ("say", "advice"),
    [
        (failure(401, "invalid_api_key"), r"HTTP 401 \(invalid_api_key\): check the key"),
        (failure(402), "HTTP 402: top the account up"),
        (failure(403), "HTTP 403: check the account's balance"),
        (failure(404, "model_not_found"), r"HTTP 404 \(model_not_found\): check base_url"),
        (failure(429, "insufficient_quota"), "quota is used up"),
        (failure(429, "exceeded_current_quota_error"), "quota is used up"),
        (failure(429, headers={"retry-after": "86400"}), "asks to wait 86,400 s"),
        (Say(b"", 307, {"location": "http://127.0.0.1:1/v1"}), "redirects are not followed"),
        (Say(b"", 418), "HTTP 418: expected an OpenAI-compatible endpoint"),
    ],
)
def test_a_failure_that_does_not_pass_ends_the_run_at_once(judge, say, advice):
    with serving(in_turn(say)) as server:
        with pytest.raises(DataError, match=advice):
            judge(server)
        assert len(server.requests) == 1


def test_requests_under_way_are_kept_when_another_ends_the_run(judge):
    def script(request):
        if request.number == 0:
            return score(1)
        return failure(401, delay=0.05) if request.number == 1 else score(2, delay=0.2)

    texts = [f"text {number}" for number in range(20)]
    with serving(script) as server:
        with pytest.raises(DataError, match="HTTP 401"):
            judge(server, texts, concurrency=4)
        assert len(server.requests) == 5
        server.script = lambda request: score(3)
        _, report = judge(server, texts)
        assert report.cached == 4


def test_a_run_over_its_budget_sends_nothing(judge):
    with serving(by_length) as server:
        with pytest.raises(DataError, match="max_requests: the run would take about 4, 1 more than the 3 allowed"):
            judge(server, max_requests=3)
        with pytest.raises(DataError, match=r"max_tokens: the run would take about [\d,]+, [\d,]+ more than the 500"):
            judge(server, max_tokens=500)
        assert server.requests == []
        judge(server, max_requests=4)


def test_retries_count_and_not_one_request_goes_beyond_the_budget(judge):
    texts = [f"text {number}" for number in range(20)]
    with serving(lambda request: failure(500) if request.number in (3, 8) else score(5)) as server:
        with pytest.raises(DataError) as caught:
            judge(server, texts, max_requests=21)
        assert len(server.requests) == 21
        assert "the budget max_requests=21 is used up; 19 of 20 texts are answered" in caught.value.message
        _, report = judge(server, texts, max_requests=21)
        assert (report.cached, report.requests) == (19, 1)


def test_the_budget_of_tokens_ends_a_run_whose_texts_take_more_than_was_guessed(judge):
    texts = [f"text {number}" for number in range(20)]
    with serving(lambda request: score(5, usage=(2000, 6))) as server:
        with pytest.raises(DataError) as caught:
            judge(server, texts, max_tokens=20_000)
        assert "the budget max_tokens=20000 is used up" in caught.value.message
        # The first counts show that guesses are too low; only requests under way by then can go over.
        assert len(server.requests) <= 10


def most_in_a_minute(times, minute, amounts):
    return max(sum(n for at, n in zip(times, amounts, strict=True) if t <= at < t + minute) for t in times)


@pytest.mark.parametrize("limits", [{"requests_per_minute": 20}, {"tokens_per_minute": 2000}], ids=str)
def test_no_minute_holds_more_than_its_limit(limits, monkeypatch):
    minute = 0.6
    monkeypatch.setattr("chatladder.endpoint.run.MINUTE", minute)

    async def send():
        budget, times = RequestBudget(options("http://host/v1", max_tokens=9**9, **limits), largest=100), []
        start = time.monotonic()

        async def one():
            await budget.reserve(70, 30)
            times.append(time.monotonic() - start)

        await asyncio.gather(*(one() for _ in range(40)))
        return times

    times = asyncio.run(send())
    assert 15 <= most_in_a_minute(times, minute, [1] * 40) <= 20
    assert times[-1] < 2.5 * minute


def test_requests_a_minute_hold_for_the_whole_run(judge):
    texts = [f"text {number}" for number in range(8)]
    with serving(by_length) as server:
        judge(server, texts, requests_per_minute=240)
        times = [request.at for request in server.requests]
    # Four at once, then not quite four a second.
    assert 0.9 <= times[-1] - times[0] < 3


def test_too_few_tokens_a_minute_for_one_request_are_refused(judge):
    with serving(by_length) as server:
        with pytest.raises(DataError, match="tokens_per_minute: expected at least"):
            judge(server, tokens_per_minute=900)
        assert server.requests == []
