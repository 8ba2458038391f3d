"""What dvc plots show draws: the tables behind it, and templates that fit them."""

import csv
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from dvc.repo import Repo
from dvc_render.vega import VegaRenderer
from score_rows import write_base, write_label_sets, write_labelled, write_params, write_predictions

from chatladder.evaluation import comparison
from chatladder.evaluation.summary import FUNNEL_COLUMNS, Metrics, funnel_rows
from chatladder.io.console import DataError
from chatladder.io.files import write_csv, write_json
from chatladder.io.rows import QUESTIONS, write_rows
from chatladder.labels.answer import Answer, Label
from chatladder.labels.labelling import ROUND_COLUMNS, round_rows
from chatladder.labels.log import create
from chatladder.labels.rounds import log_path
from chatladder.training import runs
from stages import check_scaling, evaluate, label
from tests.conftest import ROOT

TEMPLATES = ROOT / ".dvc" / "plots"
#: Okabe and Ito's, greys, and what tells a ninth rung from them: apart for the colour-blind, too.
PALETTE = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#7a4f1d", "#66c5ab"}
GREYS = re.compile(r"#([0-9a-f]{2})\1\1")
SETTINGS = {"learning_rate": 4e-3, "lora_r": 16, "target_modules": ["q_proj", "v_proj"], "early_stopping_patience": 0}
PICKED = {
    "raw_lines": 1_000,
    "messages": 990,
    "skipped": 10,
    "joined": 190,
    "turns": 800,
    "questions": 80,
    "left_out": {"skipped_duplicate": 10, "not_text": 100, "too_short": 200, "below_rules": 400, "below_judge": 20},
}
COUNTS = {"items": 70, "needed": 30, "not_needed": 25, "not_a_question": 9, "unsure": 2, "disagreed": 4}
COUNTS |= {"train": 40, "validation": 5, "test": 10}


def definitions():
    plots = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["plots"]
    return {name: definition for plot in plots for name, definition in plot.items()}


def read(path):
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t" if path.suffix == ".tsv" else ","))


def funnel_of(questions, annotation):
    return list(funnel_rows(Metrics(Path("questions.json"), questions), Metrics(Path("annotation.json"), annotation)))


def answers(*said):
    return [Answer(item, who, number, Label.NEEDED, "2024-01-01T00:00:00+00:00") for number, who, item in said]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Every file that the plots of dvc.yaml name, as the stages write them, beside dvc.yaml's plots."""
    folder = tmp_path_factory.mktemp("project")
    rungs = list(yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["ladder"])
    data = folder / "data"
    rows = write_labelled(data / "labelled.parquet")
    for seed, rung in enumerate(rungs):
        write_base(data / "bases", rung, 1_000 * 4**seed)
        for number, kind in enumerate(("vanilla", "tuned")):
            path = data / "predictions" / kind / f"{rung}.parquet"
            write_predictions(path, rows, 0.3 + 0.4 * seed + number, seed=seed + 10 * number)
        write_curves(data / "curves" / rung)
    common = ["--labelled", data / "labelled.parquet", "--bases", data / "bases", "--params", folder / "params.yaml"]
    write_params(folder / "params.yaml", rungs)
    write_label_sets(data / "label_sets.parquet")
    (data / "predictions" / "out_of_fold").mkdir()
    checked = ["--label-sets", data / "label_sets.parquet", "--predictions", data / "predictions", "--margin", 0.01]
    run(check_scaling.main, *common, *checked, "--metrics", folder / "scaling.json", "--plots", data / "plots/scaling")
    common += ["--draws", 100, "--seed", 0, "--vanilla", data / "predictions/vanilla"]
    tuned = ["--tuned", data / "predictions/tuned", "--curves", data / "curves", "--plots", data / "plots/models"]
    run(evaluate.main, *common, *tuned, "--metrics", folder / "models.json")
    plots = folder / "metrics" / "plots"
    write_csv(plots / "funnel.csv", FUNNEL_COLUMNS, funnel_of(PICKED, COUNTS))
    given = answers((1, "li", "i1"), (1, "wu", "i1"), (2, "li", "i2"))
    agreement = {"1": {"items": 1, "kappa": 0.5, "alpha": 0.4}}
    write_csv(plots / "rounds.csv", ROUND_COLUMNS, round_rows(given, agreement))
    Repo.init(str(folder), no_scm=True).close()
    shutil.copytree(TEMPLATES, folder / ".dvc" / "plots")
    graph = {"plots": [{name: definition} for name, definition in definitions().items()]}
    (folder / "dvc.yaml").write_text(yaml.safe_dump(graph, sort_keys=False), encoding="utf-8")
    return folder


def write_curves(folder, patience=0, losses=(0.6, 0.4, 0.5)):
    """A rung's curves, one step an epoch."""
    names = ("train/loss", "train/deciding_loss", "validation/deciding_loss")
    logged = [(name, step, loss) for step, loss in enumerate(losses, start=1) for name in names]
    runs.write_curves(folder, {**SETTINGS, "early_stopping_patience": patience}, logged)


def run(command, *words):
    result = CliRunner().invoke(command, [str(word) for word in words])
    assert result.exit_code == 0, result.output


def shown(folder):
    """The specifications on the page of ``dvc plots show``, and what it said."""
    command = [sys.executable, "-m", "dvc", "plots", "show", "--out", "page"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (folder / "page" / "index.html").read_text(encoding="utf-8")
    specs = [json.loads(spec) for spec in re.findall(r"var spec = (.*);", page)]
    return {spec["title"]["text"]: spec for spec in specs if spec}, done.stdout + done.stderr


@pytest.fixture(scope="module")
def page(project):
    return shown(project)


def test_dvc_draws_every_plot_in_the_order_of_dvc_yaml(page):
    specs, said = page
    assert list(specs) == [definition["title"] for definition in definitions().values()]
    assert "error" not in said.lower()
    assert "warning" not in said.lower()


def fields(node, names=("field", "groupby", "as")):
    """Names of fields that a specification reads, and those that it makes."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in names and isinstance(value, str):
                yield key, value
            elif key == "groupby":
                yield from (("field", name) for name in value)
            else:
                yield from fields(value, names)
    elif isinstance(node, list):
        for child in node:
            yield from fields(child, names)


@pytest.mark.parametrize("name", definitions())
def test_a_template_reads_columns_that_are_written_or_made(page, name):
    spec = page[0][definitions()[name]["title"]]
    rows = spec.pop("data")["values"]
    text = json.dumps(spec)
    assert rows
    assert "<DVC_METRIC" not in text
    made = {value for key, value in fields(spec) if key == "as"}
    read_by_marks = {value for key, value in fields(spec) if key == "field"}
    read_by_words = {*re.findall(r"datum\.(\w+)", text), *re.findall(r"datum\['(\w+)'\]", text)} - {"label"}
    # A label's own value is "datum.value" to an axis.
    assert (read_by_marks | read_by_words) - {"value"} <= {*rows[0]} | made


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.json")), ids=lambda path: path.stem)
def test_colours_that_tell_things_apart_survive_colour_blindness(path):
    template = path.read_text(encoding="utf-8")
    ranges = re.findall(r'"range": \[([^\]]*#[^\]]*)\]', template)
    colours = [colour.lower() for found in ranges for colour in re.findall(r"#[0-9a-fA-F]{6}", found)]
    for colour in colours:
        assert colour in PALETTE or GREYS.fullmatch(colour) or colour == "#8a8a8a", colour
    for found in ranges:
        if path.stem != "funnel":
            assert max(Counter(re.findall(r"#\w+", found)).values()) == 1


def test_every_template_is_used():
    assert {path.stem for path in TEMPLATES.glob("*.json")} == {plot["template"] for plot in definitions().values()}


def test_what_is_not_there_yet_keeps_no_other_plot_away(project, tmp_path):
    folder = tmp_path / "untrained"
    shutil.copytree(project, folder, ignore=shutil.ignore_patterns("page"))
    shutil.rmtree(folder / "data" / "plots" / "models")
    specs, _ = shown(folder)
    titles = {name: definition["title"] for name, definition in definitions().items()}
    assert list(specs) == [titles[name] for name in ("funnel", "agreement", "growth")]


def test_a_curve_over_experiments_joins_what_differs_in_nothing_else(project):
    rows = [
        {**row, "rev": rev, "learning_rate": rate, "settings": row["settings"].replace("0.004", rate)}
        for rev, rate in (("workspace", "0.004"), ("lr-2e-3", "0.002"))
        for row in read(project / "data" / "plots" / "models" / "tuning.csv")
    ]
    spec = VegaRenderer(rows, "t", template="tuning", template_dir=str(TEMPLATES), x="learning_rate", y="value")
    others = next(step["calculate"] for step in spec.get_filled_template()["transform"] if step.get("as") == "others")
    pattern = re.search(r"regexp\('(.*?)'\)", others)[1]
    assert {re.sub(pattern, "", row["settings"]) for row in rows} == {
        "; lora_r=16; target_modules=q_proj+v_proj; early_stopping_patience=0"
    }


def test_the_funnel_counts_every_turn_and_every_answer():
    rows = [dict(zip(FUNNEL_COLUMNS, row, strict=True)) for row in funnel_of(PICKED, COUNTS)]
    assert [(row["step"], row["count"], row["left_out"]) for row in rows] == [
        ("raw lines", 1_000, ""),
        ("messages", 990, "10 no message"),
        ("turns", 800, "190 joined to the turn before"),
        ("turns of text", 700, "100 without text"),
        ("long enough", 500, "200 too short"),
        ("passed by rules", 100, "400 not passed by rules"),
        ("questions", 80, "20 not passed by judge"),
        ("answered", 70, "10 without an answer"),
        ("labelled", 55, "9 not a question, 2 unsure, 4 disagreed"),
        ("to train", 40, ""),
        ("to validate", 5, ""),
        ("to test", 10, ""),
    ]
    assert [row["place"] for row in rows] == list(range(len(rows)))
    shares = {row["step"]: row["share"] for row in rows}
    assert (shares["raw lines"], shares["questions"], shares["to train"]) == ("", 0.8, 0.72727)


def test_a_chat_without_lines_begins_its_funnel_with_turns():
    picked = {"turns": 10, "questions": 4, "left_out": {"not_text": 1, "too_short": 0, "below_mean": 5}}
    rows = funnel_of(picked, {**COUNTS, "items": 4})
    assert [(row[1], row[3], row[5]) for row in rows][:4] == [
        ("turns", 10, ""),
        ("turns of text", 9, "1 without text"),
        ("long enough", 9, ""),
        ("questions", 4, "5 below the judges' mean threshold"),
    ]


def test_counts_of_something_else_are_an_error():
    with pytest.raises(DataError, match=r"questions\.json: expected a value left_out. Run the stage that writes it"):
        funnel_of({"turns": 1}, COUNTS)


def test_a_round_of_one_annotator_is_there_without_agreement():
    given = answers((1, "li", "i1"), (1, "wu", "i1"), (1, "wu", "i2"), (2, "li", "i3"))
    found = list(round_rows(given, {"1": {"items": 1, "kappa": None, "alpha": 0.25}}))
    assert found == [
        (1, 2, 2, 1, "Cohen's kappa", ""),
        (1, 2, 2, 1, "Krippendorff's alpha", 0.25),
        (2, 1, 1, 0, "Cohen's kappa", ""),
        (2, 1, 1, 0, "Krippendorff's alpha", ""),
    ]


def test_label_writes_the_agreement_of_each_round(tmp_path):
    """Two annotate twenty conversations of one question each; one answers some again."""
    rows = [
        dict.fromkeys(QUESTIONS.names)
        | {"item_id": f"i{number}", "conversation": f"c{number}", "timestamp": number, "text": "?", "window": []}
        for number in range(20)
    ]
    write_rows(tmp_path / "questions.parquet", rows, QUESTIONS)
    labels = [Label.NEEDED if number % 2 else Label.NOT_NEEDED for number in range(20)]
    for number, who, count in ((1, "li", 20), (1, "wu", 20), (2, "li", 4)):
        given = [Answer(f"i{item}", who, number, labels[item], "2024-01-01T00:00:00Z") for item in range(count)]
        create(log_path(tmp_path / "annotations", number, who), given)
    words = ["--questions", tmp_path / "questions.parquet", "--annotations", tmp_path / "annotations", "--round", 2]
    words += ["--validation", 0, "--test", 0.3, "--out", tmp_path / "l.parquet", "--metrics", tmp_path / "a.json"]
    words += ["--agreement", tmp_path / "plots" / "rounds.csv"]
    run(label.main, *words)
    found = read(tmp_path / "plots" / "rounds.csv")
    assert [(row["round"], row["annotators"], row["shared"], row["value"]) for row in found[::2]] == [
        ("1", "2", "20", "1.0"),
        ("2", "1", "0", ""),
    ]
    before = [path.read_bytes() for path in sorted((tmp_path / "plots").iterdir())]
    run(label.main, *words)
    assert [path.read_bytes() for path in sorted((tmp_path / "plots").iterdir())] == before


def test_the_loss_is_that_of_the_weights_that_were_kept(tmp_path):
    assert runs.SETTINGS == comparison.SETTINGS
    for name, patience, expected in (("all", 0, 0.5), ("best", 2, 0.4)):
        write_curves(tmp_path / name, patience)
        settings = comparison.read_settings(tmp_path / name)
        assert settings["target_modules"] == "q_proj+v_proj"
        assert comparison.validation_loss(tmp_path / name, settings) == expected
    write_json(tmp_path / "bare" / "settings.json", SETTINGS)
    assert comparison.validation_loss(tmp_path / "bare", comparison.read_settings(tmp_path / "bare")) is None


def test_a_rung_that_was_trained_before_says_what_to_run(tmp_path):
    with pytest.raises(DataError, match=r"settings\.json: expected what the rung was trained with, got no file"):
        comparison.read_settings(tmp_path)
    (tmp_path / "settings.json").write_text("[]")
    with pytest.raises(DataError, match=r"settings\.json: expected a JSON object of settings"):
        comparison.read_settings(tmp_path)


def test_a_curve_of_something_else_is_an_error(tmp_path):
    path = tmp_path / comparison.VALIDATION / "deciding_loss.tsv"
    path.parent.mkdir(parents=True)
    path.write_text("step\tloss\n1\t0.5\n")
    with pytest.raises(DataError, match=r"deciding_loss\.tsv: expected a column deciding_loss of numbers"):
        comparison.validation_loss(tmp_path, {})


def test_committed_plot_data_are_those_of_the_committed_metrics():
    metrics = ROOT / "metrics"
    picked, annotation = (json.loads((metrics / f"{name}.json").read_text()) for name in ("questions", "annotation"))
    expected = [list(map(str, row)) for row in funnel_of(picked, annotation)]
    assert [list(row.values()) for row in read(metrics / "plots" / "funnel.csv")] == expected
    for row in read(metrics / "plots" / "rounds.csv"):
        measure = {"Cohen's kappa": "kappa", "Krippendorff's alpha": "alpha"}[row["measure"]]
        assert float(row["value"]) == annotation["rounds"][row["round"]][measure]
