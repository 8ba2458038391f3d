"""A rung behind real servers on this machine says what the same model says offline.

The model is an embedded one, taught enough to answer with an option. llama.cpp (the wheel of xllamacpp) lists the
probabilities of tokens; transformers' own server lists none, so there the model names an option. Where a server or the
package that writes its file is not installed, its test is skipped and says so.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from model_fixtures import run

from chatladder.demo.world import dialogues
from chatladder.io.files import read_json, write_json
from chatladder.io.rows import PREDICTIONS, QUESTIONS, read_rows, write_rows
from chatladder.models.loading import load
from chatladder.models.prompts import ORDERS, PromptSettings, render_row
from chatladder.models.scoring import probabilities, score
from chatladder.vocabulary import ANSWERS
from stages.predict_served import main
from tests.cli.test_export_server import wait_for
from tests.endpoint.test_judge_real_server import SERVER
from tests.served_models import TEMPLATE, write_gguf
from tests.served_scripts import CONNECTION, PROMPT

pytestmark = pytest.mark.slow

#: Where the two likeliest options are this far apart offline, the answer must be the same.
CLEAR = 0.05


@pytest.fixture(scope="module")
def project(taught_base, tmp_path_factory):
    """A folder with the base folder ``taught`` and ``questions.parquet``."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(taught_base, folder / "taught")
    rows = [
        {
            "item_id": f"q{number}",
            "turn_id": f"t{number}",
            "group": "g",
            "conversation": f"c{number}",
            "sender": each.sender,
            "text": each.text,
            "timestamp": number,
            "window": [{"sender": sender, "text": text, "timestamp": number} for sender, text in each.window],
        }
        for number, each in enumerate(dialogues(60, seed=1))
    ]
    write_rows(folder / "questions.parquet", rows, QUESTIONS)
    return folder


@pytest.fixture(scope="module")
def offline(project):
    """Probability of each option by offline scoring, shape (n, 3)."""
    model, tokenizer = load(project / "taught")
    how = {name: value for name, value in PROMPT.items() if name != "max_length"}
    rows = read_rows(project / "questions.parquet", QUESTIONS).to_pylist()
    prompts = [render_row(row, PromptSettings(**how)) for row in rows]
    return probabilities(score(model, tokenizer, prompts, PROMPT["max_length"], ORDERS)[0])


def clear_cases(offline):
    """Whether a question's likeliest option stands out, shape (n,); enough do, with more than one answer."""
    ordered = np.sort(offline, axis=1)
    clear = ordered[:, 2] - ordered[:, 1] > CLEAR
    assert clear.mean() > 0.5
    assert len(np.unique(offline.argmax(axis=1)[clear])) > 1
    return clear


@contextmanager
def process(command, **settings):
    server = subprocess.Popen(command, env={**os.environ, "HF_HUB_OFFLINE": "1"}, **settings)
    try:
        yield server
    finally:
        server.kill()
        server.wait()


def predict(project, name, base_url, model, monkeypatch):
    monkeypatch.chdir(project)
    given = {**CONNECTION, "concurrency": 2, "timeout": 60.0, "model": model, "base_url": base_url, "rung": name}
    given |= {"params": 330_864, **PROMPT, "questions": "questions.parquet"}
    given |= {"base": f"bases/{name}", "out": f"{name}.parquet"}
    result = run(main, *(word for name, value in given.items() for word in (f"--{name}", value)))
    assert result.exit_code == 0, result.output
    return read_rows(project / f"{name}.parquet", PREDICTIONS).to_pylist(), result.output


def test_llama_cpp_gives_the_probabilities_of_offline_scoring(project, offline, monkeypatch):
    for name, why in (("xllamacpp", "serves the model"), ("gguf", "writes its file")):
        pytest.importorskip(name, reason=f"{name}, which {why}, is not installed")
    write_gguf(project / "taught", project / "taught.gguf")
    command = [sys.executable, "-c", SERVER, str(project / "taught.gguf")]
    with process(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        address = next((line.split()[1] for line in server.stdout if line.startswith("address ")), None)
        assert address, f"the server ended with {server.wait()}"
        rows, said = predict(project, "listed", f"{address}/v1", "taught", monkeypatch)
    assert "asked by the probabilities of its first tokens" in said
    assert all(row["parsed"] for row in rows)
    assert float(re.search(r"with ([\d.]+) of the probability seen", said)[1]) > 0.8
    served = np.array([[row[f"p_{name}"] for name in ANSWERS] for row in rows])
    # llama.cpp keeps keys and values in half precision.
    np.testing.assert_allclose(served, offline, atol=0.005)
    clear = clear_cases(offline)
    assert np.array_equal(served.argmax(axis=1)[clear], offline.argmax(axis=1)[clear])


def test_a_server_that_lists_no_tokens_names_the_options_of_offline_scoring(project, offline, monkeypatch):
    for name in ("fastapi", "uvicorn"):
        pytest.importorskip(name, reason=f"transformers serve needs {name}")
    model = shutil.copytree(project / "taught", project / "model")
    (model / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    tokenizer = load(project / "taught")[1]
    # Offline scoring needs no end, a free answer does; and the server takes it for a Qwen2, whose turns look otherwise.
    write_json(model / "generation_config.json", {"eos_token_id": tokenizer.eos_token_id})
    settings = model / "tokenizer_config.json"
    answer = {"content": {"close": [tokenizer.eos_token], "content": "text"}}
    write_json(settings, read_json(settings) | {"response_template": {"start_anchor": "答案：\n", "fields": answer}})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(model), "--device", "cpu"]
    log = project / "server.log"
    with (
        log.open("w") as out,
        process([*command, "--host", "127.0.0.1", "--port", str(port)], stdout=out, stderr=out) as server,
    ):
        wait_for(server, port, log)
        rows, said = predict(project, "named", f"http://127.0.0.1:{port}/v1", str(model), monkeypatch)
    assert "asked by name (choice)" in said
    read = np.array([row["parsed"] for row in rows])
    assert read.mean() > 0.9
    clear = np.flatnonzero(clear_cases(offline) & read)
    assert [rows[place]["answer"] for place in clear] == [ANSWERS[offline[place].argmax()] for place in clear]
