"""Out-of-fold answers: each item once, by an adapter that never saw its conversation, and runs that go on."""

import os
import subprocess

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from model_fixtures import options, run, write_params

from chatladder.io.rows import LABELLED, PREDICTIONS, read_rows, write_rows
from chatladder.training import runs
from chatladder.training.checkpoints import CODE, FOLDS, KeptFolds
from stages import out_of_fold as stage
from stages.out_of_fold import main
from tests.conftest import ROOT

SETTINGS = {"rung": "tiny", "folds": 3, "max-length": 512, "language": "zh", "answer": "text", "seed": 0}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    """What is kept of a run lies below the folder that it runs in."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def answer(tiny_base, labelled, tmp_path):
    def call(name="a", base=tiny_base, train=None, **changes):
        params = write_params(tmp_path / "params.yaml", {"num_train_epochs": 1, **(train or {})})
        files = ["--params", params, "--base", base, "--labelled", labelled, "--out", tmp_path / f"{name}.parquet"]
        return run(main, *files, *options({**SETTINGS, **changes}))

    return call


def rows_of(labelled):
    return read_rows(labelled, LABELLED).to_pylist()


def kept():
    return sorted(FOLDS.iterdir()) if FOLDS.exists() else []


def interrupt_at(call, monkeypatch):
    """Ctrl-C at the beginning of the fold of that number; gives the items of the folds that were trained."""
    trained = []

    def fold(base, rows, items, *how):
        if len(trained) + 1 == call:
            raise KeyboardInterrupt
        trained.append([item["item_id"] for item in items])
        return answer_fold(base, rows, items, *how)

    answer_fold = runs.answer_fold
    monkeypatch.setattr(runs, "answer_fold", fold)
    return trained


class TestAnswers:
    def test_every_item_outside_the_test_split_is_answered_once(self, answer, labelled, tmp_path):
        result = answer()
        assert result.exit_code == 0, result.output
        assert pq.read_schema(tmp_path / "a.parquet").equals(PREDICTIONS)
        found = read_rows(tmp_path / "a.parquet", PREDICTIONS).to_pylist()
        rows = rows_of(labelled)
        assert {row["split"] for row in rows} == {"train", "validation", "test"}
        assert [row["item_id"] for row in found] == [row["item_id"] for row in rows if row["split"] != "test"]
        for row in found:
            shares = {name: row[f"p_{name}"] for name in ("needed", "not_needed", "unknown")}
            assert sum(shares.values()) == pytest.approx(1)
            assert row["answer"] == max(shares, key=shares.get)
            assert row["parsed"] is True

    def test_a_written_answer_cannot_be_asked_for(self, answer):
        refused = answer(by="generate")
        assert refused.exit_code == 2
        assert "No such option '--by'" in refused.output

    def test_it_says_what_each_fold_learned(self, answer, tmp_path):
        lines = answer().output.splitlines()
        assert len(lines) == 4
        for number, line in enumerate(lines[:3], start=1):
            assert line.startswith(f"fold {number} of 3: ")
            assert line.endswith(" asked, done")
            learned, asked = (int(part.split()[0]) for part in line.split(": ")[1].split(", ")[:2])
            assert learned + asked == 18
        assert lines[3] == f"{tmp_path / 'a'}.parquet: 18 answers by 3 adapters, none to a question it was trained on"

    def test_an_adapter_learns_no_conversation_that_it_answers_and_nothing_of_the_test_split(
        self, answer, labelled, monkeypatch
    ):
        folds = []

        def spy(_base, rows, items, *_):
            folds.append(([row["item_id"] for row in rows], [item["item_id"] for item in items]))
            return [dict.fromkeys(PREDICTIONS.names) | {"item_id": item["item_id"]} for item in items]

        monkeypatch.setattr(runs, "answer_fold", spy)
        assert answer().exit_code == 0
        place = {row["item_id"]: (row["conversation"], row["split"]) for row in rows_of(labelled)}
        reviewed = sorted(item_id for item_id, (_, split) in place.items() if split != "test")
        for learned, asked in folds:
            assert {place[item_id][0] for item_id in learned}.isdisjoint(place[item_id][0] for item_id in asked)
            assert sorted(learned + asked) == reviewed
        assert sorted(item_id for _, asked in folds for item_id in asked) == reviewed

    def test_an_items_own_label_changes_nothing_of_its_answer(self, answer, labelled, tmp_path):
        assert answer("a").exit_code == 0
        rows = rows_of(labelled)
        own = {row["item_id"] for row in rows if row["conversation"] == "c0"}
        turned = {"needed": "not_needed", "not_needed": "needed"}
        for row in rows:
            if row["item_id"] in own:
                row["label"] = turned[row["label"]]
        write_rows(labelled, rows, LABELLED)
        assert answer("b").exit_code == 0
        before, after = (read_rows(tmp_path / f"{name}.parquet", PREDICTIONS).to_pylist() for name in "ab")
        assert [row for row in before if row["item_id"] in own] == [row for row in after if row["item_id"] in own]
        assert before != after

    def test_equal_runs_give_equal_bytes(self, answer, tmp_path):
        for name, seed in (("a", 0), ("b", 0), ("c", 1)):
            assert answer(name, train={"seeds": seed}).exit_code == 0
        first, again, other = ((tmp_path / f"{name}.parquet").read_bytes() for name in "abc")
        assert first == again
        assert first != other

    @pytest.mark.slow
    def test_the_hash_seed_changes_nothing(self, answer, tiny_base, labelled, tmp_path, python, warm):
        assert answer("here").exit_code == 0
        files = ["--params", tmp_path / "params.yaml", "--base", tiny_base, "--labelled", labelled]
        words = map(str, [*options(SETTINGS), *files, "--out", tmp_path / "there.parquet"])
        environment = {**os.environ, **warm, "PYTHONPATH": str(ROOT)}
        command = [python, "-m", "stages.out_of_fold", *words]
        subprocess.run(command, check=True, env=environment, cwd=tmp_path)
        assert (tmp_path / "here.parquet").read_bytes() == (tmp_path / "there.parquet").read_bytes()


class TestRefusals:
    def change(self, labelled, **values):
        write_rows(labelled, [{**row, **values} for row in rows_of(labelled)], LABELLED)

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"split": "test"}, "expected labelled items outside the test split, got none. Annotate more."),
            ({"label": "needed"}, "expected two labels outside the test split, got needed alone. Annotate more."),
            (
                {"conversation": "c"},
                "expected two labels among the items that each fold leaves to learn from, got none beside fold ",
            ),
            (
                {"label": "unsure"},
                "row 1: expected its label to be needed or not_needed, got 'unsure'. Run stages.label",
            ),
            ({"label": None}, "row 1: expected its label to be needed or not_needed, got None."),
            ({"split": None}, "row 1: expected its split to be train or validation or test, got None."),
            ({"text": None}, "row 1: expected a text, got none."),
            ({"window": None}, "row 1: expected a window, got none."),
            ({"window": [None]}, "row 1: expected a text in every turn of its window, got a turn without."),
            (
                {"window": [{"sender": "u1", "text": None, "timestamp": 0}]},
                "row 1: expected a text in every turn of its window, got a turn without.",
            ),
            ({"item_id": "q"}, "row 2: expected every item once, got that of row 1."),
        ],
    )
    def test_labels_that_cannot_be_learned_are_refused(self, answer, labelled, tmp_path, values, message):
        self.change(labelled, **values)
        result = answer()
        assert result.exit_code == 1
        assert f"Error: {labelled}: {message}" in result.output
        assert not (tmp_path / "a.parquet").exists()
        assert kept() == []

    def test_a_label_that_one_fold_has_alone_is_refused(self, answer, labelled):
        rows = rows_of(labelled)
        for row in rows:
            row["label"] = "needed" if row["conversation"] == "c0" else "not_needed"
        write_rows(labelled, rows, LABELLED)
        result = answer()
        assert result.exit_code == 1
        assert "each fold leaves to learn from, got not_needed beside fold " in result.output

    def test_text_that_is_no_utf_8_is_refused(self, answer, labelled):
        table = read_rows(labelled, LABELLED)
        damaged = pa.array([b"\xff\xfe"] * table.num_rows, pa.binary()).view(pa.string())
        at = table.schema.get_field_index("text")
        pq.write_table(table.set_column(at, table.schema.field(at), damaged), labelled)
        result = answer()
        assert result.exit_code == 1
        assert f"Error: {labelled}: expected labelled items, got text that is no UTF-8." in result.output

    def test_a_folder_that_is_no_base_is_refused(self, answer, tmp_path):
        (tmp_path / "empty").mkdir()
        result = answer(base=tmp_path / "empty")
        assert result.exit_code == 1
        assert "expected a folder written by stages.base" in result.output

    @pytest.mark.parametrize("folds", [0, 1, 51])
    def test_that_many_folds_are_a_usage_error(self, answer, folds):
        assert answer(folds=folds).exit_code == 2


class TestSettings:
    @pytest.mark.parametrize(
        ("train", "message"),
        [
            ({"learning_rate": 2}, "Invalid value for '--learning-rate': 2.0 is not in the range 0<x<=1."),
            ({"rank": 3}, "No such option"),
        ],
    )
    def test_a_wrong_value_of_params_is_named(self, answer, tmp_path, train, message):
        result = answer(train=train)
        assert result.exit_code == 1
        assert f"Error: {tmp_path}/params.yaml: train, ladder.tiny.train: {message}" in result.output

    def test_a_rung_that_the_ladder_lacks_is_named(self, answer, tmp_path):
        result = answer(rung="big")
        assert result.exit_code == 1
        assert "params.yaml: expected the section ladder.big.train, got no big in ladder; it has tiny." in result.output

    def test_the_rungs_own_section_trains_its_adapters(self, answer, monkeypatch):
        seen = []
        monkeypatch.setattr(runs, "answer_fold", lambda *given: seen.append(given[3]) or [])
        answer(train={"lora_r": 7, "use_rslora": True})
        assert {(each.lora_r, each.use_rslora, each.max_length, each.learning_rate) for each in seen} == {
            (7, True, 512, 0.02)
        }


class TestGoingOn:
    def test_a_run_that_was_stopped_goes_on_where_it_was(self, answer, tmp_path, monkeypatch):
        assert answer("whole").exit_code == 0
        with monkeypatch.context() as patch:
            before = interrupt_at(2, patch)
            stopped = answer("a")
        assert stopped.exit_code == 130
        assert "Folds that are done are kept" in stopped.output
        assert (len(before), len(kept())) == (1, 1)
        assert not (tmp_path / "a.parquet").exists()
        after = interrupt_at(99, monkeypatch)
        result = answer("a")
        assert result.exit_code == 0, result.output
        assert len(after) == 2
        assert before[0] not in after
        assert "asked, kept from a run that was stopped" in result.output.splitlines()[0]
        assert result.output.count("asked, done") == 2
        assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
        assert kept() == []

    @pytest.mark.parametrize(
        "changes", [{"train": {"learning_rate": 0.03}}, {"seed": 1}, {"language": "en"}, {"orders": 1}]
    )
    def test_other_settings_begin_anew(self, answer, monkeypatch, changes):
        with monkeypatch.context() as patch:
            interrupt_at(2, patch)
            answer()
        result = answer(**changes)
        assert result.exit_code == 0, result.output
        assert "kept" not in result.output
        assert kept() == []

    @pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"PAR1"])
    def test_a_damaged_fold_is_trained_again(self, answer, tmp_path, monkeypatch, damage):
        with monkeypatch.context() as patch:
            interrupt_at(3, patch)
            answer("a")
        for path in kept():
            path.write_bytes(damage(path.read_bytes()))
        result = answer("a")
        assert result.exit_code == 0, result.output
        assert result.output.count("asked, done") == 3
        assert kept() == []
        answer("whole")
        assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()

    def test_a_fold_that_cannot_be_kept_is_named(self, answer, tmp_path, monkeypatch):
        (tmp_path / FOLDS.parts[0]).write_text("in the way")
        monkeypatch.setattr(runs, "answer_fold", lambda *_: [])
        result = answer()
        assert result.exit_code == 1
        assert f"Error: {FOLDS}" in result.output
        assert "cannot be written" in result.output


def test_the_code_that_trains_is_part_of_the_digest(monkeypatch, tiny_base, answer):
    seen = []

    class Spy(KeptFolds):
        def __init__(self, out, sources, *more):
            seen.extend(sources)
            super().__init__(out, sources, *more)

    monkeypatch.setattr(stage, "KeptFolds", Spy)
    monkeypatch.setattr(runs, "answer_fold", lambda *_: [])
    answer()
    assert seen == [tiny_base, *CODE]
