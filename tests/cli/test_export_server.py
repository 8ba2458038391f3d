"""An exported model behind a real OpenAI-compatible server answers the test questions as offline scoring does.

The server is transformers' own (``transformers serve``), on loopback and in a process of its own; it is asked through
the ``openai`` client. It needs fastapi and uvicorn; without them the test is skipped and says so.
"""

import json
import os
import socket
import subprocess
import sys
import time

import pytest
from model_fixtures import TINY, options, run

from chatladder.cli.export.command import export_command
from chatladder.models.loading import load
from chatladder.models.prompts import Prompt
from chatladder.models.scoring import score
from chatladder.vocabulary import ANSWERS
from stages.base import main as base_main
from tests.export_project import RUNG, make_project, train_adapter

pytestmark = pytest.mark.slow

#: Enough dialogues to learn that an answer is one of the options, which a free answer needs and a scored one does not.
TAUGHT = TINY | {"hidden-size": 24, "num-attention-heads": 2, "intermediate-size": 72, "dialogues": 2400}


@pytest.fixture(scope="module")
def exported(tiny_alpaca, tmp_path_factory):
    """The folder of a pipeline that ran, and the model that it exported."""
    folder = tmp_path_factory.mktemp("served")
    base = folder / RUNG
    result = run(base_main, "--source", "embedded", *options(TAUGHT), "--out", base)
    assert result.exit_code == 0, result.output
    root = make_project(
        folder / "project", base, train_adapter(base, tiny_alpaca, folder / "adapter" / RUNG), tiny_alpaca
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        result = run(export_command, RUNG, "--out", "exported")
    assert result.exit_code == 0, result.output
    return root


@pytest.fixture(scope="module")
def base_url(exported):
    for name in ("fastapi", "uvicorn"):
        pytest.importorskip(name, reason=f"transformers serve needs {name}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(exported / "exported")]
    with (exported / "server.log").open("w") as log:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
    try:
        wait_for(server, port, exported / "server.log")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.kill()
        server.wait()


def wait_for(server, port, log, seconds=120):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert server.poll() is None, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"no server after {seconds} s:\n{log.read_text()}")


def test_a_served_export_answers_the_test_questions_as_offline_scoring(exported, base_url):
    from openai import OpenAI

    rows = [
        row
        for split in ("test", "validation", "train")
        for row in json.loads((exported / "data" / "alpaca" / f"{split}.json").read_text())
    ]
    model, tokenizer = load(exported / "data" / "bases" / RUNG, exported / "data" / "adapters" / RUNG)
    prompts = [Prompt(row["instruction"], row["options"]) for row in rows]
    offline = score(model, tokenizer, prompts, 512)[0].argmax(axis=1)
    expected = [prompt.options[ANSWERS[index]] for prompt, index in zip(prompts, offline, strict=True)]
    client = OpenAI(base_url=base_url, api_key="none")
    served = [
        client.completions.create(
            model=str(exported / "exported"), prompt=row["instruction"] + "\n", max_tokens=8, temperature=0
        )
        .choices[0]
        .text.strip()
        for row in rows
    ]
    assert served == expected
    assert len(set(expected)) == 2
