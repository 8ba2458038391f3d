"""There and back through a real Label Studio: its server, its database, two of its users, its exports.

It is big (about 1 GB, minutes), so it is installed for who asks for it: with CHATLADDER_LABEL_STUDIO=1, into an
environment of its own under the user's cache folder, used again from then on. Else the tests are skipped and say so.
The server hears this machine alone, keeps its data among the test's temporary files, and reports to nobody.
"""

import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest
from click.testing import CliRunner

from chatladder.cli.label_studio.command import label_studio_group
from chatladder.io.rows import QUESTIONS, write_rows
from tests.cli.test_label_studio import HOSTILE, question

pytestmark = pytest.mark.slow

RELEASE = "label-studio==1.23.2"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chatladder" / RELEASE.replace("==", "-")
TOKEN = "0123456789abcdef0123456789abcdef01234567"
ADDRESSES = ("first.person@example.org", "second.person@example.org")
PASSWORD = "only-for-this-test"
#: An address where nobody listens: a server that tried to reach another machine would fail there.
NOWHERE = "http://127.0.0.1:9"
#: Its folder with an empty database, which takes most of a minute to make.
EMPTY = CACHE / "empty"


def environment_of(folder):
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder),
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LATEST_VERSION_CHECK": "false",
        "COLLECT_ANALYTICS": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        "HTTP_PROXY": NOWHERE,
        "HTTPS_PROXY": NOWHERE,
    }


@pytest.fixture(scope="module")
def label_studio():
    """The server's program."""
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    program = CACHE / "bin" / "label-studio"
    whole = CACHE / "whole"
    with CACHE.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            if not os.environ.get("CHATLADDER_LABEL_STUDIO"):
                pytest.skip(f"{RELEASE} is not installed; CHATLADDER_LABEL_STUDIO=1 installs it, about 1 GB")
            shutil.rmtree(CACHE, ignore_errors=True)
            for command in (
                [sys.executable, "-m", "venv", str(CACHE)],
                [str(CACHE / "bin" / "python"), "-m", "pip", "install", "--quiet", RELEASE],
            ):
                try:
                    subprocess.run(command, capture_output=True, check=True, timeout=600)
                except (OSError, subprocess.SubprocessError) as error:
                    shutil.rmtree(CACHE, ignore_errors=True)
                    pytest.skip(f"pip cannot install {RELEASE}: {type(error).__name__}")
            whole.touch()
        if not EMPTY.exists():
            begun = EMPTY.with_suffix(".begun")
            shutil.rmtree(begun, ignore_errors=True)
            begun.mkdir()
            # Every command brings the database up to date first.
            command, environment = [program, "version"], environment_of(begun)
            subprocess.run(command, env=environment, capture_output=True, check=True, timeout=600)
            begun.rename(EMPTY)
    return program


@pytest.fixture(scope="module")
def address(label_studio, tmp_path_factory):
    folder = tmp_path_factory.mktemp("label_studio")
    shutil.copytree(EMPTY, folder, dirs_exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    listen = ["--internal-host", "127.0.0.1", "--port", str(port), "--no-browser"]
    user = ["--username", ADDRESSES[0], "--password", PASSWORD, "--user-token", TOKEN]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [str(label_studio), "start", *listen, *user],
            env=environment_of(folder),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield _once_it_answers(f"http://127.0.0.1:{port}", server, folder / "server.log")
    finally:
        server.kill()
        server.wait()


def _once_it_answers(address, server, log):
    deadline = time.monotonic() + 240
    while server.poll() is None and time.monotonic() < deadline:
        try:
            if httpx2.get(f"{address}/health", timeout=5).is_success:
                return address
        except httpx2.TransportError:
            time.sleep(0.5)
    raise AssertionError(f"the server did not start: {log.read_text(errors='replace')[-2000:]}")


@pytest.fixture(scope="module")
def first(address):
    """What speaks to the server as the user that it was started with."""
    with httpx2.Client(base_url=address, headers={"Authorization": f"Token {TOKEN}"}, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def second(address, first):
    """What speaks to the server as somebody who signed up with an invitation."""
    invitation = first.get("/api/invite").json()["invite_url"]
    with httpx2.Client(base_url=address, timeout=60, follow_redirects=True) as client:
        client.get(invitation)
        form = {"email": ADDRESSES[1], "password": PASSWORD, "csrfmiddlewaretoken": client.cookies["csrftoken"]}
        client.post(invitation, data=form, headers={"Referer": address + invitation}).raise_for_status()
        token = client.get("/api/current-user/token").json()["token"]
    with httpx2.Client(base_url=address, headers={"Authorization": f"Token {token}"}, timeout=60) as client:
        yield client


def post(client, path, **sent):
    answer = client.post(path, **sent)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


def result(label, *texts):
    area = {"from_name": "rewrite", "to_name": "question", "type": "textarea", "value": {"text": [*texts]}}
    choice = {"from_name": "label", "to_name": "question", "type": "choices", "value": {"choices": [label]}}
    return [choice, area] if texts else [choice]


def answer(client, task, label, **changes):
    return post(client, f"/api/tasks/{task}/annotations/", json={"result": result(label), **changes})


@pytest.fixture
def command(tmp_path):
    rows = [question(number, text, HOSTILE) for number, text in enumerate(HOSTILE)] + [question(50)]
    write_rows(tmp_path / "questions.parquet", rows, QUESTIONS)

    def run(*arguments):
        given = [*arguments, "--questions", str(tmp_path / "questions.parquet")]
        done = CliRunner().invoke(label_studio_group, given)
        assert done.exit_code == 0, done.output
        return done.output

    return run


def test_there_and_back(command, first, second, tmp_path):
    out, config = tmp_path / "tasks.json", tmp_path / "config.xml"
    command("export", "--out", str(out), "--config", str(config))
    exported = [task["data"] for task in json.loads(out.read_text(encoding="utf-8"))]
    view = config.read_text(encoding="utf-8")
    project = f"/api/projects/{post(first, '/api/projects/', json={'title': 'chat', 'label_config': view})['id']}"
    with out.open("rb") as file:
        counts = post(first, f"{project}/import", files={"file": ("tasks.json", file, "application/json")})
    assert counts["task_count"] == len(HOSTILE) + 1

    def download():
        path = tmp_path / "export.json"
        taken = first.get(f"{project}/export", params={"exportType": "JSON", "download_all_tasks": "true"})
        path.write_bytes(taken.raise_for_status().content)
        return path

    tasks = {task["data"]["item_id"]: task for task in json.loads(download().read_bytes())}
    assert [tasks[data["item_id"]]["data"] for data in exported] == exported
    for number, text in enumerate(HOSTILE):
        # As the page of the task gets it, where Label Studio would put links of its own in place of what it can fetch.
        data = first.get(f"/api/tasks/{tasks[f'item{number:02}']['id']}").json()["data"]
        assert [line["text"] for line in data["question"] + data["dialogue"]] == [text, *HOSTILE]

    given = {}
    for number in range(4):
        task = tasks[f"item{number:02}"]["id"]
        given[ADDRESSES[0], number] = answer(first, task, "needed" if number % 2 else "unsure")
        given[ADDRESSES[1], number] = answer(second, task, "not_a_question")
    changed = given[ADDRESSES[0], 2]
    changed |= first.patch(f"/api/annotations/{changed['id']}/", json={"result": result("not_needed")}).json()
    given[ADDRESSES[1], 3] = answer(second, tasks["item03"]["id"], "needed", result=result("needed", "Does 2.1 run?"))
    answer(first, tasks["item04"]["id"], "needed", was_cancelled=True)
    post(first, f"/api/tasks/{tasks['item05']['id']}/annotations/", json={"result": []})
    post(first, f"/api/tasks/{tasks['item06']['id']}/drafts", json={"result": result("needed")})
    post(first, "/api/predictions/", json={"task": tasks["item07"]["id"], "result": result("needed")})
    numbers = [client.get("/api/current-user/whoami").json()["id"] for client in (first, second)]

    def bring():
        source = ["--export", str(download()), "--round", "1", "--annotators", f"{numbers[0]}=li"]
        return command("import", *source, "--annotations", str(tmp_path / "annotations"))

    folder = tmp_path / "annotations" / "round_1"
    output = bring()
    logs = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.jsonl")}
    names = dict(zip(ADDRESSES, ("li", f"labelstudio_{numbers[1]}"), strict=True))
    assert {
        (row["annotator"], row["item_id"]): (row["label"], row["at"])
        for text in logs.values()
        for row in map(json.loads, text.splitlines())
    } == {
        (names[who], f"item{number:02}"): (each["result"][0]["value"]["choices"][0], each["updated_at"])
        for (who, number), each in given.items()
    }
    assert sum(len(text.splitlines()) for text in logs.values()) == len(given)
    assert sum("Does 2.1 run?" in text for text in logs.values()) == 1
    assert output.endswith(
        "11 annotations; left out: 1 skipped by the annotator; 1 without an answer; 1 replaced by the same annotator's "
        "later one; 1 left as drafts; 1 predicted by a model\n"
    )
    assert not re.search("@|person", output + "".join(logs) + "".join(logs.values()))

    assert bring().count("0 answers added, 4 known already") == 2
    assert {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.jsonl")} == logs
