"""The ranking of labels: what it reads, what it writes, what it refuses, and that a review takes its queue."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from score_rows import write_base, write_labelled, write_params, write_predictions

from chatladder.cli.annotate.review import read_queue
from chatladder.io.rows import LABELLED, PREDICTIONS, RANKING, read_rows, write_rows
from chatladder.labels.review import random_part
from stages.rank_labels import main
from tests.conftest import ROOT

KEYS = ("items", "contradicted", "suspects", "suspects_needed", "suspects_not_needed", "auroc")


class Chat:
    """240 labelled items, 160 of them outside the test split, and the predictions of every kind of source."""

    def __init__(self, folder, skill=1.0):
        self.folder = folder
        self.labelled = folder / "labelled.parquet"
        self.predictions, self.params = folder / "predictions", folder / "params.yaml"
        self.out, self.metrics = folder / "review", folder / "review.json"
        self.rungs, self.served, self.judges, self.more = ["small", "large"], [], ["small"], []
        self.rows = [{**row, "text": f"is number {at} enough?"} for at, row in enumerate(write_labelled(self.labelled))]
        write_rows(self.labelled, self.rows, LABELLED)
        self.reviewed = [row for row in self.rows if row["split"] != "test"]
        for key, params in (("small", 1_000), ("large", 8_000)):
            write_base(folder / "bases", key, params)
        sources = (
            ("vanilla/small", 0.3),
            ("vanilla/large", 0.6),
            ("out_of_fold/small", 1),
            ("words/line", 1),
            ("words/trees", 1),
        )
        for seed, (name, share) in enumerate(sources):
            rows = self.rows if name.startswith("vanilla") else self.reviewed
            write_predictions(self.predictions / f"{name}.parquet", rows, share * skill, 0.0, seed)

    def arguments(self):
        write_params(self.params, self.rungs, self.served, self.judges)
        named = {"bases": self.folder / "bases", "params": self.params, "predictions": self.predictions}
        named |= {"labelled": self.labelled, "out": self.out, "metrics": self.metrics}
        return [
            *(f"--{name}={path}" for name, path in named.items()),
            "--share=0.1",
            "--seed=0",
            *self.more,
        ]

    def run(self):
        return CliRunner().invoke(main, self.arguments())

    def relabel(self, **values):
        write_rows(self.labelled, [{**row, **values} for row in self.rows], LABELLED)

    @property
    def ranking(self):
        return read_rows(self.out / "ranking.parquet", RANKING).to_pylist()

    @property
    def queue(self):
        return [json.loads(line)["item_id"] for line in (self.out / "queue.jsonl").read_text().splitlines()]

    def contents(self):
        return {path.name: path.read_bytes() for path in (*self.out.iterdir(), self.metrics)}


@pytest.fixture
def chat(tmp_path):
    return Chat(tmp_path)


class TestWritten:
    def test_every_label_outside_the_test_split_is_ranked(self, chat):
        result = chat.run()
        assert result.exit_code == 0, result.output
        assert sorted(chat.contents()) == ["queue.jsonl", "ranking.parquet", "review.json"]
        assert pq.read_schema(chat.out / "ranking.parquet").equals(RANKING)
        ranking, labels = chat.ranking, {row["item_id"]: row for row in chat.reviewed}
        assert sorted(row["item_id"] for row in ranking) == sorted(labels)
        for row in ranking:
            assert (row["label"], row["split"]) == tuple(labels[row["item_id"]][name] for name in ("label", "split"))
            assert row["suspicion"] == round(row["suspicion"], 9)
            assert row["p_label"] == round(1 - row["suspicion"], 9)
            assert "sources" in row["reason"]
        order = [(-row["suspicion"], row["item_id"]) for row in ranking]
        assert order == sorted(order)

    def test_the_queue_holds_suspects_from_the_top(self, chat):
        chat.run()
        ranking, queue = chat.ranking, chat.queue
        roles = {row["item_id"]: row["role"] for row in ranking}
        assert [row["role"] for row in ranking[:16]] == ["suspect"] * 16
        assert {row["role"] for row in ranking[16:]} == {""}
        assert queue == [item_id for item_id, role in roles.items() if role]
        lines = (chat.out / "queue.jsonl").read_text().splitlines()
        assert {tuple(json.loads(line)) for line in lines} == {("item_id",)}, "the queue tells nobody why"

    def test_the_counts_are_those_of_the_ranking(self, chat):
        result = chat.run()
        metrics, ranking = json.loads(chat.metrics.read_text()), chat.ranking
        assert tuple(metrics) == KEYS
        suspects = [row["label"] for row in ranking if row["role"] == "suspect"]
        contradicted = sum(row["p_label"] < 0.5 for row in ranking)
        assert metrics["items"] == len(ranking) == 160
        assert metrics["contradicted"] == contradicted > 0
        assert metrics["suspects"] == len(suspects) == 16
        assert metrics["suspects_needed"] == suspects.count("needed") > 0
        assert metrics["suspects_not_needed"] == suspects.count("not_needed") > 0
        assert 0.9 < metrics["auroc"] < 1
        assert result.stdout == (
            f"{chat.out}: 16 of 160 labels to look at again ({suspects.count('needed')} needed, "
            f"{suspects.count('not_needed')} not needed); the evidence contradicts {contradicted} labels. "
            f"Next: chatladder review\n"
        )
        assert result.stderr == ""

    def test_a_review_takes_the_queue(self, chat, monkeypatch):
        chat.run()
        monkeypatch.chdir(chat.folder)
        known = {row["item_id"] for row in chat.rows}
        chat.params.write_text("review: {queue: {random: 0.2}}")
        review = read_queue(chat.out / "queue.jsonl", chat.labelled, known, 2)
        assert review.random == {*random_part(known, 2, 0.2)}
        assert {row["split"] for row in chat.rows if row["item_id"] in review.random} >= {"train", "test"}
        assert list(review.suspects) == [item_id for item_id in chat.queue if item_id not in review.random]

    def test_labels_turned_over_come_first_in_both_directions(self, chat):
        drawn = np.random.default_rng(3).choice(len(chat.reviewed), 10, replace=False)
        wrong = {chat.reviewed[at]["item_id"] for at in drawn}
        turned = {"needed": "not_needed", "not_needed": "needed"}
        for row in chat.rows:
            if row["item_id"] in wrong:
                row["label"] = turned[row["label"]]
        write_rows(chat.labelled, chat.rows, LABELLED)
        chat.run()
        first = [row for row in chat.ranking[:16] if row["item_id"] in wrong]
        assert len(first) >= 8  # by chance, one
        assert {row["label"] for row in first} == {"needed", "not_needed"}

    def test_equal_runs_give_equal_bytes_and_another_seed_other_folds(self, chat):
        written = []
        for seed in (0, 0, 1):
            chat.more = [f"--seed={seed}"]
            chat.run()
            written.append(chat.contents())
        assert written[0] == written[1]
        assert written[0]["ranking.parquet"] != written[2]["ranking.parquet"]

    @pytest.mark.slow
    def test_neither_threads_nor_the_hash_seed_change_a_byte(self, chat):
        assert chat.run().exit_code == 0
        here = chat.contents()
        # Here there is one thread of OpenMP, and one of OpenBLAS for each processor.
        other = {"PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "stages.rank_labels", *chat.arguments()]
        subprocess.run(command, check=True, env=os.environ | other, cwd=ROOT)
        assert chat.contents() == here


class TestEvidence:
    def test_no_rung_need_be_tuned(self, chat):
        chat.judges = []
        shutil.rmtree(chat.predictions / "out_of_fold")
        result = chat.run()
        assert result.exit_code == 0, result.output
        assert not any("tuned" in row["reason"] for row in chat.ranking)
        assert all(" 4 sources" in row["reason"] for row in chat.ranking)

    def test_a_served_rung_counts_like_one_of_the_ladder(self, chat):
        chat.run()
        before = chat.contents()
        chat.rungs, chat.served = ["small"], ["large"]
        assert chat.run().exit_code == 0
        assert chat.contents() == before

    def test_rungs_count_from_the_smallest_in_whatever_order_they_are_named(self, chat):
        chat.run()
        before = chat.contents()
        chat.rungs.reverse()
        chat.run()
        assert chat.contents() == before

    def doubted(self, chat):
        assert chat.run().exit_code == 0
        return {row["item_id"] for row in chat.ranking if "larger untouched models contradict" in row["reason"]}

    def test_a_mixture_of_experts_has_no_place_in_growth_with_size(self, chat):
        before = self.doubted(chat)
        assert before
        chat.rungs.append("mixture")
        write_base(chat.folder / "bases", "mixture", 64_000)
        write_predictions(chat.predictions / "vanilla" / "mixture.parquet", chat.rows, -3.0, 0.0, 9)
        assert self.doubted(chat) != before  # by its size it would have one
        path = chat.folder / "bases" / "mixture" / "rung.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "active_params": 500}))
        assert self.doubted(chat) == before
        assert all(" 6 sources" in row["reason"] for row in chat.ranking)

    def test_a_leaning_of_untouched_models_is_no_evidence(self, chat):
        before = self.doubted(chat)
        table = read_rows(chat.predictions / "vanilla" / "large.parquet", PREDICTIONS).to_pylist()
        for row in table:
            odds = np.exp(6) * row["p_needed"] / row["p_not_needed"]
            row["p_needed"], row["p_not_needed"] = odds / (1 + odds), 1 / (1 + odds)
        write_rows(chat.predictions / "vanilla" / "large.parquet", table, PREDICTIONS)
        assert self.doubted(chat) == before

    def test_blind_evidence_is_said_to_be_blind(self, tmp_path):
        chat = Chat(tmp_path, skill=0.0)
        result = chat.run()
        assert result.exit_code == 0, result.output
        auroc = json.loads(chat.metrics.read_text())["auroc"]
        assert auroc < 0.6
        assert f"The evidence hardly tells the labels apart (AUROC {auroc:.2f})" in result.stderr
        assert "little better than chance" in result.stderr


class TestRefusals:
    def refused(self, chat, message):
        result = chat.run()
        assert isinstance(result.exception, SystemExit), result.exception
        assert result.exit_code == 1
        assert message in result.output
        assert not chat.out.exists()
        assert not chat.metrics.exists()

    @pytest.mark.parametrize(
        ("name", "stage"),
        [
            ("vanilla/large", "predict_vanilla@large"),
            ("out_of_fold/small", "out_of_fold@small"),
        ],
    )
    def test_missing_predictions_name_the_stage_to_run(self, chat, name, stage):
        path = chat.predictions / f"{name}.parquet"
        path.unlink()
        message = f"Error: {path}: expected rung {path.stem}, which {chat.params} names, got nothing."
        self.refused(chat, f'{message} In a fresh clone run "dvc pull", else "dvc repro {stage}".')

    @pytest.mark.parametrize("name", ["line", "trees"])
    def test_missing_answers_of_a_baseline_name_the_stage_to_run(self, chat, name):
        path = chat.predictions / "words" / f"{name}.parquet"
        path.unlink()
        self.refused(chat, f"Error: {path}: expected predictions, got no file. Run stages.word_baselines.")

    @pytest.mark.parametrize(
        "path", ["bases/old", "predictions/vanilla/old.parquet", "predictions/out_of_fold/large.parquet"]
    )
    def test_a_rung_that_is_left_over_is_refused_with_the_command_that_deletes_it(self, chat, path):
        (chat.folder / path).mkdir()
        self.refused(chat, f"{chat.folder / path}: expected only the rungs that {chat.params} names here (")

    def test_out_of_fold_answers_that_no_rung_gives_any_more_are_left_over(self, chat):
        chat.judges = []
        self.refused(chat, "out_of_fold/small.parquet: expected only the rungs that")

    def test_predictions_that_lack_an_item_are_refused(self, chat):
        path = chat.predictions / "out_of_fold" / "small.parquet"
        write_predictions(path, chat.reviewed[1:], 1.0)
        self.refused(chat, f"{path}: expected predictions for all 160 items, 1 are missing")

    @pytest.mark.parametrize("name", ["../labelled", "vanilla/small", "out_of_fold/small", "words/trees"])
    @pytest.mark.parametrize(
        "damage", [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"PAR1PAR1"]
    )
    def test_damaged_files_are_refused(self, chat, name, damage):
        path = (chat.predictions / f"{name}.parquet").resolve()
        path.write_bytes(damage(path.read_bytes()))
        self.refused(chat, f"{path}: expected a parquet file")

    @pytest.mark.parametrize("name", ["vanilla/small", "words/line"])
    def test_ids_that_are_no_utf_8_are_refused(self, chat, name):
        path = chat.predictions / f"{name}.parquet"
        table = read_rows(path, PREDICTIONS)
        damaged = pa.array([b"\xff\xfe"] * table.num_rows, pa.binary()).view(pa.string())
        pq.write_table(table.set_column(0, table.schema.field(0), damaged), path)
        self.refused(chat, f"{path}: expected texts in UTF-8 as item_id, got others.")

    @pytest.mark.parametrize("name", ["vanilla/small", "out_of_fold/small"])
    def test_endless_probabilities_are_refused(self, chat, name):
        path = chat.predictions / f"{name}.parquet"
        rows = read_rows(path, PREDICTIONS).to_pylist()
        rows[5]["p_needed"] = float("inf")
        write_rows(path, rows, PREDICTIONS)
        self.refused(chat, f"{path}: expected probabilities from 0 to 1, got one without an end.")

    def test_missing_probabilities_are_no_evidence(self, chat):
        path = chat.predictions / "vanilla" / "small.parquet"
        rows = read_rows(path, PREDICTIONS).to_pylist()
        for row in rows[::2]:
            row |= {"p_needed": None, "p_not_needed": None, "p_unknown": float("nan"), "parsed": None}
        write_rows(path, rows, PREDICTIONS)
        assert chat.run().exit_code == 0

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"split": "test"}, "expected labelled items outside the test split, got none."),
            ({"label": "needed"}, "expected two labels outside the test split, got needed alone."),
            (
                {"label": "not_a_question"},
                "row 1: expected its label to be needed or not_needed, got 'not_a_question'.",
            ),
            ({"item_id": "i0"}, "row 2: expected every item once, got that of row 1."),
        ],
    )
    def test_labels_that_cannot_be_ranked_are_refused(self, chat, values, message):
        chat.relabel(**values)
        self.refused(chat, f"{chat.labelled}: {message}")

    def test_one_conversation_is_ranked_by_what_little_there_is(self, chat):
        chat.relabel(conversation="c")
        assert chat.run().exit_code == 0
        assert {row["p_label"] for row in chat.ranking} == {0.5}
        assert json.loads(chat.metrics.read_text())["contradicted"] == 0

    def test_judges_that_are_no_list_are_refused(self, chat):
        arguments = chat.arguments()
        chat.params.write_text("ladder: {small: {}, large: {}}\nserved: {}\nreview: {rungs: {small: {}}}")
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 1
        assert f"{chat.params}: review.rungs: expected a list of names of rungs, got {{'small'" in result.output

    def test_a_judge_that_is_named_twice_is_refused(self, chat):
        chat.judges = ["small", "small"]
        self.refused(chat, "rung small: expected each rung once, got it 2 times.")

    @pytest.mark.parametrize("rungs", [["../small"], ["unknown"]])
    @pytest.mark.parametrize("kind", ["rungs", "served", "judges"])
    def test_rungs_that_are_none_are_refused(self, chat, kind, rungs):
        setattr(chat, kind, rungs)
        self.refused(chat, "expected")

    @pytest.mark.parametrize("option", ["--share=0", "--share=1.1", "--seed=-1"])
    def test_a_wrong_number_is_a_usage_error(self, chat, option):
        chat.more = [option]
        assert chat.run().exit_code == 2
