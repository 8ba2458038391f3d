import csv
import json
import shlex
import shutil

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from score_rows import write_base, write_label_sets, write_labelled, write_params, write_predictions

from stages.check_scaling import main

FILES = {"labelled": "labelled.parquet", "params": "params.yaml", "label-sets": "label_sets.parquet"}
OTHER = {"needed": "not_needed", "not_needed": "needed"}


@pytest.fixture
def run(tmp_path):
    """Make rungs from (key, params, skill, bias), then run the stage on them."""
    rows = write_labelled(tmp_path / "labelled.parquet", conversations=200)
    write_label_sets(tmp_path / "label_sets.parquet")

    def check_scaling(*rungs, options=(), served=(), judges=(), seeds=(0,)):
        for folder in ("bases", "predictions"):
            shutil.rmtree(tmp_path / folder, ignore_errors=True)
        (tmp_path / "predictions" / "out_of_fold").mkdir(parents=True)
        for seed, (key, params, skill, bias, *active) in enumerate(rungs):
            write_base(tmp_path / "bases", key, params)
            if active:
                path = tmp_path / "bases" / key / "rung.json"
                path.write_text(json.dumps({**json.loads(path.read_text()), "active_params": active[0]}))
            vanilla, tuned = (tmp_path / "predictions" / kind / f"{key}.parquet" for kind in ("vanilla", "out_of_fold"))
            write_predictions(vanilla, rows, skill, bias, seed, seeds)
            if key in judges:
                write_predictions(tuned, [row for row in rows if row["split"] != "test"], 2.0, seed=99)
        write_params(tmp_path / "params.yaml", [key for key, *_ in rungs if key not in served], served, judges)
        return again(options)

    def again(options=(), metrics="scaling.json"):
        folders = [f"--{name}={tmp_path / name}" for name in ("bases", "predictions")]
        files = [f"--{name}={tmp_path / file}" for name, file in FILES.items()]
        return CliRunner().invoke(
            main, [*folders, *files, f"--metrics={tmp_path / metrics}", "--margin=0.01", *options]
        )

    check_scaling.again, check_scaling.rows = again, rows

    return check_scaling


def found(tmp_path):
    return json.loads((tmp_path / "scaling.json").read_text())


GROWING = (("small", 1_000, 0.2, 0), ("medium", 4_000, 0.8, 0), ("large", 16_000, 1.5, 0))


def test_scores_that_grow_with_size_have_a_slope_above_zero(run, tmp_path):
    result = run(*GROWING, seeds=(0, 1, 2))
    assert result.exit_code == 0, result.output
    assert "gate pass; models: 9, items: 800" in result.output
    assert "gate: PASS. Larger models agree better with the labels: AUROC +0." in result.output
    metrics = found(tmp_path)
    assert (metrics["gate"], metrics["gate_code"], metrics["label_sets"]) == ("pass", 1, {})
    assert (metrics["items"], metrics["conversations"], metrics["rungs"], metrics["models"]) == (800, 200, 3, 9)
    for slope in (metrics["precision"], metrics["auroc"]):
        assert 0 < slope["slope_lo"] < slope["slope"] < slope["slope_hi"]


def test_one_split_is_checked_where_models_answered_no_other(run, tmp_path):
    run(*GROWING)
    tested = [row["item_id"] for row in run.rows if row["split"] == "test"]
    for path in (tmp_path / "predictions" / "vanilla").iterdir():
        table = pq.read_table(path)
        pq.write_table(table.filter(pc.is_in(table["item_id"], pa.array(tested))), path)
    assert run.again().exit_code == 1
    result = run.again(["--split=test"])
    assert result.exit_code == 0, result.output
    assert found(tmp_path)["items"] == len(tested) < len(run.rows)


def test_the_verdict_does_not_depend_on_what_a_model_leans_to(run, tmp_path):
    # The small one answers "needed" only when it is very sure, so its precision is high for a bad reason.
    run(("small", 1_000, 0.5, -3.0), ("medium", 4_000, 0.8, 0), ("large", 16_000, 1.1, 1.5), seeds=(0, 1, 2))
    metrics = found(tmp_path)
    assert metrics["precision"]["slope"] < 0 < metrics["auroc"]["slope_lo"]
    assert metrics["gate"] == "pass"


def test_two_models_decide_nothing_and_say_so(run, tmp_path):
    result = run(*TWO)
    assert result.exit_code == 0, result.output
    assert "at least three are needed" in result.output
    metrics = found(tmp_path)
    assert metrics["auroc"]["slope"] > 0
    assert (metrics["gate"], metrics["auroc"]["slope_lo"], metrics["models_needed"]) == ("inconclusive", None, None)


def test_one_conversation_is_an_error(run, tmp_path):
    damaged(tmp_path / "labelled.parquet", "conversation", lambda rows: pa.array(["c"] * rows))
    result = run(*GROWING)
    assert result.exit_code == 1
    assert "expected items of two conversations or more, got 1" in result.output


def test_suspects_new_labels_are_not_scored(run, tmp_path):
    run(*GROWING)
    before = found(tmp_path)
    # Right labels made wrong, towards the models or against them: only what no model asked for is scored.
    damaged(tmp_path / "labelled.parquet", "label", lambda rows: pa.array(["needed"] * rows))
    assert run.again().exit_code == 0
    assert found(tmp_path) == before
    damaged(
        tmp_path / "labelled.parquet",
        "check_label",
        lambda rows: pa.array([None] * 40 + ["needed", "not_needed"] * 380),
    )
    run.again()
    assert found(tmp_path)["items"] == 760


def label_sets(rows, kind, first, second, spoil):
    """The labels of all rows as the first set, and as the second with every so many-th of them turned."""
    return [
        {
            "kind": kind, "first": first, "second": second, "item_id": row["item_id"],
            "conversation": row["conversation"], "first_label": row["label"],
            "second_label": OTHER[row["label"]] if number % spoil == 0 else row["label"],
        }
        for number, row in enumerate(rows)
    ]  # fmt: skip


def test_the_careless_annotator_is_named_before_the_gate(run, tmp_path):
    sets = label_sets(run.rows, "annotators", "li", "wu", 5) + label_sets(run.rows, "rounds", "round 2", "round 1", 9)
    write_label_sets(tmp_path / "label_sets.parquet", sets)
    result = run(*GROWING, judges=["small"])
    assert result.exit_code == 0, result.output
    first, second, third, *_ = result.output.splitlines()
    assert first.startswith("wu's labels hold about ")
    assert "than li's (160 of 800 labels differ; 3 untouched" in first
    assert second.startswith("round 1's labels hold about ")
    assert third.startswith("gate: ")
    found_sets = found(tmp_path)["label_sets"]
    assert list(found_sets) == ["li against wu", "round 2 against round 1"]
    untouched, tuned = (found_sets["li against wu"][name] for name in ("untouched", "out_of_fold"))
    assert untouched["points_lo"] < 20 < untouched["points_hi"]
    assert (untouched["items"], untouched["models"], untouched["agreeing"]) == (800, 3, 3)
    assert tuned["items"] == sum(row["split"] != "test" for row in run.rows)
    assert untouched["power"] > 0.8


def test_a_rung_without_probabilities_is_named_and_not_measured(run, tmp_path):
    run(*GROWING, ("named", 64_000, 0.1, 0))
    for column in ("p_needed", "p_not_needed", "p_unknown"):
        damaged(
            tmp_path / "predictions" / "vanilla" / "named.parquet", column,
            lambda rows: pa.array([None] * rows, pa.float64()),
        )  # fmt: skip
    result = run.again()
    assert "Not measured, for want of probabilities: named." in result.output
    metrics = found(tmp_path)
    assert (metrics["unmeasured"], metrics["rungs"]) == (1, 3)


def test_one_rung_leaves_the_gate_open(run, tmp_path):
    result = run(("small", 1_000, 0.5, 0))
    assert result.exit_code == 0, result.output
    assert "gate: INCONCLUSIVE. It takes untouched models of two sizes or more" in result.output
    metrics = found(tmp_path)
    assert (metrics["gate"], metrics["models"], metrics["auroc"]["slope"]) == ("inconclusive", 1, None)


def test_a_reversed_ladder_fails_the_gate_and_not_the_stage(run, tmp_path):
    result = run(("small", 1_000, 1.5, 0), ("medium", 4_000, 0.8, 0), ("large", 16_000, 0.2, 0), seeds=(0, 1, 2))
    assert result.exit_code == 0, result.output
    assert "gate: FAIL. Larger models agree less with the labels: AUROC -0." in result.output
    metrics = found(tmp_path)
    assert (metrics["gate"], metrics["gate_code"]) == ("fail", -1)


def test_a_mixture_of_experts_is_shown_and_left_out_of_the_fit(run, tmp_path):
    run(*GROWING)
    without = found(tmp_path)
    # Far below what its size would promise; its share of the parameters at work does not save it.
    result = run(*GROWING, ("mixture", 64_000, 0.0, 0, 8_000), options=[f"--plots={tmp_path / 'plots'}"])
    assert result.exit_code == 0, result.output
    assert "mixture: AUROC 0." in result.output
    assert "shown, not fitted: a mixture of experts" in result.output
    metrics = found(tmp_path)
    shown = metrics.pop("mixtures")["mixture"]
    assert metrics == without
    assert shown["params"] == 64_000
    assert shown["precision_lo"] < shown["precision"] < shown["precision_hi"]
    with (tmp_path / "plots" / "rungs.csv").open() as rows:
        rungs = list(csv.DictReader(rows))
    assert len(rungs) == 2 * 4
    assert [row["rung"] for row in rungs if row["kind"] == "mixture"] == ["mixture"] * 2
    assert all(float(row["lo"]) < float(row["value"]) < float(row["hi"]) for row in rungs)


@pytest.mark.parametrize("active", [0, 1_001, "900", True, None])
def test_active_parameters_that_cannot_be_are_an_error(run, active):
    result = run(("small", 1_000, 0.5, 0, active), ("large", 4_000, 0.5, 0))
    assert result.exit_code == 1
    assert f'expected "active_params" from 1 to its 1,000 parameters, got {active!a}' in result.output


def test_one_dense_rung_among_mixtures_leaves_the_gate_open(run, tmp_path):
    result = run(("small", 1_000, 0.5, 0), ("mixture", 4_000, 0.5, 0, 500))
    assert result.exit_code == 0, result.output
    assert "two sizes or more, mixtures of experts apart" in result.output
    assert found(tmp_path)["gate"] == "inconclusive"


def test_all_parameters_at_work_make_a_dense_rung(run, tmp_path):
    assert run(("small", 1_000, 0.2, 0, 1_000), ("large", 4_000, 0.9, 0)).exit_code == 0
    assert "mixtures" not in found(tmp_path)


def test_a_ladder_that_never_answers_needed_is_judged_all_the_same(run, tmp_path):
    rungs = (("small", 1_000, 0.2, -8), ("medium", 2_000, 0.6, -8), ("large", 4_000, 1.0, -8))
    result = run(*rungs, options=[f"--plots={tmp_path / 'plots'}"])
    assert result.exit_code == 0, result.output
    metrics = found(tmp_path)
    assert metrics["precision"]["slope"] is None
    assert metrics["auroc"]["slope"] > 0.05
    assert "precision" not in (tmp_path / "plots" / "rungs.csv").read_text()


def test_equal_inputs_write_equal_bytes(run, tmp_path):
    written = []
    for _ in range(2):
        run(*TWO, options=[f"--plots={tmp_path / 'plots'}"])
        files = [tmp_path / "scaling.json", *sorted((tmp_path / "plots").iterdir())]
        written.append([file.read_bytes() for file in files])
    assert written[0] == written[1]


def damaged(path, column, values):
    """The parquet file with other values in one of its columns."""
    table = pq.read_table(path)
    at = table.schema.get_field_index(column)
    pq.write_table(table.set_column(at, column, values(table.num_rows)), path)


@pytest.mark.parametrize("name", ["labelled", "predictions/vanilla/small"])
def test_ids_that_are_no_utf8_are_an_error_that_names_the_file(run, tmp_path, name):
    rungs = (("small", 1_000, 0.2, 0), ("large", 4_000, 0.9, 0))
    run(*rungs)
    path = tmp_path / f"{name}.parquet"
    damaged(path, "item_id", lambda rows: pa.array([b"\xff"] * rows, pa.binary()).view(pa.string()))
    result = run.again(metrics="again.json")
    assert result.exit_code == 1
    assert f"{path}: expected texts in UTF-8" in result.output
    assert not (tmp_path / "again.json").exists()


def test_an_unknown_label_is_an_error_that_names_the_file(run, tmp_path):
    damaged(tmp_path / "labelled.parquet", "check_label", lambda rows: pa.array(["maybe"] * rows))
    result = run(("small", 1_000, 0.2, 0), ("large", 4_000, 0.9, 0))
    assert result.exit_code == 1
    assert f"{tmp_path / 'labelled.parquet'}: expected needed or not_needed, got 'maybe'" in result.output


TWO = (("small", 1_000, 0.2, 0), ("large", 4_000, 0.9, 0))


def test_a_served_rung_counts_like_one_of_the_ladder(run, tmp_path):
    run(*TWO)
    before = found(tmp_path)
    result = run(*TWO, served=["large"])
    assert result.exit_code == 0, result.output
    assert found(tmp_path) == before


@pytest.mark.parametrize(
    ("path", "stage"),
    [
        ("bases/small", "base@small"),
        ("bases/large", "predict_served@large"),
        ("predictions/vanilla/small.parquet", "predict_vanilla@small"),
        ("predictions/vanilla/large.parquet", "predict_served@large"),
    ],
)
def test_a_rung_that_is_missing_is_refused_with_the_stage_to_run(run, tmp_path, path, stage):
    run(*TWO, served=["large"])
    (tmp_path / path).rename(tmp_path / "aside")
    rung = stage.partition("@")[2]
    message = f"{tmp_path / path}: expected rung {rung}, which {tmp_path / 'params.yaml'} names, got nothing. "
    result = run.again(metrics="again.json")
    assert result.exit_code == 1
    assert f'{message}In a fresh clone run "dvc pull", else "dvc repro {stage}".' in result.output
    assert not (tmp_path / "again.json").exists()


@pytest.mark.parametrize("path", ["bases/old", "predictions/vanilla/old.parquet", "predictions/vanilla/old one's.txt"])
def test_a_rung_that_is_left_over_is_refused_with_the_command_that_deletes_it(run, tmp_path, path):
    run(*TWO)
    left = tmp_path / path
    left.mkdir() if left.suffix == "" else left.write_text("")
    (tmp_path / "predictions" / "vanilla" / ".gitignore").write_text("/small.parquet\n")
    result = run.again(metrics="again.json")
    assert result.exit_code == 1
    assert f"{left}: expected only the rungs that {tmp_path / 'params.yaml'} names here (small, large)" in result.output
    assert f"delete it: rm -r {shlex.quote(str(left))} (it is derived; DVC's cache has it)" in result.output
    assert not (tmp_path / "again.json").exists()
    left.rmdir() if left.suffix == "" else left.unlink()
    assert run.again(metrics="again.json").exit_code == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("ladder: {small: {}, large: {}}", "expected the section served"),
        ("ladder: [small, large]\nserved: {}", "ladder: expected a section"),
        ("ladder: {small: {}, large: {}}\nserved: {large: {}}", "rung large: expected each rung once, got it 2 times"),
        ("ladder: {../small: {}, large: {}}\nserved: {}", "expected a letter, then letters, digits and underscores"),
    ],
)
def test_params_without_rungs_are_refused(run, tmp_path, content, message):
    run(*TWO)
    (tmp_path / "params.yaml").write_text(content)
    result = run.again(metrics="again.json")
    assert result.exit_code == 1
    assert message in result.output
    assert not (tmp_path / "again.json").exists()
