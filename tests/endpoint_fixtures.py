"""The judge behind an endpoint as a fixture, for tests that list this module in ``pytest_plugins``."""

import pytest

from chatladder.judges import llm
from tests.endpoint_chat import TEXTS, Chat, options


@pytest.fixture
def soon(monkeypatch):
    """Make retries immediate."""
    monkeypatch.setattr("chatladder.endpoint.run.BACKOFF_FIRST", 0.01)
    monkeypatch.setattr("chatladder.endpoint.run.BACKOFF_JITTER", 0.01)


@pytest.fixture
def judge(tmp_path, soon):
    """Score texts with the server's model, with the cache in the test's folder; ``said`` collects the output."""

    def run(server, texts=TEXTS, **changes):
        address = changes.pop("base_url", None) or server.base_url
        scores, report = llm.score(Chat(texts), options(address, **changes), tmp_path / "answers", run.said.append)
        return scores.tolist(), report

    run.said = []
    run.folder = tmp_path / "answers"
    return run
