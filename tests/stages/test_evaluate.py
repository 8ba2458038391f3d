import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from score_rows import write_base, write_labelled, write_params, write_predictions
from sklearn.metrics import f1_score

from chatladder.evaluation.above import not_above
from chatladder.evaluation.predictions import centre, read_items, read_predictions, read_seeds
from chatladder.evaluation.scores import METRICS, UNKNOWN
from chatladder.io.rows import LABELLED, PREDICTIONS, write_rows
from stages.evaluate import main

#: Not in the order of their sizes, which the stage must find.
RUNGS = {"large": (64_000, 0.9, 2.5), "small": (1_000, 0.1, 1.0), "medium": (8_000, 0.5, 1.8)}


@pytest.fixture
def project(tmp_path):
    """Predictions of three rungs; returns how to run the stage."""
    rows = write_labelled(tmp_path / "labelled.parquet")
    for seed, (key, (params, before, after)) in enumerate(RUNGS.items()):
        write_base(tmp_path / "bases", key, params)
        write_predictions(tmp_path / "vanilla" / f"{key}.parquet", rows, before, bias=1.0, seed=seed)
        write_predictions(tmp_path / "tuned" / f"{key}.parquet", rows, after, seed=seed + 10)

    write_params(tmp_path / "params.yaml", RUNGS)

    def run(*options):
        folders = [f"--{name}={tmp_path / name}" for name in ("bases", "vanilla", "tuned", "plots")]
        files = [f"--labelled={tmp_path / 'labelled.parquet'}", f"--metrics={tmp_path / 'models.json'}"]
        files += [f"--params={tmp_path / 'params.yaml'}"]
        return CliRunner().invoke(main, [*folders, *files, "--draws=200", "--seed=0", *options])

    return run


def change(path, column, values):
    """Rewrite some rows' column of a predictions file: values by item."""
    rows = pq.read_table(path).to_pylist()
    for row in rows:
        row[column] = values.get(row["item_id"], row[column])
    write_rows(path, rows, PREDICTIONS)


def test_evaluate_writes_scores_with_intervals_gain_and_floor(project, tmp_path):
    result = project()
    assert result.exit_code == 0, result.output
    assert "models.json: small, medium, large on 80 test items" in result.output
    metrics = json.loads((tmp_path / "models.json").read_text())
    counts = ["test_items", "test_needed", "test_conversations", "test_pairs"]
    assert list(metrics) == ["small", "medium", "large", "floor", "baselines", *counts]
    assert (metrics["test_items"], metrics["test_needed"]) == (80, 48)
    for key in RUNGS:
        for kind in ("vanilla", "centred", "tuned"):
            scores = metrics[key][kind]
            others, metrics_of = {"unparsed", "seeds"}, {*METRICS, "pairs_right"}
            if kind == "tuned":
                others |= {"validation", "thresholds", "calibration_error"}
                metrics_of |= {"macro_f1_argmax"}
            assert set(scores) == {m + end for m in metrics_of for end in ("", "_lo", "_hi")} | others
            assert all(scores[f"{m}_lo"] <= scores[m] <= scores[f"{m}_hi"] for m in METRICS)
        gain = metrics[key]["tuned"]["macro_f1"] - metrics[key]["vanilla"]["macro_f1"]
        assert metrics[key]["gain"]["macro_f1"] == pytest.approx(gain, abs=2e-5)
    assert metrics["floor"]["f1"] == pytest.approx(0.75)
    assert metrics["floor"]["balanced_accuracy"] == 0.5
    # What a leaning to "needed" costs is given back without a label.
    assert metrics["small"]["centred"]["macro_f1"] > metrics["small"]["vanilla"]["macro_f1"]
    assert metrics["large"]["gain"]["macro_f1_lo"] > 0


def test_the_gains_interval_is_paired(project, tmp_path):
    for key in RUNGS:
        (tmp_path / "tuned" / f"{key}.parquet").write_bytes((tmp_path / "vanilla" / f"{key}.parquet").read_bytes())
    project()
    gain = json.loads((tmp_path / "models.json").read_text())["large"]["gain"]
    assert set(gain.values()) == {0.0}


def models(tmp_path):
    return json.loads((tmp_path / "models.json").read_text())


def test_scores_of_several_seeds_are_means_with_their_spread(project, tmp_path):
    rows = pq.read_table(tmp_path / "labelled.parquet").to_pylist()
    for kind, skill, number in (("vanilla", 0.5, 1), ("tuned", 1.8, 2)):
        write_predictions(tmp_path / kind / "medium.parquet", rows, skill, seed=number, seeds=(0, 1, 2))
    assert project().exit_code == 0
    found = models(tmp_path)["medium"]
    items = read_items(tmp_path / "labelled.parquet", "test")
    of = {
        kind: [
            f1_score(items.references, each.answers, average="macro", labels=[0, 1])
            for each in read_seeds(tmp_path / kind / "medium.parquet", items.ids).values()
        ]
        for kind in ("vanilla", "tuned")
    }
    for kind, values in of.items():
        assert found[kind]["seeds"] == 3
        assert found[kind]["macro_f1"] == pytest.approx(np.mean(values), abs=1e-4)
        assert found[kind]["macro_f1_sd"] == pytest.approx(np.std(values, ddof=1), abs=1e-4)
    # Each seed less the untouched model of that seed, whose luck it shares.
    gains = np.subtract(of["tuned"], of["vanilla"])
    assert found["gain"]["macro_f1"] == pytest.approx(gains.mean(), abs=1e-4)
    assert found["gain"]["macro_f1_sd"] == pytest.approx(gains.std(ddof=1), abs=1e-4)
    assert found["gain"]["macro_f1_lo"] < found["gain"]["macro_f1"] < found["gain"]["macro_f1_hi"]
    assert "macro_f1_sd" not in models(tmp_path)["small"]["tuned"]
    with (tmp_path / "plots" / "scaling.csv").open() as lines:
        drawn = [row for row in csv.DictReader(lines) if (row["rung"], row["kind"]) == ("medium", "tuned")]
    assert [float(row["value"]) for row in drawn] == [found["tuned"][row["metric"]] for row in drawn]


def test_a_seed_without_an_untouched_twin_is_held_against_the_mean_of_them(project, tmp_path):
    rows = pq.read_table(tmp_path / "labelled.parquet").to_pylist()
    write_predictions(tmp_path / "vanilla" / "medium.parquet", rows, 0.5, seed=1, seeds=(0, 1, 2))
    write_predictions(tmp_path / "tuned" / "medium.parquet", rows, 1.8, seed=2, seeds=(7,))
    assert project().exit_code == 0
    found = models(tmp_path)["medium"]
    assert found["gain"]["macro_f1"] == pytest.approx(
        found["tuned"]["macro_f1"] - found["vanilla"]["macro_f1"], abs=2e-5
    )


def test_a_rung_is_compared_with_the_best_baseline(project, tmp_path):
    rows = pq.read_table(tmp_path / "labelled.parquet").to_pylist()
    for number, (name, skill) in enumerate((("naming", 0.1), ("counts", 0.1), ("line", 1.0), ("trees", 9.0))):
        write_predictions(tmp_path / "baselines" / f"{name}.parquet", rows, skill, seed=20 + number)
    assert project(f"--baselines={tmp_path / 'baselines'}").exit_code == 0
    found = models(tmp_path)
    assert list(found["baselines"]) == ["naming", "counts", "line", "trees"]
    assert found["baselines"]["trees"]["macro_f1"] == 1
    large = found["large"]
    assert large["above_baselines"]["best"] == "trees"
    assert large["above_baselines"]["macro_f1"] == pytest.approx(large["tuned"]["macro_f1"] - 1, abs=2e-5)
    assert not_above(large) == "words: trees"
    (tmp_path / "baselines" / "line.parquet").unlink()
    refused = project(f"--baselines={tmp_path / 'baselines'}")
    assert refused.exit_code == 1
    assert "line.parquet: expected predictions, got no file. Run dvc repro word_baselines." in refused.output


def test_pairs_of_the_same_words_are_a_score_where_there_are_twenty(project, tmp_path):
    # Each conversation asks one thing of four items; of its pairs of opposite labels all are in the same words.
    project()
    found = models(tmp_path)
    assert found["test_pairs"] > 20
    assert found["floor"]["pairs_right"] == 0
    assert 0 < found["small"]["tuned"]["pairs_right"] < found["large"]["tuned"]["pairs_right_hi"] <= 1
    rows = pq.read_table(tmp_path / "labelled.parquet").to_pylist()
    for number, row in enumerate(rows):
        row["text"] = f"{number}?"
    write_rows(tmp_path / "labelled.parquet", rows, LABELLED)
    assert project().exit_code == 0
    assert models(tmp_path)["test_pairs"] == 0
    assert models(tmp_path)["large"]["tuned"]["pairs_right"] is None


def test_too_few_conversations_have_scores_and_no_interval(project, tmp_path):
    rows = pq.read_table(tmp_path / "labelled.parquet").to_pylist()
    kept = [row for row in rows if row["split"] == "train" or int(row["conversation"][1:]) < 21]
    write_rows(tmp_path / "labelled.parquet", kept, LABELLED)
    result = project()
    assert result.exit_code == 0, result.output
    assert "too few conversations for an interval (7 of at least 10)" in result.output
    found = models(tmp_path)
    assert found["test_conversations"] == 7
    assert found["large"]["tuned"]["macro_f1"] > 0
    assert found["large"]["tuned"]["macro_f1_lo"] is None
    assert found["large"]["gain"]["macro_f1_hi"] is None
    assert "nan" not in (tmp_path / "plots" / "scaling.csv").read_text()
    assert "NaN" not in (tmp_path / "models.json").read_text()


def test_missing_probabilities_are_no_evidence(project, tmp_path):
    """Of a model that ranks nothing, and gives no probabilities for most items of one label."""
    path = tmp_path / "tuned" / "large.parquet"
    rows = pq.read_table(path).to_pylist()
    labels = {row["item_id"]: row["label"] for row in pq.read_table(tmp_path / "labelled.parquet").to_pylist()}
    for number, row in enumerate(rows):
        row |= {"p_needed": 0.9, "p_not_needed": 0.1} if number % 8 else {"p_needed": 0.1, "p_not_needed": 0.9}
        if labels[row["item_id"]] == "not_needed":
            row |= dict.fromkeys(("p_needed", "p_not_needed", "p_unknown"))
    write_rows(path, rows, PREDICTIONS)
    assert project().exit_code == 0
    assert models(tmp_path)["large"]["tuned"]["auroc"] == 0.5


def test_only_test_items_are_scored(project, tmp_path):
    project()
    before = (tmp_path / "models.json").read_bytes()
    train = {
        row["item_id"]: "unknown"
        for row in pq.read_table(tmp_path / "labelled.parquet").to_pylist()
        if row["split"] == "train"
    }
    change(tmp_path / "tuned" / "large.parquet", "answer", train)
    project()
    assert (tmp_path / "models.json").read_bytes() == before


def test_fault_3_an_answer_that_could_not_be_read_is_unknown_and_counted(project, tmp_path):
    path = tmp_path / "vanilla" / "small.parquet"
    unread = {"i0": False, "i1": False}
    change(path, "parsed", unread)
    change(path, "p_needed", dict.fromkeys(unread))
    change(path, "p_not_needed", dict.fromkeys(unread))
    items = read_items(tmp_path / "labelled.parquet", "test")
    for predictions in (read_predictions(path, items.ids), centre(read_predictions(path, items.ids))):
        assert predictions.answers[:2].tolist() == [UNKNOWN, UNKNOWN]
    project()
    vanilla = json.loads((tmp_path / "models.json").read_text())["small"]["vanilla"]
    assert vanilla["unparsed"] == vanilla["unknown"] == 0.025


def test_answers_without_probabilities_have_no_auroc(project, tmp_path):
    path = tmp_path / "vanilla" / "small.parquet"
    rows = pq.read_table(path).to_pylist()
    write_rows(path, [row | dict.fromkeys(("p_needed", "p_not_needed", "p_unknown")) for row in rows], PREDICTIONS)
    result = project()
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "models.json").read_text())
    assert [metrics["small"]["vanilla"][f"auroc{end}"] for end in ("", "_lo", "_hi")] == [None] * 3
    assert metrics["small"]["vanilla"]["precision"] > 0
    assert metrics["small"]["tuned"]["auroc"] > 0.5


def test_what_settings_are_chosen_by_is_on_validation_items(project, tmp_path):
    with_validation(tmp_path, 80)
    result = project()
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "models.json").read_text())
    chosen_by = metrics["large"]["tuned"]["validation"]
    assert set(chosen_by) == {"macro_f1", "auroc", "items"}
    assert chosen_by["items"] == 80
    items = read_items(tmp_path / "labelled.parquet", "validation")
    predictions = read_predictions(tmp_path / "tuned" / "large.parquet", items.ids)
    needed = predictions.log_odds > metrics["large"]["tuned"]["thresholds"]["0"]
    expected = f1_score(items.references == 0, needed, average="macro")
    assert chosen_by["macro_f1"] == pytest.approx(expected, abs=1e-4)


def with_validation(tmp_path, items):
    """Make so many of the training items validation items."""
    rows = pq.read_table(tmp_path / "labelled.parquet").to_pylist()
    for row in [row for row in rows if row["split"] == "train"][:items]:
        row["split"] = "validation"
    write_rows(tmp_path / "labelled.parquet", rows, LABELLED)
    return rows


def test_tuned_answers_are_decided_at_a_threshold_that_each_seed_has_of_validation_items(project, tmp_path):
    rows = with_validation(tmp_path, 60)
    path = tmp_path / "tuned" / "large.parquet"
    write_predictions(path, rows, 1.0, bias=-9.0, seed=3, seeds=(0, 4))
    result = project()
    assert result.exit_code == 0, result.output
    assert "too few" not in result.output
    large = models(tmp_path)["large"]
    tuned = large["tuned"]
    items = read_items(tmp_path / "labelled.parquet", "test")
    decided, most_probable = [], []
    for seed, each in read_seeds(path, items.ids).items():
        needed = each.log_odds > tuned["thresholds"][str(seed)]
        decided.append(f1_score(items.references == 0, needed, average="macro"))
        most_probable.append(f1_score(items.references, each.answers, average="macro", labels=[0, 1]))
    assert len({*tuned["thresholds"].values()}) == 2
    assert tuned["macro_f1"] == pytest.approx(np.mean(decided), abs=1e-4)
    assert tuned["macro_f1_argmax"] == pytest.approx(np.mean(most_probable), abs=1e-4)
    assert tuned["macro_f1_argmax_lo"] <= tuned["macro_f1_argmax"] < 0.4 < 0.6 < tuned["macro_f1"]
    assert {"macro_f1_sd", "macro_f1_argmax_sd"} < {*tuned}
    # All that is made of answers is made of the decided ones.
    assert large["gain"]["macro_f1"] == pytest.approx(tuned["macro_f1"] - large["vanilla"]["macro_f1"], abs=2e-5)
    assert large["above_baselines"]["best"] == "floor"
    assert large["above_baselines"]["macro_f1_lo"] > 0
    assert not_above(large) is None
    assert tuned["validation"]["macro_f1"] > 0.6
    with (tmp_path / "plots" / "confusion.csv").open() as lines:
        cells = [row for row in csv.DictReader(lines) if (row["rung"], row["kind"]) == ("large", "tuned")]
    assert sum(int(row["items"]) for row in cells if row["answer"] == "needed") > 20
    # Test items and untouched models play no part in it.
    labels = {row["item_id"]: row for row in rows}
    for item_id in items.ids:
        labels[item_id]["label"] = "needed" if labels[item_id]["label"] == "not_needed" else "not_needed"
    write_rows(tmp_path / "labelled.parquet", rows, LABELLED)
    assert project().exit_code == 0
    assert models(tmp_path)["large"]["tuned"]["thresholds"] == tuned["thresholds"]
    assert "thresholds" not in models(tmp_path)["large"]["vanilla"]


def test_too_few_validation_items_leave_the_most_probable_options_and_say_so(project, tmp_path):
    with_validation(tmp_path, 19)
    result = project()
    assert result.exit_code == 0, result.output
    assert (
        "too few validation items to choose a threshold on (19 of at least 20, with 5 of each label)" in result.output
    )
    tuned = models(tmp_path)["large"]["tuned"]
    assert tuned["thresholds"] == {"0": None}
    assert tuned["macro_f1"] == tuned["macro_f1_argmax"]


def test_a_missing_prediction_is_an_error_and_nothing_is_written(project, tmp_path):
    path = tmp_path / "tuned" / "medium.parquet"
    rows = [row for row in pq.read_table(path).to_pylist() if row["item_id"] != "i2"]
    write_rows(path, rows, PREDICTIONS)
    result = project()
    assert result.exit_code == 1
    assert "medium.parquet: expected predictions for all 80 items, 1 are missing, first 'i2'" in result.output
    assert not (tmp_path / "models.json").exists()
    assert not (tmp_path / "plots").exists()


def test_a_rung_with_a_taken_name_is_an_error(project, tmp_path):
    write_params(tmp_path / "params.yaml", [*RUNGS, "floor"])
    result = project()
    assert result.exit_code == 1
    assert "rung floor: this name is taken" in result.output


@pytest.mark.parametrize(
    ("path", "stage"),
    [
        ("bases/small", "base@small"),
        ("vanilla/small.parquet", "predict_vanilla@small"),
        ("tuned/small.parquet", "predict_tuned@small"),
        ("curves/small", "train@small"),
    ],
)
def test_a_rung_that_is_missing_is_refused_with_the_stage_to_run(project, tmp_path, path, stage):
    write_curves(tmp_path / "curves")
    (tmp_path / path).rename(tmp_path / "aside")
    result = project(f"--curves={tmp_path / 'curves'}")
    assert result.exit_code == 1
    assert (
        f"{tmp_path / path}: expected rung small, which {tmp_path / 'params.yaml'} names, got nothing" in result.output
    )
    assert f'else "dvc repro {stage}".' in result.output
    assert not (tmp_path / "models.json").exists()


@pytest.mark.parametrize("path", ["bases/old", "vanilla/old.parquet", "tuned/old.parquet", "curves/old"])
def test_a_rung_that_is_left_over_is_refused(project, tmp_path, path):
    write_curves(tmp_path / "curves")
    (tmp_path / path).mkdir()
    result = project(f"--curves={tmp_path / 'curves'}")
    assert result.exit_code == 1
    assert f"{tmp_path / path}: expected only the rungs that {tmp_path / 'params.yaml'} names here" in result.output
    assert f"rm -r {tmp_path / path}" in result.output
    assert not (tmp_path / "models.json").exists()


def test_a_served_rung_has_untouched_answers_and_is_left_out(project, tmp_path):
    project()
    before = (tmp_path / "models.json").read_bytes()
    write_params(tmp_path / "params.yaml", RUNGS, served=["served"])
    (tmp_path / "bases" / "served").mkdir()
    (tmp_path / "vanilla" / "served.parquet").write_text("")
    assert project().exit_code == 0
    assert (tmp_path / "models.json").read_bytes() == before
    (tmp_path / "tuned" / "served.parquet").write_text("")
    assert "tuned/served.parquet: expected only the rungs" in project().output


def write_curves(folder):
    for key in RUNGS:
        (folder / key / "plots/metrics/train").mkdir(parents=True)
        (folder / key / "settings.json").write_text('{"lora_r": 16}')
        for name in ("loss", "deciding_loss"):
            path = folder / key / "plots/metrics/train" / f"{name}.tsv"
            path.write_text(f"step\t{name}\n1\t0.5\n2\t0.25\n")


def test_the_training_losses_of_all_rungs_are_one_table(project, tmp_path):
    write_curves(tmp_path / "curves")
    assert project(f"--curves={tmp_path / 'curves'}").exit_code == 0
    with (tmp_path / "plots" / "loss.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["rung"] for row in rows] == ["small", "small", "medium", "medium", "large", "large"]
    assert rows[1] == {"rung": "small", "step": "2", "loss": "0.25", "deciding_loss": "0.25"}


def test_a_base_without_parameter_count_is_an_error(project, tmp_path):
    (tmp_path / "bases" / "small" / "rung.json").write_text('{"params": "1k"}')
    assert "small/rung.json: expected \"params\" to be a number of parameters, got '1k'" in project().output


def test_plot_data_is_complete(project, tmp_path):
    project()
    with (tmp_path / "plots" / "scaling.csv").open() as lines:
        scaling = list(csv.DictReader(lines))
    assert len(scaling) == 3 * 4 * len(METRICS)
    assert [row["rung"] for row in scaling[:: 4 * len(METRICS)]] == ["small", "medium", "large"]
    with (tmp_path / "plots" / "confusion.csv").open() as lines:
        confusion = list(csv.DictReader(lines))
    assert len(confusion) == 3 * 2 * 2 * 3
    assert sum(int(row["items"]) for row in confusion if row["rung"] == "large") == 2 * 80
