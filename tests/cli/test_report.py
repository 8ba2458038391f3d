import hashlib
import html.parser
import json
import os
import re
import shutil
import subprocess
from base64 import b64encode
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from score_rows import write_base, write_label_sets, write_labelled, write_params, write_predictions
from sklearn.metrics import f1_score

from chatladder.cli.audit import audit_command
from chatladder.cli.report.command import report_command
from chatladder.cli.report.models import read_tuned
from chatladder.cli.report.moves import count_cells, effects, put_back
from chatladder.cli.report.page import direction, plain, shown_path, signed
from chatladder.cli.report.plots import Tick as PlotTick
from chatladder.cli.report.plots import decimals, round_values, scaling_plot, spread_labels
from chatladder.cli.report.rounds import Change, matrix
from chatladder.evaluation.rungs import Rung
from chatladder.evaluation.scaling_check import Model, Score
from chatladder.evaluation.scores import Interval
from chatladder.io.rows import LABELLED, QUESTIONS, write_rows
from chatladder.labels.answer import Label
from chatladder.vocabulary import ANSWERS
from stages.check_scaling import main as check_scaling
from stages.label import main as label
from tests.browser import chromium

ROOT = Path(__file__).resolve().parents[2]
RUNGS = (("small", 1_000, 0.2), ("medium", 4_000, 0.8), ("large", 16_000, 1.6))
SECRET = "这句话不该出现在外面"
HOSTILE = (
    "<script>document.title='owned'</script>\"'><img src=x onerror=alert(1)>&amp;{{ 7 * 7 }}"
    "\u202etxt.exe\u2066\u200f\x1b[31m\x00\x85" + "字" * 600
)
ORDER = ("needed", "not_needed", "not_a_question", "unsure")


def write_log(folder, number, name, labels):
    """A log of (item, label)."""
    path = folder / f"round_{number}" / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as out:
        for line, (item_id, label) in enumerate(labels):
            at = f"2024-01-{number:02}T{line // 60 % 24:02}:{line % 60:02}:00Z"
            row = {"item_id": item_id, "annotator": name, "round": number, "label": label, "at": at}
            out.write(json.dumps(row) + "\n")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """240 questions that two people labelled, some wrongly, and mended in a second round; three untouched rungs.

    The first item is turned over, the second was disagreed on and is settled, the third is no question any more.
    """
    monkeypatch.chdir(tmp_path)
    rows = write_labelled(Path("data/labelled.parquet"))
    for row in rows:
        row["text"] = SECRET
        row["window"] = [{"sender": "u2", "text": "前文", "timestamp": 1_700_000_000}] * 6
    write_rows(
        Path("data/questions.parquet"), [{name: row[name] for name in QUESTIONS.names} for row in rows], QUESTIONS
    )
    truth = [(row["item_id"], row["label"]) for row in rows]
    other = {"needed": "not_needed", "not_needed": "needed"}
    first = [(truth[0][0], other[truth[0][1]]), *truth[1:]]
    write_log(Path("data/annotations"), 1, "li", first)
    write_log(Path("data/annotations"), 1, "wu", [first[0], (truth[1][0], other[truth[1][1]]), *first[2:]])
    second = [*truth[:2], (truth[2][0], "not_a_question"), *truth[3:20]]
    for name in ("li", "wu"):
        write_log(Path("data/annotations"), 2, name, second)
    for seed, (key, params, skill) in enumerate(RUNGS):
        write_base(Path("data/bases"), key, params)
        write_predictions(Path(f"data/predictions/vanilla/{key}.parquet"), rows, skill, seed=seed, seeds=(0, 1, 2))
    return rows


def report(*options, code=0):
    """Run the command and return the page, or what it said where it is refused."""
    result = CliRunner().invoke(report_command, ["--out=page.html", *options])
    assert result.exit_code == code, result.output
    return Path("page.html").read_text(encoding="utf-8") if code == 0 else result.output


class Page(html.parser.HTMLParser):
    """A page taken apart: tags that are open at the end, attributes by tag, and its text."""

    VOID = ("meta", "link", "img", "br", "hr", "input")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.pieces = [], [], []
        self.feed(text)
        self.text = re.sub(r"\s+", " ", "".join(self.pieces))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.pieces.append(data)


def test_a_page_holds_every_part(project):
    page = Page(report())
    assert page.open == []
    assert [attrs["id"] for tag, attrs in page.tags if tag == "h2"] == [
        "verdict", "agreement", "changes", "growth", "scaling", "tuned", "movers", "source",
    ]  # fmt: skip
    assert "PASS" in page.text
    assert "Larger models agree better with the labels" in page.text
    assert "li and wu differ in too little to compare" in page.text
    assert "Round 2 asked about 20 items: 17 kept their label, 2 were turned over, 1 had been disagreed on" in page.text
    assert "3 items changed the label that models are scored on, came in, or left." in page.text
    assert SECRET in page.text
    assert "This page quotes the chat." in page.text
    assert sum(tag == "svg" for tag, _ in page.tags) == 4 + 2  # two of slopes, two of scores, two in the legend
    assert "small (seed 0), round 2: 0." in page.text
    assert "2 earlier turns" in page.text


def test_the_tuned_models_stand_beside_the_baselines(project):
    assert 'No tuned model is scored yet. Run "dvc repro evaluate", then this command again.' in Page(report()).text
    scores = json.loads((ROOT / "metrics" / "models.json").read_text())
    Path("metrics").mkdir()
    Path("metrics/models.json").write_text(json.dumps(scores))
    text = Page(report()).text
    for name, values in (("embedded_150k", scores["embedded_150k"]["tuned"]), ("always needed", scores["floor"])):
        assert re.search(rf"{name}.{{0,40}}{values['recall']:.3f}", text), name
    assert "LoRA's gain in AUROC" in text
    assert "metrics/models.json" in text.partition("Files that were read.")[2]


def test_the_slopes_are_those_that_check_scaling_writes(project):
    page = Page(report())
    # What the round says, written as the label stage would.
    gone = project.pop(2)
    assert gone["item_id"] == "i2"
    write_rows(Path("now.parquet"), project, LABELLED)
    write_label_sets(Path("sets.parquet"))
    Path("data/predictions/out_of_fold").mkdir()
    write_params(Path("params.yaml"), [key for key, *_ in RUNGS])
    paths = ["--labelled=now.parquet", "--bases=data/bases", "--predictions=data/predictions"]
    paths += ["--label-sets=sets.parquet", "--margin=0.01", "--metrics=found.json"]
    result = CliRunner().invoke(check_scaling, paths)
    assert result.exit_code == 0, result.output
    found = json.loads(Path("found.json").read_text())
    row = re.search(rf"round 2239{found['conversations']}([+−].*?\])([+−].*?\])", page.text)
    for metric, text in zip(("auroc", "precision"), row.groups(), strict=True):
        shown = [float(figure) for figure in re.findall(r"[+-][\d.]+", text.replace("−", "-"))]
        assert shown == pytest.approx([found[metric][f"slope{end}"] for end in ("", "_lo", "_hi")], abs=6e-5)


def test_without_texts_no_message_is_in_the_page(project):
    page = report("--no-texts")
    assert SECRET not in page
    assert "前文" not in page
    assert "This page quotes no message." in page
    assert "i0" in page


def test_the_audit_finds_nothing_in_a_page_of_ours(project):
    report()
    Path("data/page.html").write_bytes(Path("page.html").read_bytes())
    Path("data/raw").mkdir()
    Path("data/raw/chat.jsonl").write_text('{"group": "g", "sender": "qvex", "timestamp": 1, "text": "hi"}\n')
    result = CliRunner().invoke(audit_command, ["--derived", "data/page.html"])
    assert result.exit_code == 0, result.output
    assert "nothing found in 1 files" in result.output


def test_the_text_of_the_chat_is_shown_and_cannot_act(project):
    for row in project:
        row["text"] = HOSTILE
        row["sender"] = "<b>bold</b>\u202e"
        row["window"] = [{"sender": "</ul>", "text": HOSTILE, "timestamp": 10**18}]
    write_rows(
        Path("data/questions.parquet"), [{name: row[name] for name in QUESTIONS.names} for row in project], QUESTIONS
    )
    text = report()
    page = Page(text)
    assert page.open == []
    assert not {tag for tag, _ in page.tags} & {"script", "img", "b", "link", "iframe", "object", "form", "base"}
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on") or name in ("style", "src")]
    assert not re.search(
        r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text
    )
    assert "<script>document.title='owned'</script>" in page.text
    assert "{{ 7 * 7 }}\ufffdtxt.exe" in page.text
    assert "more characters)" in page.text


def test_names_of_people_and_rungs_and_files_cannot_act_either(project):
    Path("data/labelled.parquet").rename("<i>&'.parquet")
    page = report("--labelled=<i>&'.parquet")
    assert "<i>" not in page
    assert Page(page).text.count("<i>&") == 3  # in a note, in the command, and among the files


def test_nothing_may_be_loaded_and_nothing_run(project):
    text = report()
    page = Page(text)
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert "url(" not in style
    assert "http:" not in text
    assert "https:" not in text
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    ids = {attrs.get("id") for _, attrs in page.tags}
    assert links
    assert {link.removeprefix("#") for link in links} <= ids
    referred = " ".join(attrs.get("aria-labelledby", "") for _, attrs in page.tags).split()
    assert set(referred) <= ids


def test_every_table_has_headers_and_its_own_box(project):
    text = report()
    page = Page(text)
    tables = sum(tag == "table" for tag, _ in page.tags)
    assert tables >= 7
    assert len(re.findall(r'<div class="scroll" [^>]*tabindex="0"><table', text)) == tables
    assert all("scope" in attrs for tag, attrs in page.tags if tag == "th")


def test_equal_inputs_give_equal_bytes(project, python, warm):
    here = report()
    done = subprocess.run(
        [python, "-m", "chatladder.cli.report.command", "--out=again.html"],
        env={**os.environ, **warm, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert Path("again.html").read_text(encoding="utf-8") == here


def test_the_command_in_the_page_writes_the_page_again(project):
    text = report("--round=1", "--no-texts", "--rung=large", "--rung=small")
    command = re.search(r'<code class="command">(.*?)</code>', text)[1]
    words = command.split()
    assert words[:4] == ["chatladder", "report", "--round", "1"]
    result = CliRunner().invoke(report_command, [*words[2:], "--out=again.html"])
    assert result.exit_code == 0, result.output
    assert Path("again.html").read_text(encoding="utf-8") == text
    for path in ("data/questions.parquet", "data/annotations/round_1/li.jsonl"):
        assert hashlib.sha256(Path(path).read_bytes()).hexdigest() in text
    assert "round_2/li.jsonl" not in text


def test_the_first_round_has_nothing_before_it(project):
    page = Page(report("--round=1"))
    assert "This is the first round; there is no earlier label that it could have changed." in page.text
    assert "This is the first round; every label is new." in page.text
    assert "PASS" in page.text
    assert "data/labelled.parquet holds other labels than the answers of rounds 1 to 1 give, at 2 items" in page.text


def test_one_annotator_has_no_kappa(project):
    shutil.rmtree("data/annotations")
    write_log(Path("data/annotations"), 1, "li", [(row["item_id"], row["label"]) for row in project])
    page = Page(report())
    assert "No two annotators answered the same item in this round" in page.text
    assert "kappa in round 1–no two annotators share an item" in page.text.replace("> ", "")


def test_one_rung_has_no_slope_and_says_what_to_do(project):
    page = Page(report("--rung=small"))
    assert "NO VERDICT" in page.text
    assert page.text.count('Add a rung to the ladder, run "dvc repro check_scaling", then this command again.') == 3
    assert "Figures are means over 3 untouched models" in page.text


def test_without_predictions_the_page_says_what_to_run(project):
    shutil.rmtree("data/predictions")
    page = Page(report())
    assert "NO VERDICT" in page.text
    assert page.text.count('Run "dvc repro predict_vanilla", then this command again.') == 4
    shutil.rmtree("data/bases")
    page = Page(report())
    assert page.text.count('There is no untouched model in data/bases. Run "dvc repro check_scaling"') == 4
    assert "kappa" in page.text


def test_a_rung_that_has_not_answered_is_named_and_left_out(project):
    Path("data/predictions/vanilla/large.parquet").unlink()
    page = Page(report())
    assert "Left out, since they have not answered yet: large." in page.text
    assert "medium (seed 0), round 2: 0." in page.text
    assert "large (seed 0), round 2" not in page.text


def test_labels_of_one_kind_have_no_verdict(project):
    shutil.rmtree("data/annotations")
    write_log(Path("data/annotations"), 1, "li", [(row["item_id"], "needed") for row in project])
    page = Page(report())
    assert "NO VERDICT" in page.text
    assert page.text.count("It needs items of two labels, in two conversations or more.") == 2


def test_a_rung_without_a_precision_is_judged_all_the_same(project):
    write_predictions(Path("data/predictions/vanilla/large.parquet"), project, 1.6, bias=-9.0, seeds=(0, 1, 2))
    page = Page(report())
    assert "PASS" in page.text
    assert "large (seed 0), round 2: 0." in page.text


def test_every_seed_of_a_rung_is_a_model(project):
    write_predictions(Path("data/predictions/vanilla/large.parquet"), project, 1.6, seeds=(0, 4))
    page = Page(report())
    assert "large seed 4" in page.text
    assert "Figures are means over 8 untouched models" in page.text


def test_a_mixture_of_experts_stands_apart(project):
    write_base(Path("data/bases"), "mixture", 64_000)
    Path("data/bases/mixture/rung.json").write_text(json.dumps({"params": 64_000, "active_params": 8_000}))
    write_predictions(Path("data/predictions/vanilla/mixture.parquet"), project, 0.5, seed=9)
    page = Page(report())
    assert "Mixtures of experts (diamonds) stand apart" in page.text
    assert "mixture (seed 0), round 2: 0." in page.text


def test_tuned_models_are_shown_for_test_items(project):
    test = [row for row in project if row["split"] == "test"]
    for key, *_ in RUNGS:
        write_predictions(Path(f"data/predictions/tuned/{key}.parquet"), test[:-1], 2.0)
    page = Page(report())
    assert "for test items also over 3 tuned ones, on 78 test items" in page.text
    assert "tuned, on the test: macro-F1" in page.text
    assert "The tuned models have not answered 1 of the test items of this round" in page.text


def test_tuned_answers_are_decided_as_evaluate_decides_them(project):
    rows = [{**row, "split": "validation" if row["split"] == "train" else row["split"]} for row in project]
    write_rows(Path("data/labelled.parquet"), rows, LABELLED)
    for key, *_ in RUNGS:
        write_predictions(Path(f"data/predictions/tuned/{key}.parquet"), rows, 2.0, bias=-9.0)
    labels = {row["item_id"]: row["label"] for row in rows}
    tuned = read_tuned(
        Path("data/predictions/tuned"), ["small"], labels, {row["item_id"]: row["split"] for row in rows}
    )
    answers = tuned.answers("small", list(tuned.rows)).answers
    assert (answers == [ANSWERS.index(labels[item_id]) for item_id in tuned.rows]).mean() > 0.9
    assert "for test items also over 3 tuned ones, on 79 test items" in Page(report()).text


def test_a_review_shows_suspects_against_controls(project):
    items = [row["item_id"] for row in project[:20]]
    record = {"items": items, "suspects": items[:10], "random": items[10:]}
    Path("data/annotations/round_2/review.json").write_text(json.dumps(record))
    page = Page(report())
    assert "This round is a review" in page.text
    assert "suspects10922" in re.sub(r"[ \n]", "", page.text)
    assert "random10100" in re.sub(r"[ \n]", "", page.text)
    assert "Suspicion adds +22.2 points" in page.text


def test_a_review_is_counted_as_the_metrics_count_it_whatever_was_adjudicated_of_it(project):
    items = [row["item_id"] for row in project[:20]]
    record = {"items": items, "suspects": items[:10], "random": items[10:]}
    Path("data/annotations/round_2/review.json").write_text(json.dumps(record))
    before = report("--no-texts")
    # Two suspects and a control that kept their label when they were asked blind leave the labels afterwards.
    settled = [(item_id, "unsure") for item_id in (items[5], items[6], items[12])]
    write_log(Path("data/annotations"), 2, "adjudication/chen", settled)
    path = Path("data/annotations/round_2/adjudication/chen.jsonl")
    path.write_text(path.read_text().replace("adjudication/chen", "chen"))
    after = report("--no-texts")
    metrics = ["--metrics=annotation.json", "--round=2", "--validation=0.1", "--test=0.2"]
    paths = ["--questions=data/questions.parquet", "--annotations=data/annotations", "--out=again.parquet"]
    result = CliRunner().invoke(label, [*paths, *metrics])
    assert result.exit_code == 0, result.output
    found = json.loads(Path("annotation.json").read_text())["reviews"]["2"]

    def review(page):
        return re.search(r'<p class="caption" id="table-review">.*?Suspicion adds.*?</p>', page, re.DOTALL)[0]

    assert review(after) == review(before)
    text = re.sub(r"[ \n]", "", Page(review(after)).text)
    for name in ("suspects", "random"):
        counts = "".join(str(found[f"{name}{end}"]) for end in ("", "_answered", "_flipped"))
        assert f"{name}{counts}" in text
    assert f"Suspicionadds{signed(100 * found['excess'], 1)}points" in text
    assert Page(after).text != Page(before).text


def test_what_adjudicators_settle_counts(project):
    path = Path("data/annotations/round_1/adjudication/chen.jsonl")
    path.parent.mkdir()
    row = {"item_id": "i1", "annotator": "chen", "round": 1, "label": "not_needed", "at": "2024-01-02T00:00:00Z"}
    path.write_text(json.dumps(row) + "\n")
    page = Page(report())
    assert "Round 2 asked about 20 items: 17 kept their label, 3 were turned over." in page.text
    assert "chen (adjudicator) not needed" in page.text
    assert "data/annotations/round_1/adjudication/chen.jsonl" in page.text


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--round=3"], "expected answers of round 3 in round_3/<annotator>.jsonl; rounds that have some: 1, 2."),
        (["--rung=tiny"], "data/predictions/vanilla lacks predictions of 1 untouched model(s)"),
        (["--rung=a-b"], "expected a letter, then letters, digits and underscores"),
    ],
)
def test_what_cannot_be_reported_is_refused(project, options, expected):
    Path("data/predictions/vanilla/a-b.parquet").write_bytes(b"")
    if "tiny" in options[0]:
        assert expected in Page(report(*options)).text
        return
    assert expected in report(*options, code=1)
    assert not Path("page.html").exists()


def test_damaged_inputs_are_refused_without_a_text(project):
    write_log(Path("data/annotations"), 3, "li", [("gone", "needed")])
    assert "round_3: expected answers about the questions at hand, got none." in report("--round=3", code=1)
    shutil.rmtree("data/annotations/round_3")
    write_predictions(Path("data/predictions/vanilla/small.parquet"), project[:50], 1.0)
    assert "expected predictions for all 240 items, 190 are missing" in report(code=1)
    Path("data/questions.parquet").write_bytes(b"no parquet")
    assert "data/questions.parquet: expected a parquet file" in report(code=1)


def test_questions_with_one_id_twice_are_refused(project):
    rows = [{name: row[name] for name in QUESTIONS.names} for row in project]
    write_rows(Path("data/questions.parquet"), [*rows, rows[0]], QUESTIONS)
    output = report(code=1)
    assert "data/questions.parquet: expected an id of its own" in output
    assert SECRET not in output


def test_effects_are_those_of_scoring_the_labels_again():
    generator = np.random.default_rng(0)
    references, answers = generator.integers(0, 2, 60), generator.integers(0, 3, 60)
    names = ("needed", "not_needed")
    rows, back = [], []
    for place, old in ((3, None), (5, names[1 - references[5]]), (8, names[1 - references[8]])):
        rows.append(Change(f"i{place}", old, names[references[place]]))
        changed, kept = references.copy(), np.ones(60, dtype=bool)
        if old is None:
            kept[place] = False
        else:
            changed[place] = names.index(old)
        back.append((changed[kept], answers[kept]))
    found = effects(count_cells(references, answers), put_back(rows, answers[[3, 5, 8]]))

    def macro(labels, given):
        return f1_score(labels, given, labels=[0, 1], average="macro", zero_division=0)

    def needed(labels, given):
        return f1_score(labels, given, labels=[0], average="macro", zero_division=0)

    for effect, (labels, given) in zip(found, back, strict=True):
        assert effect.macro_f1 == pytest.approx(macro(references, answers) - macro(labels, given))
        assert effect.first == pytest.approx(needed(references, answers) - needed(labels, given))


def test_an_item_that_left_is_put_back_as_one_more():
    row = Change("i", "needed", "unsure")
    assert put_back([row], np.array([2])).tolist() == [[0, 0, 1, 0, 0, 0]]


def test_a_matrix_holds_what_occurs_and_in_one_order():
    kinds = (("needed", "not_needed"), ("disagreed", "needed"), ("disagreed", "disagreed"), (None, "needed"))
    changed = [Change(str(number), *pair) for number, pair in enumerate(kinds)]
    assert matrix(changed) == (
        ["needed", "not_needed", "disagreed"],
        [("needed", [0, 1, 0]), ("disagreed", [1, 0, 1]), (None, [1, 0, 0])],
    )
    assert [change.kind() for change in changed] == ["flipped", "settled", "open", "new"]
    assert Change("i", Label.NEEDED.value, "disagreed").kind() == "flipped"


def test_ticks_are_round_and_labels_do_not_run_into_each_other():
    assert round_values(-0.0021, 0.0312) == [0.0, 0.01, 0.02, 0.03]
    assert round_values(0.48, 0.72) == [0.5, 0.55, 0.6, 0.65, 0.7]
    assert decimals([0.5, 0.55]) == 2
    assert [tick.label for tick in spread_labels([PlotTick(0, "a"), PlotTick(10, "b"), PlotTick(80, "c")])] == [
        "",
        "b",
        "c",
    ]


def test_larger_models_stand_further_right_and_better_ones_higher():
    found = [
        Score(Model(Rung(f"m{params}", params), 0, False, None), Interval(value, value - 0.02, value + 0.02))
        for params, value in ((1_000, 0.5), (2_000, 0.6), (16_000, 0.9))
    ]
    plot = scaling_plot("p", "precision", [("round 1", "now", found)])
    marks = plot.series[0].marks
    assert marks[0].x < marks[1].x < marks[2].x
    assert marks[0].y > marks[1].y > marks[2].y
    assert marks[2].x - marks[1].x == pytest.approx(3 * (marks[1].x - marks[0].x), abs=0.3)
    assert all(mark.high < mark.y < mark.low for mark in marks)
    assert all(plot.top <= y <= plot.bottom for mark in marks for y in (mark.high, mark.low))
    assert not plot.mixtures
    assert scaling_plot("p", "precision", [("round 1", "now", found[:1])]) is None


def test_words():
    assert (signed(-0.0123), signed(None), signed(-0.0), plain(0.5)) == ("−0.012", "–", "+0.000", "0.50")
    assert direction("needed", "not_needed") == "needed → not needed"
    assert (direction(None, "needed"), direction("needed", None)) == ("came in as needed", "left, was needed")


def test_a_path_outside_the_working_folder_tells_nothing_of_where_it_lies(tmp_path, monkeypatch):
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    assert shown_path(tmp_path / "secret" / "q.parquet") == "…/q.parquet"
    assert shown_path(tmp_path / "inside" / "a" / "q.parquet") == "a/q.parquet"


#: Elements that reach out of the window, those in a box of their own aside.
OVERFLOWING = """() => [...document.querySelectorAll("body *")].filter(each => !each.closest(".scroll")
    && each.getBoundingClientRect().right > window.innerWidth + 0.5).map(each => each.outerHTML.slice(0, 80))"""


@pytest.mark.slow
def test_a_browser_shows_the_page_and_asks_for_nothing(project):
    for row in project:
        row["text"] = HOSTILE + "w" * 300
        row["window"] = [{"sender": "u" * 80, "text": HOSTILE, "timestamp": None}]
    write_rows(
        Path("data/questions.parquet"), [{name: row[name] for name in QUESTIONS.names} for row in project], QUESTIONS
    )
    Path("metrics").mkdir()
    shutil.copyfile(ROOT / "metrics" / "models.json", "metrics/models.json")  # a table wider than a telephone
    report()
    address = Path("page.html").resolve().as_uri()
    with chromium() as browser:
        for width, scheme in ((360, "light"), (1200, "dark")):
            context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
            page = context.new_page()
            said, asked = [], []
            page.on("console", lambda message, said=said: said.append(message.text))
            page.on("pageerror", lambda error, said=said: said.append(str(error)))
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.goto(address)
            assert page.title() == "Round 2 of annotation: PASS"
            assert len(page.locator("h2").all()) == 8
            # The style sheet is in force, so the policy lets it pass.
            assert page.evaluate("getComputedStyle(document.querySelector('.badge')).fontWeight") == "700"
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate(OVERFLOWING) == []
            if width > 1000:
                wide = "document.querySelector('[aria-labelledby=table-tuned]')"
                assert page.evaluate(f"{wide}.scrollWidth <= {wide}.clientWidth")
            page.emulate_media(media="print")
            page.set_viewport_size({"width": 718, "height": 1000})  # A4 less its margins
            assert page.evaluate("document.documentElement.scrollWidth") <= 718
            assert asked == [address]
            assert said == []
            context.close()
