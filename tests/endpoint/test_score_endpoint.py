"""The score stage with a judge behind an endpoint: the same files in every run, and a question asked once."""

import json
from dataclasses import asdict

import pytest
from click.testing import CliRunner

from chatladder.io.rows import SCORES, TURNS, read_rows, write_rows
from stages import score
from tests.endpoint_chat import TEXTS, by_length, options
from tests.endpoint_server import failure, serving
from tests.turn_rows import turn

pytest_plugins = ["tests.endpoint_fixtures"]


@pytest.fixture
def turns(tmp_path, monkeypatch, soon):
    monkeypatch.chdir(tmp_path)
    texts = [*TEXTS, "", TEXTS[0]]
    rows = [turn(number, text, "text" if text else "image") for number, text in enumerate(texts)]
    write_rows(tmp_path / "turns.parquet", rows, TURNS)
    return tmp_path / "turns.parquet"


def run(turns, base_url, **changes):
    given = {**asdict(options(base_url)), **changes}
    # As DVC unpacks a section of params: underscores, and nothing for what is left out.
    words = [word for name, value in given.items() if value not in (None, "") for word in (f"--{name}", str(value))]
    files = ["--turns", str(turns), "--out", str(turns.with_name("kimi"))]
    return CliRunner().invoke(score.main, ["--judge", "kimi", "--kind", "endpoint", *words, *files])


def outs(turns):
    return [(turns.with_name("kimi") / name).read_bytes() for name in ("scores.parquet", "counts.json")]


def test_scores_and_costs_are_written_and_a_repeated_run_asks_nothing_and_writes_the_same(turns):
    with serving(by_length) as server:
        first = run(turns, server.base_url)
        assert first.exit_code == 0, first.output
        asked = len(server.requests)
        before = outs(turns)
        second = run(turns, server.base_url, max_requests=0)
        assert second.exit_code == 0, second.output
        assert len(server.requests) == asked == len(TEXTS)
    assert outs(turns) == before
    assert "0 requests" in second.output
    found = read_rows(turns.with_name("kimi") / "scores.parquet", SCORES).to_pylist()
    assert [row["turn_id"] for row in found] == ["t0", "t1", "t2", "t3", "t5"]
    assert found[0]["score"] == found[4]["score"]
    counts = json.loads((turns.with_name("kimi") / "counts.json").read_text())
    assert (counts["scored"], counts["texts"]) == (5, 4)
    assert counts["prompt_tokens"] > 0


def test_a_failing_server_fails_the_stage_and_writes_nothing(turns):
    with serving(lambda request: failure(500)) as server:
        result = run(turns, server.base_url, max_retries=1)
    assert result.exit_code == 1
    assert f"Error: kimi, {turns}: " in result.output
    assert not turns.with_name("kimi").exists()


def test_options_that_the_judge_needs_are_named(turns):
    result = run(turns, "http://127.0.0.1:1/v1", model=None, timeout=None)
    assert result.exit_code == 2
    assert "a judge of kind endpoint needs --model, --timeout too" in result.output
