"""Classifiers of words: cheap answers to each label from other conversations."""

import os
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from model_fixtures import run, write_questions

from chatladder.io.rows import LABELLED, PREDICTIONS, read_rows, write_rows
from stages.word_baselines import main, prediction_rows
from tests.conftest import ROOT

NAMES = ("line", "trees")


@pytest.fixture
def labelled(tmp_path):
    """160 questions of 80 conversations whose label can be read off the text; 40 of them are test items."""
    write_questions(tmp_path / "labelled.parquet", 160)
    return tmp_path / "labelled.parquet"


@pytest.fixture
def answer(labelled, tmp_path):
    def call(name="words", seed=0, folds=3, repeats=1, baselines=None):
        files = ["--labelled", labelled, "--out", tmp_path / name]
        files += ["--baselines", tmp_path / baselines] if baselines else []
        return run(main, *files, "--folds", folds, "--repeats", repeats, "--seed", seed)

    return call


def answers(folder):
    return {name: read_rows(folder / f"{name}.parquet", PREDICTIONS).to_pylist() for name in NAMES}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def change(labelled, **values):
    rows = read_rows(labelled, LABELLED).to_pylist()
    write_rows(labelled, [{**row, **values} for row in rows], LABELLED)


def test_both_baselines_answer_every_item_outside_the_test_split(answer, labelled, tmp_path):
    result = answer()
    assert result.exit_code == 0, result.output
    assert sorted(contents(tmp_path / "words")) == ["line.parquet", "trees.parquet"]
    reviewed = [row for row in read_rows(labelled, LABELLED).to_pylist() if row["split"] != "test"]
    assert len(reviewed) == 120
    for name, rows in answers(tmp_path / "words").items():
        assert pq.read_schema(tmp_path / "words" / f"{name}.parquet").equals(PREDICTIONS)
        assert [row["item_id"] for row in rows] == [row["item_id"] for row in reviewed]
        for row in rows:
            assert 0 <= row["p_needed"] <= 1
            assert row["p_needed"] + row["p_not_needed"] == pytest.approx(1)
            assert (row["p_unknown"], row["parsed"]) == (0, True)
            assert row["answer"] == ("needed" if row["p_needed"] > 0.5 else "not_needed")


def test_more_than_a_half_is_needed():
    rows = prediction_rows([{"item_id": "a"}, {"item_id": "b"}], np.array([0.5, 0.500001]))
    assert [row["answer"] for row in rows] == ["not_needed", "needed"]


def test_it_says_how_far_they_agree_with_the_labels(answer, labelled, tmp_path):
    output = answer().output
    labels = {row["item_id"]: row["label"] for row in read_rows(labelled, LABELLED).to_pylist()}
    right = {
        name: sum(labels[row["item_id"]] == row["answer"] for row in rows) / len(rows)
        for name, rows in answers(tmp_path / "words").items()
    }
    assert min(right.values()) > 0.95
    agreeing = f"line {right['line']:.3f}, trees {right['trees']:.3f}"
    assert output == f"{tmp_path / 'words'}: 120 answers each; share that agrees with the labels: {agreeing}\n"


def test_an_items_own_label_changes_nothing_of_its_answer(answer, labelled, tmp_path):
    answer("before", repeats=2)
    rows = read_rows(labelled, LABELLED).to_pylist()
    turned = {"needed": "not_needed", "not_needed": "needed"}
    for row in rows:
        if row["conversation"] == "c0":
            row["label"] = turned[row["label"]]
    write_rows(labelled, rows, LABELLED)
    answer("after", repeats=2)
    before, after = answers(tmp_path / "before"), answers(tmp_path / "after")
    for name in NAMES:
        assert [row["item_id"] for row in before[name][:2]] == ["q0", "q1"]  # all of c0
        assert before[name][:2] == after[name][:2]
    assert before["line"] != after["line"]


def test_labels_of_the_test_split_change_nothing(answer, labelled, tmp_path):
    answer("before")
    rows = read_rows(labelled, LABELLED).to_pylist()
    for row in rows:
        if row["split"] == "test":
            row |= {"label": "needed", "text": "something else", "window": []}
    write_rows(labelled, rows, LABELLED)
    answer("after")
    assert contents(tmp_path / "before") == contents(tmp_path / "after")


def test_baselines_answer_the_test_split_and_saw_none_of_it(answer, labelled, tmp_path):
    assert answer(baselines="before").exit_code == 0
    rows = read_rows(labelled, LABELLED).to_pylist()
    tested = {row["item_id"]: row["label"] for row in rows if row["split"] == "test"}
    before = {path.stem: read_rows(path, PREDICTIONS).to_pylist() for path in (tmp_path / "before").iterdir()}
    assert sorted(before) == ["counts", "line", "naming", "trees"]
    for found in before.values():
        assert [row["item_id"] for row in found] == list(tested)
    for name in NAMES:
        right = sum(row["answer"] == tested[row["item_id"]] for row in before[name])
        assert right / len(tested) > 0.9
    # An item's answer depends neither on the labels of the test split nor on the texts of its other items.
    kept = next(iter(tested))
    for row in rows:
        if row["split"] == "test":
            row["label"] = "needed" if row["label"] == "not_needed" else "not_needed"
            row |= {} if row["item_id"] == kept else {"text": "something else", "window": []}
    write_rows(labelled, rows, LABELLED)
    answer(baselines="after")
    for name, found in before.items():
        assert read_rows(tmp_path / "after" / f"{name}.parquet", PREDICTIONS).to_pylist()[0] == found[0], name


def test_equal_seeds_give_equal_bytes_and_others_other_deals(answer, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        answer(name, seed)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a") != contents(tmp_path / "c")


def test_an_older_answer_is_replaced_whole(answer, tmp_path):
    (tmp_path / "words").mkdir()
    for name in ("line", "trees"):
        (tmp_path / "words" / f"{name}.parquet").write_bytes(b"old")
    answer()
    assert b"old" not in contents(tmp_path / "words").values()
    assert sorted(contents(tmp_path / "words")) == ["line.parquet", "trees.parquet"]


@pytest.mark.slow
def test_neither_threads_nor_the_hash_seed_change_a_byte(answer, labelled, tmp_path):
    assert answer("here", baselines="tested_here").exit_code == 0
    files = ["--labelled", str(labelled), "--out", str(tmp_path / "there")]
    files += ["--baselines", str(tmp_path / "tested_there")]
    command = [sys.executable, "-m", "stages.word_baselines", "--folds=3", "--repeats=1", "--seed=0", *files]
    # Here there is one thread of OpenMP, and one of OpenBLAS for each processor.
    other = {"PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=os.environ | other, cwd=ROOT)
    assert contents(tmp_path / "here") == contents(tmp_path / "there")
    assert contents(tmp_path / "tested_here") == contents(tmp_path / "tested_there")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"split": "test"}, "expected labelled items outside the test split, got none. Annotate more."),
        ({"label": "not_needed"}, "expected two labels outside the test split, got not_needed alone."),
        ({"conversation": "c"}, "each fold leaves to learn from, got none beside fold"),
        ({"label": "maybe"}, "row 1: expected its label to be needed or not_needed, got 'maybe'."),
    ],
)
def test_labels_that_cannot_be_learned_are_refused(answer, labelled, tmp_path, values, message):
    change(labelled, **values)
    result = answer()
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {labelled}: ")
    assert message in result.output
    assert not (tmp_path / "words").exists()


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:300], lambda data: b"[]"])
def test_a_damaged_file_is_refused(answer, labelled, tmp_path, damage):
    labelled.write_bytes(damage(labelled.read_bytes()))
    result = answer()
    assert result.exit_code == 1
    assert f"{labelled}: expected a parquet file" in result.output
    assert not (tmp_path / "words").exists()


@pytest.mark.parametrize("options", [{"folds": 1}, {"folds": 51}, {"repeats": 0}, {"seed": -1}])
def test_a_wrong_number_is_a_usage_error(answer, options):
    assert answer(**options).exit_code == 2
