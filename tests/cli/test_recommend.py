"""What is recommended: models that know the language, and as many sizes as the machine runs in two hours."""

from dataclasses import replace
from pathlib import Path

import pytest

from chatladder.cli.doctor.memory import Machine, facts_of, need, training_of
from chatladder.cli.doctor.recommend import FOR_LANGUAGE, LONGEST, describe, misfits, recommend
from chatladder.presets import CHAT_LANGUAGES, names, read

GIB = 1024**3
CORES = Machine(22 * GIB, (), (), 500 * GIB, Path("cache"), cores=2, dtype="bfloat16", speed=400e9)
OLD_CORES = replace(CORES, dtype="float32", speed=180e9)
LAPTOP = replace(OLD_CORES, memory=7 * GIB, cores=4)
CARD = replace(CORES, memory=60 * GIB, gpus=(23 * GIB,), gpu_names=("card",), device="cuda", speed=70e12)
SERVER = replace(CARD, gpus=(79 * GIB,), speed=600e12)
TINY = replace(LAPTOP, memory=3 * GIB // 2)
MACHINES = {"cores": CORES, "old cores": OLD_CORES, "laptop": LAPTOP, "card": CARD, "server": SERVER, "tiny": TINY}
PARAMS = {"questions": {"window": 12, "sample": 600}, "prompt": {"language": "zh"}, "review": {"folds": 3}}


@pytest.fixture(autouse=True)
def nothing_downloaded(monkeypatch):
    monkeypatch.setattr("chatladder.cli.doctor.memory._cached", lambda repo, revision: (None, False))


def chosen(language, machine, params=PARAMS):
    advice = recommend(language, machine, params)
    return [*advice.catalogue.rungs], advice


@pytest.mark.parametrize(
    ("language", "machine", "rungs"),
    [
        ("zh", CORES, ["qwen2_5_0_5b", "qwen2_5_1_5b"]),
        ("zh", OLD_CORES, ["qwen2_5_0_5b"]),
        ("zh", LAPTOP, ["qwen2_5_0_5b"]),
        ("zh", CARD, ["qwen2_5_0_5b", "qwen2_5_1_5b", "qwen2_5_3b", "qwen2_5_7b"]),
        ("en", CORES, ["qwen2_5_0_5b", "qwen2_5_1_5b"]),
        ("en", LAPTOP, ["qwen2_5_0_5b"]),
        ("en", CARD, ["qwen2_5_0_5b", "qwen2_5_1_5b", "qwen2_5_3b", "qwen2_5_7b"]),
        ("other", CORES, ["qwen3_0_6b", "qwen3_1_7b"]),
        ("other", SERVER, ["qwen3_0_6b", "qwen3_1_7b", "qwen3_4b", "qwen3_8b", "qwen3_14b", "qwen3_32b"]),
    ],
)
def test_models_for_a_language_and_a_machine(language, machine, rungs):
    assert chosen(language, machine)[0] == rungs


@pytest.mark.parametrize("language", CHAT_LANGUAGES)
@pytest.mark.parametrize("machine", MACHINES)
def test_whatever_the_machine_models_know_the_language_fit_and_end_in_time(language, machine):
    machine = MACHINES[machine]
    rungs, advice = chosen(language, machine)
    catalogue = read(advice.catalogue.name)
    assert language in catalogue.languages
    assert catalogue.name != "embedded"
    assert advice.runs == (machine is not TINY)
    if advice.runs:
        assert len(rungs) == 1 or advice.total <= LONGEST
        for key in rungs:
            rung = advice.catalogue.rungs[key]
            training = training_of({**catalogue.params["train"], **rung["train"]}, 1400)
            assert need(rung["base"], facts_of(key, rung["base"], Path("none")), training, machine, room=10**15).runs


def test_settings_that_make_a_model_fit_are_its_own(monkeypatch):
    _, advice = chosen("zh", LAPTOP)
    train = advice.catalogue.rungs["qwen2_5_0_5b"]["train"]
    assert train == {"tokens_per_forward": 1400}
    assert read("qwen2_5").rungs["qwen2_5_0_5b"]["train"] == {}
    small = replace(CARD, gpus=(11 * GIB,))
    assert not [rung for rung in chosen("zh", small)[1].catalogue.rungs.values() if "load_in_4bit" in rung["base"]]
    monkeypatch.setattr("chatladder.cli.doctor.memory.find_spec", lambda name: name)
    _, advice = chosen("zh", small)
    assert advice.catalogue.rungs["qwen2_5_7b"]["base"]["load_in_4bit"] is True
    assert "in 4 bits" in "\n".join(describe(advice, small))
    assert "load_in_4bit" not in advice.catalogue.rungs["qwen2_5_0_5b"]["base"]


def test_a_larger_chat_takes_fewer_sizes():
    few, _ = chosen("zh", CORES)
    many, advice = chosen("zh", CORES, PARAMS | {"questions": {"window": 12, "sample": 1500}})
    assert len(many) < len(few)
    assert advice.runs


def test_where_nothing_ends_in_time_the_quickest_is_taken():
    slow = replace(CORES, speed=5e9)
    assert chosen("en", slow)[0] == ["smollm2_135m"]
    rungs, advice = chosen("zh", slow)
    assert rungs == ["qwen2_5_0_5b"]
    assert advice.total > LONGEST


def test_time_is_estimated_with_the_settings_that_the_catalogue_brings():
    shown = {"turns": 12, "language": "zh"}
    theirs = [chosen("zh", CORES, PARAMS | {"prompt": shown, "predict": {"orders": orders}})[1] for orders in (1, 6)]
    assert theirs[0].work == theirs[1].work == chosen("zh", CORES)[1].work
    assert theirs[0].work.orders == read("qwen2_5").params["predict"]["orders"]


def test_downloads_count_against_the_disk():
    rungs, advice = chosen("zh", replace(SERVER, disk=3 * GIB))
    assert rungs == ["qwen2_5_0_5b"]
    assert "its download of" in advice.larger


def test_the_lines_say_what_why_and_how_long():
    lines = describe(chosen("zh", CORES)[1], CORES)
    assert lines[0].startswith(
        "Models of qwen2_5 for a chat in Chinese on 2 cores, 22G of memory, bfloat16; 600 questions"
    )
    assert all(" about " in line for line in lines[1:4])
    assert lines[-2] == "  left out: qwen2_5_3b: the whole run would take more than 2 h"
    assert lines[-1] == "  2 of the 3 sizes from which growth with size can be judged"
    lines = describe(chosen("zh", TINY)[1], TINY)
    assert lines[-1].startswith(
        "  Not even that one runs here: qwen2_5_0_5b: can neither score nor train in 0.5G of memory"
    )
    assert "on a GPU of 23G, bfloat16" in describe(chosen("zh", CARD)[1], CARD)[0]
    unmeasured = replace(CORES, speed=0.0)
    assert "not timed" in describe(chosen("zh", unmeasured)[1], unmeasured)[1]


def test_each_catalogue_says_which_languages_it_knows():
    assert all({*read(name).languages} <= {*CHAT_LANGUAGES} for name in names())
    assert {*FOR_LANGUAGE} == {*CHAT_LANGUAGES}
    for language, preferred in FOR_LANGUAGE.items():
        assert all(language in read(name).languages for name in preferred)


def test_rungs_of_another_language_are_named():
    ladder = read("smollm2").rungs
    assert list(misfits(ladder, "en", is_demo=False)) == []
    (said,) = misfits(ladder, "zh", is_demo=False)
    assert said.startswith("smollm2_135m, smollm2_360m, smollm2_1_7b: know English, and prompt.language is zh")
    embedded = read("embedded").rungs
    assert list(misfits(embedded, "zh", is_demo=True)) == []
    assert "for the demo" in next(misfits(embedded, "zh", is_demo=False))
