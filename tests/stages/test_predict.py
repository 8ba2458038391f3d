import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from model_fixtures import PROMPT, TINY, TRAINING, options, run, write_questions

from chatladder.evaluation.predictions import read_predictions
from chatladder.io.rows import PREDICTIONS, read_rows
from chatladder.models import scoring
from chatladder.models.kept import KeptBatches
from stages.base import main as base_main
from stages.predict import main
from stages.train import main as train_main


@pytest.fixture
def predict(labelled, tmp_path):
    def call(base, *options, splits=("test",), name="p"):
        out = tmp_path / f"{name}.parquet"
        chosen = [part for split in splits for part in ("--splits", split)]
        arguments = ["--base", base, "--questions", labelled, *chosen, *PROMPT, "--max-length", 512, "--out", out]
        return run(main, *arguments, *options), out

    return call


def test_every_question_of_the_splits_is_answered_in_its_order(predict, tiny_base, tmp_path):
    result, out = predict(tiny_base, splits=("test", "train"))
    assert result.output == f"{out}: 18 answers, 0 prompts shortened to 512 tokens\n"
    rows = read_rows(out, PREDICTIONS).to_pylist()
    expected = [row for row in write_questions(tmp_path / "same.parquet") if row["split"] != "validation"]
    assert [row["item_id"] for row in rows] == [row["item_id"] for row in expected]
    shares = np.array([[row["p_needed"], row["p_not_needed"], row["p_unknown"]] for row in rows])
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    names = ["needed", "not_needed", "unknown"]
    assert [row["answer"] for row in rows] == [names[index] for index in shares.argmax(axis=1)]
    assert all(row["parsed"] for row in rows)


def test_questions_need_no_label_to_be_answered(predict, tiny_base, labelled):
    unlabelled = pq.read_table(labelled).drop_columns(["label", "agreement", "split"])
    pq.write_table(unlabelled, labelled)
    result, out = predict(tiny_base, splits=())
    assert result.exit_code == 0, result.output
    assert read_rows(out, PREDICTIONS).num_rows == 24


def test_an_untouched_rung_answers_once_with_each_seed(predict, tiny_base, tiny_adapter, tmp_path):
    base = shutil.copytree(tiny_base, tmp_path / "tiny")
    result = run(base_main, "--source", "embedded", *options(TINY), "--seeds", 5, "--out", base)
    assert result.exit_code == 0, result.output
    _, single = predict(tiny_base, name="single")
    result, several = predict(base, name="several")
    assert result.output == f"{several}: 12 answers of 2 seeds, 0 prompts shortened to 512 tokens\n"
    first, rows = (read_rows(path, PREDICTIONS).to_pylist() for path in (single, several))
    assert [row["seed"] for row in rows] == [0] * 6 + [5] * 6
    assert rows[:6] == first
    assert [row["item_id"] for row in rows[6:]] == [row["item_id"] for row in first]
    assert all(row["p_needed"] != other["p_needed"] for row, other in zip(first, rows[6:], strict=True))
    # Whoever reads one model's answers reads the first seed's.
    ids = [row["item_id"] for row in first]
    assert read_predictions(several, ids).log_odds.tolist() == read_predictions(single, ids).log_odds.tolist()
    # An adapter stands on the model of its own seed.
    _, tuned = predict(base, "--adapter", tiny_adapter, name="tuned")
    assert [row["seed"] for row in read_rows(tuned, PREDICTIONS).to_pylist()] == [0] * 6


def test_a_tuned_rung_answers_once_with_each_seed_on_that_seeds_model(predict, tiny_base, tiny_alpaca, tmp_path):
    base = shutil.copytree(tiny_base, tmp_path / "tiny")
    assert run(base_main, "--source", "embedded", *options(TINY), "--seeds", 5, "--out", base).exit_code == 0
    settings = options({**TRAINING, "seeds": "5,0", "num-train-epochs": 1})
    folders = ["--out", tmp_path / "adapter", "--curves", tmp_path / "curves"]
    assert run(train_main, "--base", base, "--alpaca", tiny_alpaca, *settings, *folders).exit_code == 0
    result, several = predict(base, "--adapter", tmp_path / "adapter", name="several")
    assert result.output == f"{several}: 12 answers of 2 seeds, 0 prompts shortened to 512 tokens\n"
    rows = read_rows(several, PREDICTIONS).to_pylist()
    assert [row["seed"] for row in rows] == [5] * 6 + [0] * 6
    # As each adapter on its own base alone.
    for own, adapter, expected in (
        (base / "seed_5", tmp_path / "adapter", rows[:6]),
        (tiny_base, tmp_path / "adapter" / "seed_0", rows[6:]),
    ):
        alone = shutil.copytree(adapter, tmp_path / f"alone_{own.name}", ignore=shutil.ignore_patterns("seed_*"))
        _, single = predict(own, "--adapter", alone, name=f"single_{own.name}")
        assert read_rows(single, PREDICTIONS).to_pylist() == expected


def test_an_adapter_changes_the_answers(predict, tiny_base, tiny_adapter):
    _, vanilla = predict(tiny_base, name="vanilla")
    result, tuned = predict(tiny_base, "--adapter", tiny_adapter, name="tuned")
    assert result.exit_code == 0, result.output
    before, after = (read_rows(path, PREDICTIONS).column("p_needed").to_numpy() for path in (vanilla, tuned))
    assert np.abs(before - after).max() > 1e-3


def test_a_folder_with_a_pickled_adapter_is_refused(predict, tiny_base, tmp_path):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter" / "adapter_model.bin").write_bytes(b"\x80\x04")
    result, out = predict(tiny_base, "--adapter", tmp_path / "adapter")
    assert result.exit_code == 1
    assert "got none with adapter_model.safetensors" in result.output
    assert not out.exists()


def test_an_adapter_of_another_base_is_refused(predict, tiny_base, tiny_adapter, tmp_path):
    other = shutil.copytree(tiny_adapter, tmp_path / "adapter")
    config = json.loads((other / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(json.dumps({**config, "r": config["r"] * 2}))
    result, out = predict(tiny_base, "--adapter", other)
    assert result.exit_code == 1
    assert "expected an adapter of this base model" in result.output
    assert not out.exists()


def test_torn_weights_are_refused(predict, tiny_base, tmp_path):
    torn = shutil.copytree(tiny_base, tmp_path / "torn")
    (torn / "model.safetensors").write_bytes((torn / "model.safetensors").read_bytes()[:1000])
    result, out = predict(torn)
    assert result.exit_code == 1
    assert f"{torn / 'model.safetensors'}: expected weights in safetensors" in result.output
    assert not out.exists()


def test_a_folder_that_is_no_base_is_refused(predict, tmp_path):
    result, out = predict(tmp_path)
    assert result.exit_code == 1
    assert f"{tmp_path}: expected a folder written by stages.base" in result.output
    assert not out.exists()


def test_a_split_without_questions_is_refused(tiny_base, tmp_path):
    write_questions(tmp_path / "few.parquet", count=2)
    result = run(
        main,
        *("--base", tiny_base, "--questions", tmp_path / "few.parquet", "--splits", "test"),
        *(*PROMPT, "--max-length", 512, "--out", tmp_path / "p.parquet"),
    )
    assert result.exit_code == 1
    assert "expected questions in test, got none" in result.output


@pytest.mark.parametrize("by", ["score", "generate"])
def test_a_large_models_finished_answers_outlive_a_killed_run(by, predict, tiny_base, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scoring, "TOKENS_A_BATCH", 300)
    base = shutil.copytree(tiny_base, tmp_path / "large")
    rung = json.loads((base / "rung.json").read_text())
    (base / "rung.json").write_text(json.dumps({**rung, "params": 20_000_000}))
    asked = ("--by", by, "--orders", 1)
    put, done = KeptBatches.put, []

    def put_some(most):
        def put_or_stop(kept, batch, result):
            if len(done) == most:
                raise KeyboardInterrupt
            done.append(batch)
            put(kept, batch, result)

        monkeypatch.setattr(KeptBatches, "put", put_or_stop)

    put_some(most=None)
    _, whole = predict(base, *asked, splits=("test", "train"), name="whole")
    batches = len(done)
    done.clear()
    put_some(most=2)
    result, stopped = predict(base, *asked, splits=("test", "train"), name="stopped")
    assert "the same command goes on" in result.output
    assert not stopped.exists()
    (kept,) = (tmp_path / ".chatladder/answers").iterdir()
    kept.write_text(kept.read_text() + "\n[3, [[-0.1")  # the process was killed while it wrote
    put_some(most=None)
    _, resumed = predict(base, *asked, splits=("test", "train"), name="stopped")
    assert resumed.read_bytes() == whole.read_bytes()
    assert len(done) == batches > 2
    assert not any((tmp_path / ".chatladder/answers").iterdir())
