"""The benchmark of the server asks every question once, whatever number of clients does."""

import os

import numpy as np
import psutil
import pytest

from benchmarks.serve import beside, body_of, measure, table
from tests.serving import served

ROWS = [
    {"item_id": f"q{number}", "sender": "u1", "text": f"第{number}版？", "window": [{"sender": "u2", "text": "伞"}]}
    for number in range(9)
]


def test_every_question_is_asked_once_and_two_servers_are_compared():
    with served() as client:

        def ask(number):
            return client.post("/v1/questions", json=body_of(ROWS[number])).json()["p_needed"]

        own = measure("ours", ask, len(ROWS), 4, psutil.Process(os.getpid()))
    assert own.single.p_needed.tolist() == own.several.p_needed.tolist() == [number / 100 for number in range(9)]
    assert (own.several.seconds > 0).all()
    assert own.apart == 0
    other = own._replace(name="theirs", single=own.single._replace(p_needed=np.linspace(0, 0.8, 9)))
    assert other.apart == pytest.approx(0.72)
    lines = table([own, other], 4)
    assert [line.split(" | ")[:2] for line in lines[2:6]] == [
        ["| ours", "1"], ["| ours", "4"], ["| theirs", "1"], ["| theirs", "4"],
    ]  # fmt: skip
    assert "correlation of 1.000" in beside(own, other)
