"""The benchmark of the server asks every question once, whatever number of clients does."""

import asyncio

import pytest

from benchmarks.serve import ask, body_of, differences, row_of
from tests.serving import served

ROWS = [
    {"item_id": f"q{number}", "sender": "u1", "text": f"第{number}版？", "window": [{"sender": "u2", "text": "伞"}]}
    for number in range(9)
]


def test_every_question_is_asked_once_and_answers_are_compared():
    with served() as client:
        found = [asyncio.run(ask(str(client.base_url), [body_of(row) for row in ROWS], clients)) for clients in (1, 4)]
    for asked in found:
        assert [answer["p_needed"] for answer in asked.answers] == [number / 100 for number in range(9)]
        assert (asked.seconds > 0).all()
        assert row_of("1", asked).count("|") == 5
    other = [{"needed": True, "p_needed": 0.0}, *found[0].answers[1:]]
    assert differences(found[0].answers, other) == (pytest.approx(0), 1)
