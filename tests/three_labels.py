"""A task of three scored labels; ``test_three_labels.py`` runs this where ``tests/tasks/urgency`` is asked."""

import json
import shutil
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from folder_models import write_model
from model_fixtures import TRAINING, options, run
from score_rows import write_base, write_params
from sklearn import metrics as sk

from chatladder.cli.answering import Gate, ModelOptions, settings_of
from chatladder.cli.export.card import _results, labels_text
from chatladder.cli.import_labelled import import_command
from chatladder.cli.report.command import report_command
from chatladder.cli.report.moves import count_cells, effects
from chatladder.cli.resolve.command import answers
from chatladder.cli.resolve.reading import Asked
from chatladder.cli.serve.command import serve_command
from chatladder.evaluation.comparison import exam_of, floor_of
from chatladder.evaluation.label_errors import Evidence, probability_needed, reasons, support
from chatladder.evaluation.predictions import Predictions, centre, log_odds_of, read_items, read_predictions
from chatladder.evaluation.scores import (
    METRICS,
    UNKNOWN,
    Draws,
    auroc,
    auroc_of,
    precision_of,
    scores,
)
from chatladder.evaluation.threshold import choose, decide
from chatladder.evaluation.word_baselines import Deals, cross_fitted, logistic, prediction_rows, targets_of
from chatladder.io.rows import LABELLED, QUESTIONS, read_rows, write_rows
from chatladder.models.prompts import LETTERS, ORDERS, PromptSettings, orders_of, render
from chatladder.training.trainer import macro_f1
from chatladder.vocabulary import ANSWERS, CHANCES, IS_BINARY, SCORED, likeliest, prediction_schema
from stages.base import main as make_base
from stages.check_scaling import main as check_scaling
from stages.evaluate import main as evaluate
from stages.label import main as label
from stages.predict import main as predict
from stages.rank_labels import main as rank_labels
from stages.summarize import main as summarize
from stages.to_alpaca import main as to_alpaca
from stages.train import main as train
from stages.word_baselines import main as word_baselines

TEXTS = {
    "now": ("the server is down again", "nothing works, help", "we lose data right now"),
    "later": ("could you update the docs some day", "please add a test next week", "it would be nice to have a map"),
    "never": ("haha, good one", "good morning to all of you", "what a nice weekend that was"),
}
RUNGS = {"small": 1_000, "medium": 4_000, "large": 16_000}


def drawn(count=400, seed=0):
    """Labels, answers with some unknown among them, probabilities of four answers, and conversations."""
    generator = np.random.default_rng(seed)
    references = generator.integers(0, 3, count)
    shares = generator.dirichlet(np.ones(4), count)
    shares[np.arange(count), references] += 0.4 * generator.random(count)
    shares /= shares.sum(axis=1, keepdims=True)
    answers = np.where(generator.random(count) < 0.6, references, generator.integers(0, 4, count))
    return references, answers, shares, generator.integers(0, 40, count)


def predictions_of(shares, answers=None):
    log_odds = log_odds_of(*shares[:, :3].T)
    count = len(shares)
    given = shares.argmax(axis=1) if answers is None else answers
    known = np.ones(count, dtype=bool)
    return Predictions(given, log_odds, shares[:, 3], known, log_odds.mean(axis=0), known)


def test_the_answers_are_those_of_the_task():
    assert SCORED == ("now", "later", "never")
    assert not IS_BINARY
    assert (*SCORED, "unknown") == ANSWERS
    assert CHANCES == ("p_now", "p_later", "p_never", "p_unknown")
    assert prediction_schema().names == ["item_id", "seed", *CHANCES, "answer", "parsed"]
    assert likeliest([0.1, 0.2, 0.6, 0.1]) == "never"
    assert likeliest([0.4, 0.2, 0.4, 0.0]) == "unknown"


def test_options_stand_in_every_order():
    settings = PromptSettings("en", "lettered", 0, "question")
    prompt = render([("u1", "hi")], "u2", "the server is down", "i1", settings)
    assert LETTERS == ("A: ", "B: ", "C: ", "D: ")
    assert prompt.instruction.count("at once") == 1
    assert len({each.instruction for each in orders_of(prompt, ORDERS)}) == ORDERS == len([*permutations(ANSWERS)])
    texts = {each.options["never"].split(": ")[0] for each in orders_of(prompt, ORDERS)}
    assert texts == {*"ABCD"}


def test_scores_are_those_of_scikit_learn_under_every_weighting():
    references, answers, shares, clusters = drawn()
    weights = np.concatenate([np.ones((1, 40)), np.random.default_rng(1).integers(0, 3, (5, 40))]).astype(float)
    found = scores(references, answers, log_odds_of(*shares[:, :3].T), clusters, weights)
    assert [*found][: len(METRICS) - 1] == [*METRICS[:-1]]
    of_labels = shares[:, :3] / shares[:, :3].sum(axis=1, keepdims=True)
    for draw, weight in enumerate(weights[:, clusters]):
        given = {"sample_weight": weight}
        every = sk.precision_recall_fscore_support(references, answers, labels=range(3), zero_division=0, **given)
        for name, of_label in zip(("precision", "recall", "f1"), every[:3], strict=True):
            assert [found[f"{name}_{label}"][draw] for label in SCORED] == pytest.approx(of_label)
        expected = {
            "accuracy": sk.accuracy_score(references, answers, **given),
            "macro_precision": every[0].mean(),
            "macro_f1": every[2].mean(),
            "balanced_accuracy": every[1].mean(),
            "mcc": sk.matthews_corrcoef(references, answers, **given),
            "unknown": np.average(answers == UNKNOWN, weights=weight),
            "auroc": sk.roc_auc_score(references, of_labels, multi_class="ovr", average="macro", **given),
        }
        assert {name: found[name][draw] for name in METRICS} == pytest.approx(expected)
    assert macro_f1(references, answers) == pytest.approx(found["macro_f1"][0])


def test_a_label_that_a_draw_lacks_has_no_part_in_its_auroc():
    references = np.array([0, 0, 1, 1, 2])
    evidence = np.array([[2, 1, 0], [1, 2, 0], [0, 3, 1], [3, 0, 1], [0, 1, np.nan]], dtype=float)
    clusters = np.arange(5)
    weights = np.array([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]], dtype=float)
    of_two = np.mean([sk.roc_auc_score(references[:4] == code, evidence[:4, code]) for code in (0, 1)])
    assert auroc(references, evidence, clusters, weights) == pytest.approx([of_two, 0.5, 0.5])


def test_the_influence_of_an_item_is_what_its_weight_changes():
    references, _, shares, _ = drawn(60)
    evidence = log_odds_of(*shares[:, :3].T)
    area, influence = auroc_of(references, evidence)
    weights = np.ones((61, 60))
    weights[1:] += 1e-6 * np.eye(60)
    values = auroc(references, evidence, np.arange(60), weights)
    assert area == pytest.approx(values[0])
    assert influence == pytest.approx((values[1:] - values[0]) / 1e-6, abs=1e-6)
    assert influence.sum() == pytest.approx(0)


def test_precision_is_that_of_all_answers_that_name_a_label():
    references, answers, _, _ = drawn()
    named = answers != UNKNOWN
    value, influence = precision_of(references, answers)
    assert value == pytest.approx(sk.accuracy_score(references[named], answers[named]))
    assert influence.sum() == pytest.approx(0)
    assert np.isnan(precision_of(references, np.full(len(references), UNKNOWN))[0])


def test_log_odds_are_of_each_label_against_the_rest():
    shares = drawn()[2]
    log_odds = log_odds_of(*shares[:, :3].T)
    of_labels = shares[:, :3] / shares[:, :3].sum(axis=1, keepdims=True)
    assert 1 / (1 + np.exp(-log_odds)) == pytest.approx(of_labels)
    assert np.isfinite(log_odds_of(*np.eye(3))).all()


def test_centring_takes_a_leaning_off_and_no_rank():
    references, _, shares, _ = drawn()
    leaning = shares * [0.05, 1, 1, 0.1]
    answers = predictions_of(leaning / leaning.sum(axis=1, keepdims=True))
    centred = centre(answers)
    assert (answers.answers == 0).mean() < 0.1 < (centred.answers == 0).mean()
    assert centred.log_odds.mean(axis=0) == pytest.approx([0, 0, 0])
    assert auroc_of(references, centred.evidence)[0] == auroc_of(references, answers.evidence)[0]
    tied = centre(predictions_of(np.full((2, 4), 0.25)))
    assert tied.answers.tolist() == [UNKNOWN, UNKNOWN]


def test_the_most_probable_option_is_the_answer():
    references, _, shares, _ = drawn()
    answers = predictions_of(shares)
    assert choose(answers, references) is None
    assert decide(answers, None) is answers


def write_items(path, count=240):
    """Messages whose label can be read off the text."""
    rows = []
    for number in range(count):
        name = SCORED[number * 7 % 5 % 3]
        rows.append(
            {"item_id": f"i{number}", "turn_id": f"t{number}", "group": "g", "conversation": f"c{number // 4}"}
            | {"sender": f"u{number % 3}", "text": f"{TEXTS[name][number % 7 % 3]} {number}"}
            | {"timestamp": 1_700_000_000 + 9_000 * number, "window": [], "label": name, "check_label": name}
            | {"agreement": 1.0, "split": ("test", "train", "train", "validation")[number // 4 % 4]}
        )
    write_rows(path, rows, LABELLED)
    return rows


def write_predictions(path, rows, skill, seed=0, missing=()):
    generator = np.random.default_rng(seed)
    predictions = []
    for row in rows:
        scores = generator.normal(size=4)
        scores[SCORED.index(row["label"])] += skill
        scores[0] += 1  # all lean to the first label
        shares = np.exp(scores) / np.exp(scores).sum()
        is_known = row["item_id"] not in missing
        chances = dict(zip(CHANCES, shares.tolist() if is_known else (None,) * 4, strict=True))
        answer = ANSWERS[shares.argmax()] if is_known else "unknown"
        predictions.append({"item_id": row["item_id"], "seed": 0, **chances, "answer": answer, "parsed": is_known})
    write_rows(path, predictions, prediction_schema())


def test_a_missing_probability_speaks_for_no_label(tmp_path):
    rows = write_items(tmp_path / "labelled.parquet")
    write_predictions(tmp_path / "p.parquet", rows, 1.0, missing=("i3",))
    read = read_predictions(tmp_path / "p.parquet", [row["item_id"] for row in rows])
    assert read.known.tolist() == [row["item_id"] != "i3" for row in rows]
    assert read.log_odds.shape == (240, 3)
    assert read.log_odds[3].tolist() == np.asarray(read.mean_log_odds).tolist()
    assert np.isnan(read.evidence[3]).all()
    assert read.log_odds[read.known].mean(axis=0) == pytest.approx(read.mean_log_odds)


def test_the_floor_is_the_most_frequent_label_of_the_training_rows(tmp_path):
    rows = write_items(tmp_path / "labelled.parquet")
    for row in rows:
        if row["split"] == "train":
            row["label"] = "later" if int(row["item_id"][1:]) % 3 else "now"
    write_rows(tmp_path / "labelled.parquet", rows, LABELLED)
    exam = exam_of(tmp_path / "labelled.parquet", Draws(0, 100))
    floor = floor_of(exam, tmp_path / "labelled.parquet")
    assert set(floor.seeds[0].answers.tolist()) == {SCORED.index("later")}
    assert floor.of("auroc").mean.value == 0.5
    assert not len(exam.pairs)


def test_classifiers_give_each_label_a_probability():
    labels = targets_of([SCORED[number % 3] for number in range(90)])
    features = np.eye(3)[labels] + np.random.default_rng(0).normal(0, 0.3, (90, 3))
    conversations = [f"c{number // 9}" for number in range(90)]
    shares = cross_fitted(features, labels, conversations, logistic, Deals(3, 2, 0))
    assert shares.sum(axis=1) == pytest.approx(np.ones(90))
    assert (shares.argmax(axis=1) == labels).mean() > 0.9
    # One label was never seen: nothing is said of it.
    of_two = logistic(features[labels != 1], labels[labels != 1], features)
    assert not of_two[:, 1].any()
    assert of_two.sum(axis=1) == pytest.approx(np.ones(90))
    rows = prediction_rows([{"item_id": f"i{number}"} for number in range(90)], shares)
    assert [row["answer"] for row in rows] == [SCORED[place] for place in shares.argmax(axis=1)]
    assert rows[4]["p_later"] == shares[4, 1]
    assert {row["p_unknown"] for row in rows} == {0.0}


def test_suspects_are_the_labels_that_the_evidence_contradicts():
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 3, 300)
    labels = truth.copy()
    labels[:15] = (truth[:15] + 1) % 3
    sources = {}
    for name, skill in (("a", 1.5), ("b", 2.5)):
        scores = generator.normal(size=(300, 3))
        scores[np.arange(300), truth] += skill
        sources[name] = log_odds_of(*(np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)).T)
    evidence = Evidence({}, sources, {})
    conversations = [f"c{number // 3}" for number in range(300)]
    shares = probability_needed(evidence, np.zeros((300, 1)), labels, conversations, seed=0)
    assert shares.sum(axis=1) == pytest.approx(np.ones(300))
    doubt = 1 - shares[np.arange(300), labels]
    assert (np.argsort(-doubt)[:15] < 15).mean() > 0.6
    own = support(sources["a"], labels)
    assert ((own > 0) == (sources["a"].argmax(axis=1) == labels)).all()
    words = list(reasons(evidence, labels, np.zeros(300, dtype=bool)))
    row = next(row for row in range(15) if all((each.argmax(axis=1) == truth)[row] for each in sources.values()))
    first, second = sorted(sources, key=lambda name: support(sources[name], labels)[row])
    assert words[row] == f"2 of 2 sources say {SCORED[truth[row]]}: tuned {first}, tuned {second}"


def test_sources_that_say_different_labels_are_named_apart():
    evidence = Evidence({}, {"a": np.array([[0.0, 2.0, 1.0]]), "b": np.array([[0.0, 1.0, 3.0]])}, {})
    said = next(reasons(evidence, np.array([0]), np.array([False])))
    assert said == "1 of 2 sources say never: tuned b; 1 of 2 sources say later: tuned a"


def test_a_label_put_back_moves_the_scores():
    references, answers, _, _ = drawn()
    counts = count_cells(references, answers)
    back = np.zeros((1, len(counts)))
    old, new = references.copy(), references[0]
    old[0] = (new + 1) % 3
    back[0] += count_cells(old, answers) - counts
    (effect,) = effects(counts, back)
    now, before = (sk.accuracy_score(each, answers) for each in (references, old))
    assert effect.first == pytest.approx(now - before)


def test_commands_of_two_labels_say_so(tmp_path):
    for command, arguments in ((serve_command, ["small"]), (import_command, [__file__, "--out", tmp_path / "a"])):
        result = run(command, *arguments)
        assert result.exit_code == 1, result.output
        assert "expected a task of two scored labels, got urgency, which has 3." in result.output
    with pytest.raises(Exception, match="is for a task of two labels"):
        settings_of("small", ModelOptions(cost_missed=1.0, cost_needless=2.0), {})
    assert labels_text(
        {"now": 3, "later": 2, "never": 1, "round": 1, "annotators": {"li": {}}, "disagreed": 0, "rounds": {}}
    ).startswith("3 now, 2 later and 1 never, after 1 round(s)")


@pytest.fixture
def answered(tmp_path):
    """Labelled messages, and three made-up rungs that know the more the larger they are."""
    rows = write_items(tmp_path / "labelled.parquet")
    write_params(tmp_path / "params.yaml", RUNGS)
    (tmp_path / "predictions" / "out_of_fold").mkdir(parents=True)
    for seed, (key, params) in enumerate(RUNGS.items()):
        write_base(tmp_path / "bases", key, params)
        write_predictions(tmp_path / "predictions" / "vanilla" / f"{key}.parquet", rows, 0.5 + seed, seed)
        write_predictions(tmp_path / "predictions" / "tuned" / f"{key}.parquet", rows, 2.0 + seed, 9 + seed)
    return rows


def gathered(folder):
    return ["--params", folder / "params.yaml", "--labelled", folder / "labelled.parquet", "--bases", folder / "bases"]


def test_agreement_grows_with_the_size_of_models(answered, tmp_path):
    result = run(check_scaling, *gathered(tmp_path), "--predictions", tmp_path / "predictions", "--margin", 0.005,
                 "--metrics", tmp_path / "scaling.json", "--plots", tmp_path / "plots")  # fmt: skip
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "scaling.json").read_text())
    assert metrics["auroc"]["slope"] > 0
    assert metrics["precision"]["slope"] > 0
    references = np.array([SCORED.index(row["label"]) for row in answered])
    drawn = [line.split(",") for line in (tmp_path / "plots" / "rungs.csv").read_text().splitlines()]
    for key in RUNGS:
        rows = read_rows(tmp_path / "predictions" / "vanilla" / f"{key}.parquet", prediction_schema()).to_pylist()
        shares = np.array([[row[name] for name in CHANCES[:3]] for row in rows])
        shares /= shares.sum(axis=1, keepdims=True)
        (value,) = (float(row[5]) for row in drawn if row[:2] == ["auroc", key])
        assert value == pytest.approx(sk.roc_auc_score(references, shares, multi_class="ovr"), abs=1e-5)


QUESTION_COUNTS = {
    "raw_lines": 300, "messages": 300, "turns": 250, "questions": 240,
    "left_out": {"not_text": 6, "below_rules": 4},
}  # fmt: skip


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Messages that two people labelled, a tiny model of random weights, and a larger one whose answers are made up."""
    monkeypatch.chdir(tmp_path)
    rows = write_items(tmp_path / "all.parquet")
    write_rows(
        tmp_path / "questions.parquet", [{name: row[name] for name in QUESTIONS.names} for row in rows], QUESTIONS
    )
    for name in ("li", "wu"):
        log = tmp_path / "annotations" / "round_1" / f"{name}.jsonl"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as lines:
            for number, row in enumerate(rows):
                given = "unsure" if number == 5 and name == "wu" else row["label"]
                answer = {"item_id": row["item_id"], "annotator": name, "round": 1, "label": given}
                lines.write(json.dumps({**answer, "at": "2024-01-01T00:00:00Z"}) + "\n")
    write_params(tmp_path / "params.yaml", ("small", "large"))
    model = write_model(tmp_path / "model", hidden_size=16)
    whose = ["--source", "folder", "--path", model, "--language", "en", "--answer", "text"]
    done(make_base, *whose, "--out", tmp_path / "bases" / "small")
    write_base(tmp_path / "bases", "large", 1_000_000)
    for kind, skill in (("vanilla", 1.0), ("tuned", 3.0)):
        (tmp_path / "predictions" / kind).mkdir(parents=True)
        write_predictions(tmp_path / "predictions" / kind / "large.parquet", rows, skill)
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "questions.json").write_text(json.dumps(QUESTION_COUNTS))
    return tmp_path


def done(command, *arguments):
    result = run(command, *arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_whole_graph(project):
    prompt = ["--language", "en", "--answer", "text", "--seed", 0]
    labelled, tables = ["--labelled", "labelled.parquet"], ["--rewrites", "rewrites.parquet"]
    said = done(
        label, "--questions", "questions.parquet", "--annotations", "annotations", "--out", "labelled.parquet",
        "--round", 1, "--orphans", "refuse", "--test", 0.3, "--validation", 0.2, "--metrics", "metrics/annotation.json",
        "--label-sets", "sets.parquet", *tables,
    )  # fmt: skip
    assert "239 of 240 annotated items labelled" in said
    counts = json.loads((project / "metrics" / "annotation.json").read_text())
    assert sum(counts[name] for name in SCORED) == 239
    done(to_alpaca, *labelled, *tables, *prompt, "--out", "alpaca", "--rewriting", "rewriting")
    rows = json.loads((project / "alpaca" / "train.json").read_text())
    assert {row["output"] for row in rows} == {"at once", "later", "not at all"}
    assert {*rows[0]["options"]} == {*ANSWERS}
    asked = [*prompt, "--max-length", 512, "--orders", 2]
    settings = options(TRAINING | {"num-train-epochs": 1, "per-device-train-batch-size": 16, "max-length": 512})
    base, adapter = ["--base", "bases/small"], ["--adapter", "adapters/small"]
    done(predict, *base, "--questions", "questions.parquet", *asked, "--out", "predictions/vanilla/small.parquet")
    done(train, *base, "--alpaca", "alpaca", *settings, "--out", "adapters/small", "--curves", "curves/small")
    shutil.copytree("curves/small", "curves/large")
    asked += ["--splits", "validation", "--splits", "test"]
    done(
        predict, *base, *adapter, "--questions", "labelled.parquet", *asked, "--out", "predictions/tuned/small.parquet"
    )
    words = [*labelled, "--folds", 3, "--repeats", 1, "--seed", 0, "--out", "predictions/words"]
    said = done(word_baselines, *words, "--baselines", "predictions/baselines")
    assert float(said.split("line ")[1][:5]) > 0.9
    (project / "predictions" / "out_of_fold").mkdir()
    given = [*gathered(project), "--predictions", "predictions"]
    done(check_scaling, *given, "--label-sets", "sets.parquet", "--margin", 0.005, "--metrics", "metrics/scaling.json")
    said = done(rank_labels, *given, "--share", 0.1, "--seed", 0, "--out", "review", "--metrics", "metrics/review.json")
    assert " now, " in said
    review = json.loads((project / "metrics" / "review.json").read_text())
    assert review["suspects"] == sum(review[f"suspects_{name}"] for name in SCORED) > 0
    assert review["auroc"] > 0.9  # the classifiers of words know
    said = done(
        evaluate, *gathered(project), "--vanilla", "predictions/vanilla", "--tuned", "predictions/tuned", "--baselines",
        "predictions/baselines", "--curves", "curves", "--seed", 0, "--draws", 100, "--metrics", "metrics/models.json",
        "--plots", "plots",
    )  # fmt: skip
    assert "threshold" not in said
    models = json.loads((project / "metrics" / "models.json").read_text())
    exam = read_items(project / "labelled.parquet", "test")
    assert models["test_labels"] == {name: int((exam.references == code).sum()) for code, name in enumerate(SCORED)}
    tuned = read_predictions(project / "predictions" / "tuned" / "large.parquet", exam.ids)
    expected = sk.f1_score(exam.references, tuned.answers, labels=range(3), average=None, zero_division=0)
    assert [models["large"]["tuned"][f"f1_{name}"] for name in SCORED] == pytest.approx(expected, abs=1e-5)
    assert models["large"]["tuned"]["thresholds"] == {"0": None}
    assert {*models["baselines"]} == {"counts", "line", "trees"}
    assert models["large"]["tuned"]["calibration_error"]["as_answered"] >= 0
    confusion = (project / "plots" / "confusion.csv").read_text().splitlines()
    assert len(confusion) == 1 + 2 * 2 * 3 * 4
    said = done(summarize, "--metrics", "metrics", "--out", "metrics/summary.md", "--plots", "metrics/plots")
    assert "AUROC  accuracy  macro-P  macro-R  macro-F1" in said
    assert "most frequent label" in said
    assert "239 labelled in 1 round(s)" in said
    done(report_command, "--annotations", "annotations", "--questions", "questions.parquet", "--labelled",
         "labelled.parquet", "--bases", "bases", "--vanilla", "predictions/vanilla", "--tuned", "predictions/tuned",
         "--out", "page.html")  # fmt: skip
    assert " later, " in (project / "page.html").read_text()
    results = _results(models, "large")
    assert results["labels"] == "{now} now, {later} later and {never} never".format(**models["test_labels"])
    assert [row[0] for row in results["rows"]][:2] == ["accuracy", "macro precision"]
    gate = Gate(*load_pair(project), settings_of(None, ModelOptions(folder=project), GIVEN))
    asked = [Asked(row, {"text": row["text"]}) for row in read_rows(project / "labelled.parquet", LABELLED).to_pylist()]
    (told,) = answers(asked[:1], gate, Counter())
    assert [*told] == ["text", "label", "probabilities"]
    assert told["label"] in ANSWERS
    assert [*told["probabilities"]] == [*ANSWERS]
    assert sum(told["probabilities"].values()) == pytest.approx(1, abs=1e-4)


GIVEN = {
    "gap_seconds": 30, "min_characters": 1, "rules_threshold": 5.0, "window": 3, "conversation_gap": 600,
    "max_conversation_turns": 50, "reply_reach": 0, "language": "en", "answer": "text", "seed": 0, "max_length": 512,
}  # fmt: skip


def load_pair(project):
    from chatladder.models.loading import load

    return load(project / "bases" / "small", project / "adapters" / "small")
