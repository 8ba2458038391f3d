"""Folds that are kept while others are not done: what makes one another fold, and what is forgotten."""

import pytest

from chatladder.io.console import DataError
from chatladder.io.rows import PREDICTIONS, write_rows
from chatladder.training.checkpoints import KeptFolds

LEARNED = [{"item_id": "q1", "instruction": "it?", "output": "yes", "options": {"needed": "yes", "not_needed": "no"}}]
ASKED = [{"item_id": "q2", "instruction": "that?", "output": "no", "options": {"needed": "yes", "not_needed": "no"}}]
ANSWERS = [
    {
        "item_id": "q2",
        "seed": 0,
        "p_needed": 0.5,
        "p_not_needed": 0.25,
        "p_unknown": 0.25,
        "answer": "needed",
        "parsed": True,
    }
]


class TestKeptFolds:
    @pytest.fixture
    def base(self, tmp_path):
        (tmp_path / "base" / "more").mkdir(parents=True)
        (tmp_path / "base" / "model.safetensors").write_bytes(b"weights")
        (tmp_path / "base" / "more" / "tokenizer.json").write_bytes(b"{}")
        self.folds(tmp_path / "base").put(LEARNED, ASKED, ANSWERS)
        return tmp_path / "base"

    def folds(self, base, out="a.parquet", **changes):
        options = {"seed": 0, "target_modules": ("q_proj",), **changes}
        return KeptFolds(base.parent / out, [base], options, base.parent / "folds")

    def test_what_was_kept_comes_back(self, base):
        assert self.folds(base).get(LEARNED, ASKED) == ANSWERS

    def test_the_labels_of_what_is_asked_do_not_matter(self, base):
        assert self.folds(base).get(LEARNED, [{**ASKED[0], "output": "yes"}]) == ANSWERS

    @pytest.mark.parametrize("change", [{"output": "no"}, {"item_id": "q3"}, {"instruction": "so?"}, {"options": {}}])
    def test_other_rows_to_learn_are_another_fold(self, base, change):
        assert self.folds(base).get([{**LEARNED[0], **change}], ASKED) is None

    @pytest.mark.parametrize("change", [{"item_id": "q3"}, {"instruction": "so?"}, {"options": {}}])
    def test_other_questions_are_another_fold(self, base, change):
        assert self.folds(base).get(LEARNED, [{**ASKED[0], **change}]) is None

    def test_rows_that_change_sides_are_another_fold(self, base):
        assert self.folds(base).get(ASKED, LEARNED) is None
        assert self.folds(base).get(LEARNED + ASKED, []) is None

    @pytest.mark.parametrize("change", [{"seed": 1}, {"target_modules": ("v_proj",)}, {"lora_r": 4}])
    def test_other_settings_are_another_run(self, base, change):
        assert self.folds(base, **change).get(LEARNED, ASKED) is None

    def test_other_weights_or_other_code_are_another_run(self, base):
        tokenizer = base / "more" / "tokenizer.json"
        tokenizer.write_bytes(b"{ }")
        assert self.folds(base).get(LEARNED, ASKED) is None
        tokenizer.write_bytes(b"{}")
        assert self.folds(base).get(LEARNED, ASKED) == ANSWERS
        tokenizer.rename(base / "more" / "vocabulary.json")
        assert self.folds(base).get(LEARNED, ASKED) is None

    def test_other_releases_are_another_run(self, base, monkeypatch):
        monkeypatch.setattr("chatladder.models.kept.version", lambda name: f"{name} of tomorrow")
        assert self.folds(base).get(LEARNED, ASKED) is None

    def test_what_python_caches_is_no_code(self, base):
        (base / "__pycache__").mkdir()
        (base / "__pycache__" / "fitting.cpython-311.pyc").write_bytes(b"cached")
        assert self.folds(base).get(LEARNED, ASKED) == ANSWERS

    def test_a_file_cut_anywhere_counts_as_none(self, base):
        (path,) = (base.parent / "folds").iterdir()
        whole = path.read_bytes()
        for size in range(0, len(whole), 17):
            path.write_bytes(whole[:size])
            assert self.folds(base).get(LEARNED, ASKED) is None

    @pytest.mark.parametrize("answers", [[], [{**ANSWERS[0], "item_id": "q9"}], [{**ANSWERS[0], "item_id": None}]])
    def test_answers_to_other_questions_count_as_none(self, base, answers):
        (path,) = (base.parent / "folds").iterdir()
        write_rows(path, answers, PREDICTIONS)
        assert self.folds(base).get(LEARNED, ASKED) is None

    def test_a_run_that_ends_forgets_its_folds_and_those_that_other_settings_of_it_left(self, base):
        for settings in ({}, {"seed": 1}, {"lora_r": 4}):
            self.folds(base, **settings).put(LEARNED, ASKED, ANSWERS)
        self.folds(base, lora_r=4).clear()
        assert [*(base.parent / "folds").iterdir()] == []

    @pytest.mark.parametrize("out", ["b.parquet", "aa.parquet", "a.parquet-1", "more/a.parquet"])
    def test_folds_of_another_out_stay(self, base, out):
        other = self.folds(base, out)
        other.put(LEARNED, ASKED, ANSWERS)
        self.folds(base).clear()
        assert self.folds(base).get(LEARNED, ASKED) is None
        assert other.get(LEARNED, ASKED) == ANSWERS

    def test_a_folder_that_cannot_be_written_is_named(self, base):
        (base.parent / "file").touch()
        folds = KeptFolds(base.parent / "a.parquet", [base], {}, base.parent / "file")
        with pytest.raises(DataError, match="cannot be written"):
            folds.put(LEARNED, ASKED, ANSWERS)
