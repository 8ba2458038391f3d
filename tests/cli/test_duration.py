"""Time of a rung: held to what was measured, and to what must grow with what."""

import pytest
import torch
from model_fixtures import write_questions

from chatladder.cli.doctor.duration import (
    EFFICIENCY,
    START,
    duration,
    forward,
    matmul_speed,
    show_duration,
    tokens_of,
    workload,
    workload_of,
)
from chatladder.io.rows import LABELLED, write_rows
from chatladder.models.memory import read_config
from chatladder.presets import known_models

QWEN, QWEN_1_5B = (read_config(known_models()[f"Qwen/Qwen2.5-{size}-Instruct"]["config"]) for size in ("0.5B", "1.5B"))
#: Operations a second of a matrix product on two cores of an EPYC with AVX512-BF16, by the type of the numbers.
FLOAT32, BFLOAT16 = 180e9, 400e9
PARAMS = {
    "questions": {"window": 12},
    "prompt": {"language": "zh"},
    "predict": {"orders": 6},
    "review": {"folds": 3},
    "max_length": 1400,
}
TRAIN = {"num_train_epochs": 1, "seeds": "0"}


def is_near(estimated, measured):
    return measured / 1.5 < estimated < measured * 1.5


def question(text, turns):
    return {"text": text, "window": [{"text": text}] * turns}


def timed(speed=BFLOAT16, params=PARAMS, judges=False, **train):
    work = workload(params, (), {"questions": 100, "train": 60, "validation": 10, "test": 30})
    return duration(QWEN, work, TRAIN | train, speed, judges=judges)


# Against what was measured.


@pytest.mark.parametrize(("speed", "measured"), [(FLOAT32, 105), (BFLOAT16, 230)])
def test_tokens_a_second_that_are_read(speed, measured):
    assert is_near(speed * EFFICIENCY * 384 / forward(QWEN, 384, 1), measured)


def test_seconds_of_a_training():
    # Of one thread's processor, beside much other work: 14.9 for each batch of 8 rows of 174 tokens.
    work = workload(PARAMS, [question("怎" * 11 + "a" * 17, 4)], {"train": 421})
    assert work.learned == pytest.approx(174, abs=25)
    settings = TRAIN | {"num_train_epochs": 2, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1}
    seconds = duration(QWEN, work, settings, BFLOAT16 / 2, judges=False).training
    assert is_near(seconds / 106, 14.9)


@pytest.mark.parametrize(("shape", "speed", "measured"), [(QWEN, FLOAT32, 756), (QWEN_1_5B, BFLOAT16, 1067)])
def test_seconds_of_the_untouched_answers_to_300_questions(shape, speed, measured):
    # 12 turns before each, of as many characters as in a real chat.
    work = workload(PARAMS, [question("怎" * 11 + "a" * 17, 12)], {"questions": 300})
    assert is_near(duration(shape, work, TRAIN, speed, judges=False).untouched, measured)


# By hand.


def test_operations():
    layers = 24 * (2 * 896 * 896 + 2 * 896 * 128 + 3 * 896 * 4864)
    assert forward(QWEN, 10, 0) == pytest.approx(2 * 10 * layers, rel=0.001)
    assert forward(QWEN, 10, 3) - forward(QWEN, 10, 0) == 2 * 3 * 896 * 151_936
    mixture = known_models()["Qwen/Qwen1.5-MoE-A2.7B-Chat"]
    shape = read_config(mixture["config"])
    tables = 2 * shape.vocab_size * shape.hidden_size
    assert forward(shape, 1, 0) == 2 * (mixture["active_params"] - tables)


def test_time_grows_with_what_is_asked():
    plain = timed()
    assert plain.folds == 0
    assert plain.total == plain.untouched + plain.training + plain.tuned
    assert timed(judges=True).folds > 2 * plain.training
    for train, factor in (
        ({"seeds": "0,1,2"}, 3),
        ({"num_train_epochs": 3}, 3),
        ({"gradient_checkpointing": True}, 3 / 2),
        ({"method": "full"}, 3 / 2),
    ):
        assert timed(**train).training - START == pytest.approx(factor * (plain.training - START))
    batched = timed(per_device_train_batch_size=4, gradient_accumulation_steps=2)
    assert batched.training < plain.training
    assert timed(per_device_train_batch_size=8) == batched  # what prompts share is passed once a batch
    assert timed(per_device_train_batch_size=8, gradient_checkpointing=True) == timed(gradient_checkpointing=True)
    assert timed(speed=2 * BFLOAT16).untouched - START == pytest.approx((plain.untouched - START) / 2)
    one = timed(params=PARAMS | {"predict": {"orders": 1}})
    assert one.untouched < plain.untouched
    assert one.training == plain.training
    assert timed(params=PARAMS | {"predict": {"orders": 6, "by": "generate"}}).untouched == one.untouched


def test_labelled_questions_of_other_chats_are_trained_on_too(tmp_path):
    rows = write_questions(tmp_path / "labelled.parquet")
    own = workload_of(PARAMS, tmp_path).trained
    (tmp_path / "other_chats").mkdir()
    write_rows(tmp_path / "other_chats/theirs.parquet", rows, LABELLED)
    assert workload_of(PARAMS, tmp_path).trained == own + len(rows)


def test_a_project_without_questions_is_assumed_to_get_some(tmp_path):
    work = workload_of(PARAMS, tmp_path)
    assert (work.questions, work.is_counted) == (500, False)
    assert work.trained + work.validated + work.tested == 500
    drawn = {**PARAMS, "questions": {"window": 12, "sample": 600}}
    assert (workload_of(drawn, tmp_path).questions, workload_of(drawn, tmp_path).is_counted) == (600, False)
    for broken in ({"questions": {"window": "x"}}, {"split": 3}, {"prompt": {"language": "xx"}}):
        assert workload_of(broken, tmp_path).questions == 500


def test_no_prompt_is_longer_than_it_may_be():
    rows = [question("怎么" * 300, 12)]
    assert workload(PARAMS | {"max_length": 300}, rows, {}).learned <= 300 < workload(PARAMS, rows, {}).learned <= 1400


def test_tokens_of_chinese_and_latin_text():
    assert tokens_of("怎么安装") == pytest.approx(2.8)
    assert tokens_of("how to install it") == pytest.approx(4.6, abs=0.1)
    assert tokens_of("") == 0


def test_a_matrix_product_is_timed():
    assert matmul_speed(torch.float32, "cpu") > 1e8


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (20, "under 1 min"),
        (61, "about 1 min"),
        (570, "about 10 min"),
        (38 * 60, "about 40 min"),
        (86 * 60, "about 85 min"),
        (88 * 60, "about 1.5 h"),
        (7.9 * 3600, "about 8 h"),
        (30 * 3600, "about 30 h"),
        (80 * 3600, "about 3 days"),
    ],
)
def test_times_are_rounded(seconds, text):
    assert show_duration(seconds) == text


def test_only_the_turns_that_a_prompt_shows_are_counted():
    rows = [{"text": "怎么", "window": [{"text": "怎么" * 100}] * 8 + [{"text": "怎么"}] * 4}]
    few = workload(PARAMS | {"prompt": {"language": "zh", "turns": 4}}, rows, {})
    assert few.learned < 150 < workload(PARAMS, rows, {}).learned
    # Without questions, texts are assumed: as many turns as there are, or fewer.
    assumed = [workload(PARAMS | {"prompt": {"turns": turns}}, (), {}).learned for turns in (4, 12, 40)]
    assert assumed[0] < assumed[1] == assumed[2]
