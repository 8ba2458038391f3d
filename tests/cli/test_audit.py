"""The audit: planted leaks are found in every kind of file, are never shown, and clean trees pass."""

import bz2
import gzip
import hashlib
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from chatladder.cli.audit import audit_command
from chatladder.privacy.secret import KEY_FILE, create

PHONE = "13912345678"
NAME = "Qarla Vextrova"
HANDLE = "qvex_dev"


@pytest.fixture(autouse=True)
def _tree(tmp_path, monkeypatch):
    """A repository with an export, and nothing that the environment holds."""
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.upper().endswith(("KEY", "TOKEN", "SECRET", "PASSWORD"))]:
        monkeypatch.delenv(variable)
    for folder in ("data/raw", "metrics", ".dvc/cache/files/md5"):
        (tmp_path / folder).mkdir(parents=True)
    rows = [
        {"group": "team", "sender": HANDLE, "timestamp": 1672531200, "text": f"call {PHONE}"},
        {"group": "team", "sender": NAME, "timestamp": 1672531201, "text": "hi"},
        {"group": "team", "sender": "linux", "timestamp": 1672531202, "text": "hi"},
    ]
    (tmp_path / "data/raw/chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def run(*options):
    result = CliRunner().invoke(audit_command, list(options))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    for secret in (PHONE, "Qarla", "Vextrova", HANDLE, "red cedar", "very-secret-value"):
        assert secret.lower() not in result.output.lower()
    return result


def cached(tmp_path, content):
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    path = tmp_path / ".dvc/cache/files/md5" / digest[:2] / digest[2:]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def parquet(rows):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink, compression="zstd", row_group_size=2)
    return sink.getvalue().to_pybytes()


CLEAN = [
    {"sender": "u0a1b2c3d", "text": "how to install linux? 1.2.3", "window": [{"sender": "u1", "text": "<phone> ok"}]},
    {"sender": "u0a1b2c3e", "text": None, "window": [], "item_id": "0013912345678000"},
    {"sender": "u0a1b2c3e", "text": "x", "window": [], "item_id": "4111111111111111"},
    {"sender": "u0a1b2c3e", "text": "linux: no", "window": []},
]


def test_a_clean_tree_passes(tmp_path):
    cached(tmp_path, parquet(CLEAN))
    lock = (
        "schema: '2.0'\nstages:\n  x:\n    deps:\n    - path: data/raw\n      md5: "
        + "0a" * 16
        + ".dir\n      size: 13912345678\n"
    )
    (tmp_path / "dvc.lock").write_text(lock, encoding="utf-8")
    (tmp_path / "metrics/m.json").write_text('{"flos": 4111111111111111, "f1": 0.13912345678}\n', encoding="utf-8")
    (tmp_path / "data/plot.png").write_bytes(b"\x89PNG\0\0" + PHONE.encode())
    result = run()
    assert result.exit_code == 0, result.output
    assert "audit: nothing found in 4 files, 3 names looked for; 1 files searched for secrets only" in result.output


def test_a_phone_number_in_a_table_of_the_cache(tmp_path):
    bad = [*CLEAN, {"sender": "u1", "text": "x", "window": [{"sender": "u2", "text": f"电话{PHONE}。"}]}]
    path = cached(tmp_path, parquet(bad))
    result = run()
    assert result.exit_code == 1
    assert f"{path.relative_to(tmp_path)}: phone 1 (text row 5)" in result.output
    assert "1 findings in 1 of 1 files" in result.output


@pytest.mark.parametrize("name", [NAME, HANDLE, "vextrova", "QARLA  vextrova".replace("  ", " "), "q\u200bvex_dev"])
def test_a_name_in_a_tokenizer(tmp_path, name):
    folder = tmp_path / "data/adapters/small"
    folder.mkdir(parents=True)
    content = {"model": {"vocab": {"a": 0, name: 1}, "merges": ["a b"]}}
    (folder / "tokenizer.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    result = run()
    assert result.exit_code == 1
    assert "data/adapters/small/tokenizer.json: name 1 (line 5)" in result.output


def test_a_real_sender_is_found_even_if_it_is_a_word(tmp_path):
    cached(tmp_path, parquet([{"sender": "linux", "text": "x"}]))
    (tmp_path / "metrics/m.jsonl").write_text('{"x": 1}\n{"sender": "Linux", "text": "linux"}\n', encoding="utf-8")
    result = run()
    assert "name 1 (sender row 1)" in result.output
    assert "metrics/m.jsonl: name 1 (line 2)" in result.output


@pytest.mark.parametrize(
    ("file", "write"),
    [
        ("data/x.jsonl.bz2", lambda text: bz2.compress(b'{"t": "a"}\n' + json.dumps({"t": text}).encode())),
        ("data/x.csv", lambda text: f"a,b\n1,{text}\n".encode()),
        ("data/x.md.gz", lambda text: gzip.compress(f"# x\n{text}".encode())),
        ("metrics/x.tsv", lambda text: f"[not json]\n{text}\t1\n".encode()),
        ("metrics/raw.log", lambda text: f"[21:20] <nick> x\n[21:21] <nick> {text}\n".encode()),
        ("data/.hidden.tmp", lambda text: f"\n{text}\n".encode()),
    ],
)
def test_every_kind_of_text_is_searched(tmp_path, file, write):
    (tmp_path / file).write_bytes(write(f"mail a@b.cn to {NAME}, 电话{PHONE}"))
    result = run()
    assert result.exit_code == 1
    for kind in ("email", "name", "phone"):
        assert f"{file}: {kind} 1 (line 2)" in result.output


def test_a_leak_beyond_the_first_piece_of_one_long_line(tmp_path):
    long = {"pad": ["x" * 50] * 60_000, "text": f"电话{PHONE}"}
    (tmp_path / "metrics/long.json").write_text(json.dumps(long), encoding="utf-8")
    (tmp_path / "metrics/long.txt").write_text("word " * 420_000 + f"{PHONE} " + "word " * 420_000, encoding="utf-8")
    result = run()
    assert "long.json: phone 1 (line 1)" in result.output
    assert "long.txt: phone 1 (line 1)" in result.output


def test_secrets_of_the_environment_and_the_local_one_are_found_in_any_file(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "very-secret-value")
    monkeypatch.setenv("SHORT_KEY", "x")
    key = create(KEY_FILE).read_text(encoding="utf-8").strip()
    (tmp_path / "metrics/a.md").write_text("see very-secret-value here", encoding="utf-8")
    (tmp_path / "data/b.bin").write_bytes(b"\0" * 3_000_000 + b"very-secret-value")
    (tmp_path / "metrics/c.json").write_text(json.dumps({"key": key}), encoding="utf-8")
    result = run()
    assert "metrics/a.md: secret 1 (line 1)" in result.output
    assert "data/b.bin: secret 1" in result.output
    assert "metrics/c.json: secret 1 (line 1)" in result.output
    assert key not in result.output


def test_deny_lists_of_the_raw_folder_and_the_command(tmp_path):
    (tmp_path / "metrics/a.md").write_text("x\nRed Cedar and blue elm\n", encoding="utf-8")
    assert run().exit_code == 0
    (tmp_path / "more.deny").write_text("# comment\nred cedar  # a project\n", encoding="utf-8")
    assert "metrics/a.md: denied 1 (line 2)" in run("--deny", "more.deny").output
    (tmp_path / "data/raw/own.deny").write_text("blue elm\nred cedar\n", encoding="utf-8")
    assert "metrics/a.md: denied 2 (line 2)" in run().output


def test_the_caches_copies_of_the_exports_are_left_out(tmp_path):
    raw = (tmp_path / "data/raw/chat.jsonl").read_bytes()
    path = cached(tmp_path, raw)
    assert run().exit_code == 1
    digest = path.parent.name + path.name
    (tmp_path / "data/raw/chat.jsonl.dvc").write_text(f"outs:\n- md5: {digest}\n  path: chat.jsonl\n", encoding="utf-8")
    result = run()
    assert result.exit_code == 0, result.output
    assert "1 copies of exports" in result.output


def test_so_are_those_of_a_folder_of_exports(tmp_path):
    path = cached(tmp_path, (tmp_path / "data/raw/chat.jsonl").read_bytes())
    listing = json.dumps([{"md5": path.parent.name + path.name, "relpath": f"{HANDLE}.jsonl"}]).encode()
    folder = cached(tmp_path, listing)
    folder.rename(folder.with_name(folder.name + ".dir"))
    digest = folder.parent.name + folder.name
    (tmp_path / "data/raw.dvc").write_text(f"outs:\n- md5: {digest}.dir\n  path: raw\n", encoding="utf-8")
    result = run()
    assert result.exit_code == 0, result.output
    assert "2 copies of exports" in result.output


def test_json_report_and_paths_to_leave_out(tmp_path):
    (tmp_path / "metrics/a.md").write_text(f"{PHONE}\n" * 7, encoding="utf-8")
    report = json.loads(run("--json").stdout)
    places = [f"line {number}" for number in range(1, 6)]
    assert report["findings"] == [{"path": "metrics/a.md", "kind": "phone", "times": 7, "places": places}]
    result = run("--skip", "metrics/*")
    assert result.exit_code == 0
    assert "1 other files left out" in result.output


def test_damaged_files_are_findings(tmp_path):
    (tmp_path / "data/x.parquet").write_bytes(b"PAR1 and nothing else")
    (tmp_path / "data/x.bz2").write_bytes(bz2.compress(b"abc" * 100)[:-10])
    (tmp_path / "data/x.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    result = run()
    assert result.exit_code == 1
    assert "data/x.parquet: unreadable 1" in result.output
    assert "data/x.bz2: unreadable 1" in result.output


def test_the_header_of_safetensors_is_searched(tmp_path):
    header = json.dumps({"__metadata__": {"note": f"by {NAME}"}}).encode()
    (tmp_path / "data/x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 100)
    assert "data/x.safetensors: name 1 (line 1)" in run().output


def test_exports_of_another_format_and_with_other_columns_are_read(tmp_path):
    (tmp_path / "data/raw/chat.jsonl").write_text(
        json.dumps({"room": "r", "who": HANDLE, "when": 1672531200, "text": "x"}) + "\n", encoding="utf-8"
    )
    (tmp_path / "metrics/a.md").write_text(f"by {HANDLE}", encoding="utf-8")
    ingest = {"format": "table", "column": ["group=room", "sender=who", "timestamp=when"]}
    (tmp_path / "params.yaml").write_text(json.dumps({"ingest": ingest}), encoding="utf-8")
    assert "metrics/a.md: name 1 (line 1)" in run().output
    (tmp_path / "params.yaml").write_text("ingest: {format: nothing}\n", encoding="utf-8")
    assert "params.yaml: ingest: Invalid value for '--format'" in run().output


def test_numbers_of_the_countries_in_params_are_found(tmp_path):
    (tmp_path / "metrics/a.md").write_text("call 020 7946 0958 now", encoding="utf-8")
    assert run().exit_code == 0
    (tmp_path / "params.yaml").write_text("ingest: {phone_region: [GB]}\n", encoding="utf-8")
    assert "metrics/a.md: phone 1 (line 1)" in run().output


def test_a_folder_without_exports_is_refused(tmp_path):
    (tmp_path / "data/raw/chat.jsonl").unlink()
    result = run()
    assert result.exit_code == 1
    assert "expected at least one chat export" in result.output
