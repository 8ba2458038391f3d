"""Questions written out: rows that teach it, an adapter that learns it, what it writes, and what that is worth."""

import json

import numpy as np
import pytest
from model_fixtures import PROMPT, TRAINING, options, run, write_questions

from chatladder.evaluation.rewriting import rouge_l_of
from chatladder.io.rows import LABELLED, PREDICTIONS, REWRITES, REWRITTEN, TURNS, read_rows, write_rows
from chatladder.models.prompts import plain, render_rewrite, rewrite_read, rewritten, without_oldest
from stages.rewrite import main as rewrite
from stages.score_rewrites import main as score_rewrites
from stages.to_alpaca import main as to_alpaca
from stages.train import main as train

ASKED, OTHER = "u00000001", "u00000002"


def written_out(row):
    return f"雨伞{row['item_id'][1:]}号的新版好用吗？"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Labelled questions, of which the needed ones are written out, and alpaca rows of both kinds."""
    folder = tmp_path_factory.mktemp("rewriting")
    rows = write_questions(folder / "labelled.parquet", 80)
    needed = [row for row in rows if row["label"] == "needed"]
    write_rows(
        folder / "rewrites.parquet",
        [
            {"item_id": row["item_id"], "annotator": "li", "rewrite": written_out(row), "chosen": True}
            for row in needed
            if row["item_id"] != "q1"
        ],
        REWRITES,
    )
    labelled = ("--labelled", folder / "labelled.parquet", "--rewrites", folder / "rewrites.parquet")
    result = run(to_alpaca, *labelled, *PROMPT, "--out", folder / "alpaca", "--rewriting", folder / "rewriting")
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def writer(project, tiny_base):
    """The adapter that learned to write, by the output of its training."""
    settings = TRAINING | {"num-train-epochs": 6, "early-stopping-patience": 6, "deciding-weight": 3}
    folders = ["--out", project / "writer", "--curves", project / "curves"]
    result = run(train, "--base", tiny_base, "--alpaca", project / "rewriting", *options(settings), *folders)
    assert result.exit_code == 0, result.output
    return result.output


# Rows


def row_of(text, window=(), **rest):
    said = [{"sender": sender, "text": words, "timestamp": None} for sender, words in window]
    return {"item_id": "q", "sender": ASKED, "text": text, "window": said, **rest}


def test_rows_are_what_somebody_wrote_and_as_many_that_stay(project):
    rows = json.loads((project / "rewriting" / "train.json").read_text(encoding="utf-8"))
    outputs = {row["item_id"]: row["output"] for row in rows}
    assert "q1" not in outputs  # needed, and nobody wrote it out
    needed = [item_id for item_id in outputs if int(item_id[1:]) % 2]
    assert len(needed) == 19
    assert len(outputs) == 2 * len(needed)
    assert all(outputs[item_id] == written_out({"item_id": item_id}) for item_id in needed)
    assert all(outputs[item_id] == f"雨伞{item_id[1:]}号好用吗？" for item_id in outputs if item_id not in needed)
    assert all(row["options"] == {} and row["input"] == "" for row in rows)


def test_a_long_text_takes_no_room_from_the_prompts(project, tmp_path):
    """The longest text decides how much of every prompt is read: in a real chat nearly all lost their history."""
    rows = read_rows(project / "labelled.parquet", LABELLED).to_pylist()
    for row in rows:
        if row["item_id"] in ("q0", "q2"):
            row["text"] = row["text"] * 40
    write_rows(tmp_path / "labelled.parquet", rows, LABELLED)
    labelled = ("--labelled", tmp_path / "labelled.parquet", "--rewrites", project / "rewrites.parquet")
    assert run(to_alpaca, *labelled, *PROMPT, "--out", tmp_path / "a", "--rewriting", tmp_path / "r").exit_code == 0
    learned = json.loads((tmp_path / "r" / "train.json").read_text(encoding="utf-8"))
    assert max(len(row["output"]) for row in learned) <= 256
    assert len(learned) == 38 - 1  # 19 that are needed, and the 18 short ones of the others


def test_people_have_numbers_in_what_is_read_and_in_what_is_learned():
    row = row_of(f"@{OTHER} 它呢？\n@{OTHER}: 好吗", [(OTHER, f"@{ASKED} 买了雨伞")])
    instruction = render_rewrite(row, "zh").instruction
    assert "用户1：@用户2 买了雨伞\n" in instruction
    assert "用户2：@用户1 它呢？⏎@用户1: 好吗\n" in instruction
    assert rewritten(row, f"@{OTHER} 的雨伞\n好吗", "zh") == "@用户1 的雨伞 好吗"
    assert rewritten(row, "u0000000f 的雨伞", "zh") == "u0000000f 的雨伞"  # of nobody in the prompt


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"@{OTHER} 它呢？", "它呢？"),
        (f"{OTHER}, {ASKED}: it?", "it?"),
        (f"ask @{OTHER}?", f"ask @{OTHER}?"),
        (f"@{OTHER}", f"@{OTHER}"),
        (f"@{OTHER} a\nb", "a\nb"),
    ],
)
def test_whom_a_question_addresses_is_no_part_of_it(text, left):
    assert plain(text) == left


def test_a_prompt_to_write_loses_its_oldest_line():
    row = row_of("它呢？", [(OTHER, "旧的"), (ASKED, "新的")])
    shorter = without_oldest(render_rewrite(row, "zh").instruction)
    assert shorter is not None
    assert "旧的" not in shorter
    assert "新的" in shorter


@pytest.mark.parametrize(
    ("written", "read"), [("  雨伞  呢？\n因为", "雨伞 呢？"), ("\n \n雨伞", "雨伞"), ("", "它呢？"), ("\n", "它呢？")]
)
def test_the_first_line_counts_and_without_one_the_question_stays(written, read):
    assert rewrite_read(row_of(f"@{OTHER} 它呢？", [(OTHER, "雨伞")]), written, "zh") == read


def test_a_text_without_an_end_is_no_rewrite():
    row = row_of(f"@{OTHER} 它呢？", [(OTHER, "雨伞")])
    assert rewrite_read(row, "雨伞怎么卖，" * 12, "zh") == "它呢？"
    assert rewrite_read(row, "雨伞呢" + "？" * 40, "zh") == "它呢？"
    assert rewrite_read(row, "雨伞？雨伞？", "zh") == "雨伞？雨伞？"
    # What people repeat themselves is copied.
    assert rewrite_read(row_of("它呢" + "？" * 20, []), "雨伞呢" + "？" * 20, "zh") == "雨伞呢" + "？" * 20


def test_both_options_of_the_rows_go_together(project, tmp_path):
    result = run(
        to_alpaca, "--labelled", project / "labelled.parquet", *PROMPT, "--out", tmp_path / "a", "--rewriting", "b"
    )
    assert result.exit_code == 2
    assert "--rewrites and --rewriting: expected both or neither" in result.output
    assert not (tmp_path / "a").exists()


# Training and writing


def test_an_adapter_learns_texts(project, writer):
    assert "deciding" not in writer
    assert "coin" not in writer
    ended = json.loads((project / "writer" / "training.json").read_text())
    assert not [name for name in ended if "deciding" in name]
    losses = np.loadtxt(project / "curves/plots/metrics/validation/loss.tsv", skiprows=1)[:, -1]
    assert losses[-1] < losses[0]
    assert not (project / "curves/plots/metrics/validation/macro_f1.tsv").exists()


def test_a_rung_writes_out_each_question_of_a_split(project, writer, tiny_base, tmp_path, monkeypatch):
    # These tiny models find no end, so what they write, by which they differ, is read as the questions.
    written_by: list[str] = []

    def read(row, text, language):
        written_by.append(text)
        return rewrite_read(row, text, language)

    monkeypatch.setattr("stages.rewrite.rewrite_read", read)
    asked = ("--labelled", project / "labelled.parquet", "--language", "zh", "--max-length", 512)
    texts, raw = {}, {}
    for name, adapter in {"vanilla": (), "tuned": ("--adapter", project / "writer")}.items():
        result = run(rewrite, "--base", tiny_base, *adapter, *asked, "--out", tmp_path / f"{name}.parquet")
        assert result.exit_code == 0, result.output
        raw[name] = written_by.copy()
        rows = read_rows(tmp_path / f"{name}.parquet", REWRITTEN).to_pylist()
        assert len(rows) == len(raw[name]) == 20
        some = (*adapter, *asked, "--rewrites", project / "rewrites.parquet", "--out", tmp_path / "some.parquet")
        assert run(rewrite, "--base", tiny_base, *some).exit_code == 0
        written = read_rows(tmp_path / "some.parquet", REWRITTEN).to_pylist()
        assert written == [row for row in rows if int(row["item_id"][1:]) % 2]
        texts[name] = [row["text"] for row in rows]
        written_by.clear()
    assert raw["vanilla"] != raw["tuned"]
    assert all(text and "\n" not in text for text in texts["tuned"])


def test_a_split_without_questions_is_refused(project, tiny_base, tmp_path):
    rows = [row for row in write_questions(tmp_path / "all.parquet") if row["split"] == "train"]
    write_rows(tmp_path / "train.parquet", rows, LABELLED)
    asked = ("--labelled", tmp_path / "train.parquet", "--language", "zh", "--max-length", 512)
    result = run(rewrite, "--base", tiny_base, *asked, "--out", tmp_path / "out.parquet")
    assert result.exit_code == 1
    assert "train.parquet: expected questions in test, got none" in result.output
    assert not (tmp_path / "out.parquet").exists()


# Scores


def scored(project, tmp_path, tuned, p_needed, turns=None):
    """The metrics of texts by row, with a gate that says how likely each question is needed."""
    rows = read_rows(project / "labelled.parquet", LABELLED).to_pylist()
    test = [row for row in rows if row["split"] == "test"]
    for name, text in {"vanilla": lambda row: row["text"], "tuned": tuned}.items():
        written = [
            {"item_id": row["item_id"], "seed": 0, "text": text(row)}
            for row in test
            if name == "tuned" or is_needed(row)
        ]
        write_rows(tmp_path / f"{name}.parquet", written, REWRITTEN)
    predictions = [
        {
            "item_id": row["item_id"],
            "seed": 0,
            "p_needed": p_needed(row),
            "p_not_needed": 1 - p_needed(row),
            "p_unknown": 0.0,
            "answer": "needed" if p_needed(row) > 0.5 else "not_needed",
            "parsed": True,
        }
        for row in rows
        if row["split"] != "train"
    ]
    write_rows(tmp_path / "gate.parquet", predictions, PREDICTIONS)
    searched = ("--turns", turns, "--answer-seconds", 60) if turns else ()
    result = run(
        score_rewrites,
        *("--labelled", project / "labelled.parquet", "--rewrites", project / "rewrites.parquet"),
        *("--vanilla", tmp_path / "vanilla.parquet", "--tuned", tmp_path / "tuned.parquet"),
        *("--gate", tmp_path / "gate.parquet", "--language", "zh", "--seed", 0, "--metrics", tmp_path / "m.json"),
        *searched,
    )
    assert result.exit_code == 0, result.output
    return json.loads((tmp_path / "m.json").read_text())


def is_needed(row):
    return int(row["item_id"][1:]) % 2 == 1


def test_a_model_that_writes_as_people_do_is_worth_it_where_the_gate_is_right(project, tmp_path):
    metrics = scored(project, tmp_path, written_out, lambda row: 0.9 if is_needed(row) else 0.1)
    assert (metrics["test_items"], metrics["written_out"]) == (20, 10)
    tuned, copied, policies = metrics["tuned"], metrics["copy"], metrics["policies"]
    assert (tuned["exact"], tuned["chrf"], tuned["rouge_l"]) == (1.0, 100.0, 1.0)
    assert copied["exact"] == 0
    assert 0 < copied["rouge_l"] < 1
    assert metrics["vanilla"]["chrf"] == pytest.approx(copied["chrf"])
    assert tuned["above_copy"] == pytest.approx(100 - copied["chrf"], abs=1e-4)
    # It changes every question that it writes, and the gate lets through none of those that need nothing.
    assert (policies["always"]["harm"], policies["gated"]["harm"], policies["never"]["harm"]) == (1, 0, 0)
    assert (policies["always"]["written"], policies["gated"]["written"], policies["never"]["written"]) == (100, 50, 0)
    assert policies["gated"]["chrf"] == 100
    assert policies["gated"]["above_always_lo"] > 0
    assert policies["gated"]["above_never_lo"] > 0


def test_rouge_l_is_the_f1_of_the_longest_common_subsequence_of_words():
    # Three of four words and three of five, in order; a pair of Han characters is a word; two texts without a word.
    found = rouge_l_of(["how does vim show", "它好用吗", "?"], ["how does it show lines", "伞好用吗", "!"])
    assert found == pytest.approx([2 * 3 / 9, 2 * 2 / 6, 0])


def test_words_from_nowhere_are_counted(project, tmp_path):
    metrics = scored(project, tmp_path, lambda row: row["text"] + " zebra", lambda row: 0.9 if is_needed(row) else 0.1)
    assert metrics["copy"]["invented"] == 0
    assert 0 < metrics["tuned"]["invented"] < 0.5


def test_an_answer_is_found_by_what_it_is_about(project, tmp_path):
    """Each question is answered under the name of what it asks about, which only the question written out names."""
    rows = read_rows(project / "labelled.parquet", LABELLED).to_pylist()
    turns = []
    for row in rows:
        asked = {"turn_id": row["turn_id"], "sender": row["sender"], "timestamp": row["timestamp"], "text": row["text"]}
        reply = {
            "turn_id": f"a{row['turn_id']}",
            "sender": "u9",
            "timestamp": row["timestamp"],
            "text": f"雨伞{row['item_id'][1:]}号我用过",
            "reply_to": f"m{row['turn_id']}",
        }
        for turn in (asked, reply):
            others = {"group": "g", "kind": "text", "reply_to": None, "message_ids": [f"m{turn['turn_id']}"]}
            turns.append(others | turn)
    write_rows(tmp_path / "turns.parquet", turns, TURNS)
    gate = lambda row: 0.9 if is_needed(row) else 0.1  # noqa: E731
    metrics = scored(project, tmp_path, written_out, gate, tmp_path / "turns.parquet")
    assert metrics["answered"] == 20
    never, gated = metrics["policies"]["never"], metrics["policies"]["gated"]
    assert gated["recall"] == 1
    assert never["recall"] < 0.8
    assert gated["recall_above_never_lo"] > 0
    assert gated["mrr"] > never["mrr"]


def test_questions_that_nobody_wrote_out_are_refused(project, tmp_path):
    scored(project, tmp_path, written_out, lambda row: 0.5)
    write_rows(tmp_path / "none.parquet", [], REWRITES)
    result = run(
        score_rewrites,
        *("--labelled", project / "labelled.parquet", "--rewrites", tmp_path / "none.parquet"),
        *("--vanilla", tmp_path / "vanilla.parquet", "--tuned", tmp_path / "tuned.parquet"),
        *("--gate", tmp_path / "gate.parquet", "--language", "zh", "--seed", 0, "--metrics", tmp_path / "n.json"),
    )
    assert result.exit_code == 1
    assert "none.parquet: expected test questions that somebody wrote out, got none" in result.output
    assert not (tmp_path / "n.json").exists()


def test_a_text_that_is_missing_is_named(project, tmp_path):
    scored(project, tmp_path, written_out, lambda row: 0.5)
    rows = read_rows(tmp_path / "tuned.parquet", REWRITTEN).to_pylist()
    write_rows(tmp_path / "tuned.parquet", rows[1:], REWRITTEN)
    result = run(
        score_rewrites,
        *("--labelled", project / "labelled.parquet", "--rewrites", project / "rewrites.parquet"),
        *("--vanilla", tmp_path / "vanilla.parquet", "--tuned", tmp_path / "tuned.parquet"),
        *("--gate", tmp_path / "gate.parquet", "--language", "zh", "--seed", 0, "--metrics", tmp_path / "n.json"),
    )
    assert result.exit_code == 1
    assert f"got none for 1, such as '{rows[0]['item_id']}'" in result.output
