"""Secrets of every kind, planted in every format, are nowhere behind ingest: in no file, cache, lock, log or error."""

import json
import os
import subprocess

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from stages.ingest import main as ingest
from tests.conftest import copy_code
from tests.planted import EXPORTS, SECRETS

KEY = "a key that only this test knows"
#: What a handle is called in IRC, where names hold no blanks and case is nobody's.
IN_IRC = {SECRETS["sender"].replace(" ", ""), SECRETS["sender"].replace(" ", "").lower()}


@pytest.fixture(autouse=True)
def own_key(monkeypatch):
    monkeypatch.setenv("CHATLADDER_PRIVACY_KEY", KEY)


def texts_in(path):
    """Everything a reader could get out of a file: its bytes, and what they unpack to."""
    data = path.read_bytes()
    yield data.decode("utf-8", "replace")
    if data.startswith(b"PAR1"):
        yield json.dumps(pq.read_table(path).to_pylist(), ensure_ascii=False)
        yield str(pq.read_schema(path).metadata)


def leaks(text):
    return sorted(kind for kind, secret in {**SECRETS, "our key": KEY}.items() if secret.lower() in text.lower())


def raw(folder, *names):
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(EXPORTS[name]())
    (folder / "people.deny").write_text(f"# not to be named\n{SECRETS['denied']}\n", encoding="utf-8")
    return folder


def run_ingest(folder, out):
    options = ["--raw", folder, "--format", "auto", "--timezone", "UTC", "--date-order", "auto"]
    options += ["--out", out / "messages.parquet", "--counts", out / "counts.json"]
    return CliRunner().invoke(ingest, [str(option) for option in options])


@pytest.mark.parametrize("name", EXPORTS)
def test_no_planted_secret_leaves_ingest(tmp_path, name):
    result = run_ingest(raw(tmp_path / "raw", name), tmp_path / "out")
    assert result.exit_code == 0, result.output
    rows = pq.read_table(tmp_path / "out" / "messages.parquet").to_pylist()
    assert sum(row["kind"] == "text" for row in rows) == 6
    assert leaks(result.output) == []
    for path in (tmp_path / "out").iterdir():
        for text in texts_in(path):
            assert leaks(text) == [], path.name
            assert not any(nick in text for nick in IN_IRC), path.name
    said = "\n".join(row["text"] for row in rows)
    for placeholder in ("<phone>", "<email>", "<id>", "<ip>", "<key>"):
        assert placeholder in said
    # What makes the questions is still there.
    for words in ("does anybody know why it fails?", "这个怎么填？", "how is it going?"):
        assert words in said
    counts = json.loads((tmp_path / "out" / "counts.json").read_text())
    assert counts["masked_denied"] == 1
    assert counts["masked_name"] >= 2


@pytest.mark.parametrize("name", EXPORTS)
def test_no_planted_secret_is_in_an_error(tmp_path, name):
    folder = raw(tmp_path / "raw", name)
    content = (folder / name).read_bytes()
    for number, damaged in enumerate(
        (content[: len(content) * 2 // 3], content.replace(b"10", b"\xff\xfe"), content[40:])
    ):
        (folder / name).write_bytes(damaged)
        result = run_ingest(folder, tmp_path / f"out{number}")
        assert leaks(result.output) == []
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output


GRAPH = """
stages:
  ingest:
    cmd: >-
      python -m stages.ingest --raw data/raw --format auto --timezone UTC --date-order auto
      --out data/messages.parquet --counts data/counts/ingest.json
    deps: [data/raw]
    outs: [data/messages.parquet, data/counts/ingest.json]
  merge:
    cmd: >-
      python -m stages.merge --messages data/messages.parquet --gap-seconds 18
      --out data/turns.parquet --counts data/counts/merge.json
    deps: [data/messages.parquet]
    outs: [data/turns.parquet, data/counts/merge.json]
  score:
    cmd: >-
      python -m stages.score --judge rules --kind rules --seed 0 --turns data/turns.parquet
      --out data/scores/rules
    deps: [data/turns.parquet]
    outs: [data/scores/rules]
  pick_questions:
    cmd: >-
      python -m stages.pick_questions --turns data/turns.parquet --join all --scores data/scores
      --judge rules=5 --counts data/counts --min-characters 7
      --window 12 --conversation-gap 1800 --max-conversation-turns 500 --reply-reach 86400
      --out data/questions.parquet --metrics metrics/questions.json
    deps: [data/turns.parquet, data/scores, data/counts]
    outs: [data/questions.parquet]
    metrics: [metrics/questions.json: {cache: false}]
"""


@pytest.mark.slow
def test_no_planted_secret_is_in_a_project_its_cache_its_lock_or_its_logs(tmp_path, warm):
    project = tmp_path / "project"
    raw(project / "data" / "raw", *EXPORTS)
    (project / "dvc.yaml").write_text(GRAPH, encoding="utf-8")
    copy_code(project)
    environment = os.environ | {
        **warm,
        "PYTHONPATH": str(project),
        "CHATLADDER_PRIVACY_KEY": KEY,
    }

    def run(*command):
        return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)

    run("git", "init", "-q")
    run("dvc", "init", "-q")
    for command in (("dvc", "repro"), ("dvc", "repro", "-v", "--force")):
        done = run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        assert leaks(done.stdout + done.stderr) == []
    seen = 0
    for path in project.rglob("*"):
        if (
            path.is_file()
            and "data/raw" not in path.as_posix()
            and path.relative_to(project).parts[0] not in {"chatladder", "stages"}
        ):
            for text in texts_in(path):
                assert leaks(text) == [], path.relative_to(project)
            seen += 1
    assert seen > 20
    audit = run("python", "-m", "chatladder.cli.app", "audit")
    assert audit.returncode == 0, audit.stdout + audit.stderr
    assert leaks(audit.stdout + audit.stderr) == []
    planted = project / "metrics" / "notes.md"
    planted.write_text(f"call {SECRETS['sender']} on {SECRETS['phone']}\n", encoding="utf-8")
    audit = run("python", "-m", "chatladder.cli.app", "audit")
    assert audit.returncode == 1, audit.stdout + audit.stderr
    assert "notes.md" in audit.stdout + audit.stderr
    assert leaks(audit.stdout + audit.stderr) == []
