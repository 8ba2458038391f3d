"""Answers that a model writes, greedily, and what is read of them."""

import pytest
from model_fixtures import PROMPT, TINY, TRAINING, options, run, write_questions

from chatladder.io.rows import PREDICTIONS, read_rows
from chatladder.models.generating import generate, named_rows
from chatladder.models.loading import load
from chatladder.models.prompts import PromptSettings, render_row
from chatladder.models.scoring import score
from chatladder.vocabulary import ANSWERS
from stages.base import main as base
from stages.predict import main as predict
from stages.train import main as train

#: Enough to end an answer after one option, and to give now one and now another.
TAUGHT = TINY | {
    "hidden-size": 16,
    "num-attention-heads": 2,
    "intermediate-size": 48,
    "dialogues": 1280,
    "learning-rate": 0.02,
    "muon-learning-rate": 0.02,
}


@pytest.fixture(scope="module")
def taught(tiny_alpaca, tmp_path_factory):
    folder = tmp_path_factory.mktemp("taught")
    result = run(base, "--source", "embedded", *options(TAUGHT), "--out", folder / "base")
    assert result.exit_code == 0, result.output
    outs = ["--out", folder / "adapter", "--curves", folder / "curves"]
    result = run(
        train,
        "--base",
        folder / "base",
        "--alpaca",
        tiny_alpaca,
        *options(TRAINING | {"num-train-epochs": 30, "method": "full"}),
        *outs,
    )
    assert result.exit_code == 0, result.output
    return load(folder / "base", folder / "adapter")


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    rows = write_questions(tmp_path_factory.mktemp("asked") / "labelled.parquet")
    return rows, [render_row(row, PromptSettings("zh", "text", 0)) for row in rows]


def answers(model, tokenizer, prompts, **options):
    part = generate(model, tokenizer, prompts, 512, **options)
    return dict(zip(part.indices, part.texts, strict=True))


def test_a_trained_model_writes_the_option_that_scores_highest(taught, asked):
    (model, tokenizer), (rows, prompts) = taught, asked
    texts = answers(model, tokenizer, prompts)
    named = named_rows(rows, prompts, [texts[number] for number in range(len(prompts))], seed=3)
    scores, _ = score(model, tokenizer, prompts, 512)
    assert all(row["parsed"] for row in named)
    assert [row["answer"] for row in named] == [ANSWERS[best] for best in scores.argmax(axis=1)]
    assert len({row["answer"] for row in named}) > 1
    assert all((row["seed"], row["p_needed"], row["p_unknown"]) == (3, None, None) for row in named)


def test_answers_depend_on_no_batch_and_no_neighbour(taught, asked):
    model, tokenizer = taught
    together = answers(model, tokenizer, asked[1])
    assert together == answers(model, tokenizer, asked[1])
    halves = [answers(model, tokenizer, asked[1], number=number, parts=2) for number in (0, 1)]
    assert together == halves[0] | halves[1]
    for number in (0, 7):
        assert answers(model, tokenizer, [asked[1][number]]) == {0: together[number]}


def test_own_settings_of_decoding_do_not_count(tiny_base, asked):
    model, tokenizer = load(tiny_base)  # of its own, since the settings of this one change
    before = answers(model, tokenizer, asked[1])
    model.generation_config.update(do_sample=True, temperature=5.0, top_p=0.9, repetition_penalty=3.0)
    assert answers(model, tokenizer, asked[1]) == before


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("需要", "needed"),
        (" 完整。\n", "not_needed"),
        ('{"answer": "难说"}', "unknown"),
        ("<think>\n需要\n</think>\n完整", "not_needed"),
        ("需要/完整/难说", None),
        ("我认为需要", None),
        ("", None),
    ],
)
def test_what_a_model_writes_is_an_option_and_nothing_else(asked, text, answer):
    (row,) = named_rows(asked[0][:1], asked[1][:1], [text])
    assert (row["answer"], row["parsed"]) == (answer or "unknown", answer is not None)


def test_the_stage_counts_what_it_could_not_read(tiny_base, tiny_adapter, labelled, tmp_path):
    arguments = [
        "--base",
        tiny_base,
        "--adapter",
        tiny_adapter,
        "--questions",
        labelled,
        *PROMPT,
        "--max-length",
        512,
        "--by",
        "generate",
    ]
    out = tmp_path / "p.parquet"
    result = run(predict, *arguments, "--out", out)
    assert result.exit_code == 0, result.output
    rows = read_rows(out, PREDICTIONS).to_pylist()
    unread = sum(not row["parsed"] for row in rows)
    assert result.output.endswith(f": 24 answers ({unread} none of the options), 0 prompts shortened to 512 tokens\n")
    assert {row["answer"] for row in rows if not row["parsed"]} <= {"unknown"}
    assert {row["p_needed"] for row in rows} == {None}
