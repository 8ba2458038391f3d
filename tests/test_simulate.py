"""The simulated chat: reproducible, of any size, and hard for the right reasons."""

import bz2
import json
import re
from collections import Counter
from itertools import pairwise

import pytest
from click.testing import CliRunner

from stages.app import main
from stages.models import world
from stages.rows import LABELS
from stages.simulation.annotators import TrueItem, round_one, round_two
from stages.simulation.banks import ERAS, load_bank
from stages.simulation.chat import CLEARLY_INSIDE, LATE_FROM, START, YEAR, nickname, simulate_chat
from tests.conftest import ROOT

#: Fixed before anything was trained on it: the first half of the paper's number.
DEMO_SEED = "2405"


def bank_texts(era):
    bank = load_bank(era)
    kinds = [text for kind in bank.kinds.values() for text in (*kind.names, *kind.questions, *kind.remarks)]
    templates = [text for group in (bank.forms, bank.talk) for texts in group.values() for text in texts]
    return {*kinds, *bank.general_questions, *templates}


@pytest.mark.parametrize("lines", [1, 58, 1_000])
def test_any_size_is_exact_and_in_time_order(lines):
    parts = [part for part, _ in simulate_chat(lines, seed=3)]
    assert len(parts) == lines
    assert all(a.timestamp <= b.timestamp for a, b in pairwise(parts))


def test_a_seed_decides_every_byte_and_another_seed_changes_them():
    first, again, other = (list(simulate_chat(400, seed)) for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_the_chat_lasts_a_year():
    last = max(part.timestamp for part, _ in simulate_chat(3_000, seed=1))
    assert START + 0.9 * YEAR < last < START + 1.1 * YEAR


def test_late_conversations_use_other_people_names_and_phrasings():
    assert bank_texts("early").isdisjoint(bank_texts("late"))
    early = {part.sender for part, _ in simulate_chat(6_000, 1) if part.timestamp < LATE_FROM}
    late = {part.sender for part, _ in simulate_chat(6_000, 1) if part.timestamp >= LATE_FROM}
    assert early & late <= {"assistant"}
    assert late


def test_the_history_decides_the_label_of_every_form_that_could_need_it():
    truths = [truth for _, truth in simulate_chat(20_000, seed=2) if truth]
    labels = Counter((truth.form, truth.label) for truth in truths)
    for form in ("with_noun", "pronoun", "dropped", "incomplete"):
        both = labels[form, "needed"] + labels[form, "not_needed"]
        assert 0.25 < labels[form, "needed"] / both < 0.75, form


def test_a_needed_question_has_its_antecedent_shortly_before_it():
    names = [name for era in ERAS for kind in load_bank(era).kinds.values() for name in kind.names]
    recent = []
    for part, truth in simulate_chat(5_000, seed=4):
        if truth and truth.label == "needed":
            said = " ".join(recent[-3 * CLEARLY_INSIDE :])
            assert any(name in said for name in names)
        recent.append(part.text)


def test_the_pretraining_world_and_the_chat_share_no_topic_template_or_name():
    chat = bank_texts("early") | bank_texts("late")
    nouns = {kind.noun for era in ERAS for kind in load_bank(era).kinds.values()}
    questions = {q for own in world.KINDS.values() for q in own} | set(world.ANY_QUESTIONS)
    templates = {
        *(text for bank in (world.NAMED, world.WITH_NOUN, world.PRONOUN, world.DROPPED) for text in bank),
        *(text for bank in (world.SAME_MESSAGE, world.INCOMPLETE, world.MENTIONS) for text in bank),
        *(text for bank in (world.REPLIES, world.SMALL_TALK) for text in bank),
    }
    # What is left without its slots must be more than a function word ("this", "please tell me") to be a phrase.
    shared = {text for text in chat & (questions | templates) if len(re.sub(r"{\w}", "", text)) > 3}
    assert shared == set()
    assert nouns.isdisjoint({*world.KINDS, *world.MORE_KINDS})
    world_text = "\n".join(questions | templates)
    names = [name for era in ERAS for kind in load_bank(era).kinds.values() for name in kind.names]
    assert [word for word in [*nouns, *names] if word in world_text] == []


def test_no_question_of_the_pretraining_world_stands_in_the_chat():
    said = {dialogue.text for dialogue in world.dialogues(3_000, 0)}
    assert said.isdisjoint(part.text for part, truth in simulate_chat(20_000, 1) if truth)


def test_annotators_err_more_on_hard_items_and_less_in_the_second_round():
    items = [
        TrueItem(f"{n:04d}", "needed", hardness)
        for hardness in (0.0, 1.0)
        for n in range(2_000 * int(hardness), 2_000 * int(hardness) + 2_000)
    ]
    first = round_one(items, ("a", "b"), seed=1)
    second = round_two(items, first, ("a", "b"), seed=1)
    easy = sum(answer.label != "needed" for answer in first if answer.item_id < "2000")
    hard = sum(answer.label != "needed" for answer in first if answer.item_id >= "2000")
    assert hard > 3 * easy
    assert sum(a.label != "needed" for a in second) / len(second) < (easy + hard) / len(first)
    assert {answer.label for answer in first} <= set(LABELS)


def test_command_writes_the_chat_in_callback_form_and_its_truth_apart(tmp_path):
    out, truth = tmp_path / "chat.txt", tmp_path / "truth.jsonl"
    result = CliRunner().invoke(
        main, ["simulate", "--lines", "300", "--seed", "7", "--out", str(out), "--truth", str(truth)]
    )
    assert result.exit_code == 0, result.output
    decoder, text, records = json.JSONDecoder(), out.read_text(encoding="utf-8").strip(), []
    while text:
        record, end = decoder.raw_decode(text)
        records.append(record)
        text = text[end:].lstrip()
    assert len(records) == 300
    assert all("label" not in json.dumps(record) for record in records)
    assert {json.loads(line)["label"] for line in truth.read_text().splitlines()} <= {
        "needed",
        "not_needed",
        "not_a_question",
    }


def test_command_refuses_no_lines(tmp_path):
    result = CliRunner().invoke(main, ["simulate", "--lines", "0", "--seed", "7", "--out", "x", "--truth", "y"])
    assert result.exit_code == 2
    assert "--lines" in result.output


def test_committed_demo_is_what_the_command_writes(tmp_path):
    out, truth = tmp_path / "demo.txt.bz2", tmp_path / "truth.jsonl.bz2"
    result = CliRunner().invoke(
        main, ["simulate", "--lines", "58000", "--seed", DEMO_SEED, "--out", str(out), "--truth", str(truth)]
    )
    assert result.exit_code == 0, result.output
    committed = ROOT / "data" / "raw" / "demo.txt.bz2"
    assert out.read_bytes() == committed.read_bytes()
    assert truth.read_bytes() == (ROOT / "data" / "demo" / "truth.jsonl.bz2").read_bytes()
    assert committed.stat().st_size < 2_000_000
    assert bz2.decompress(committed.read_bytes()).count(b'"fromGroup"') > 50_000


def test_nicknames_are_not_wxids():
    assert "wxid" not in nickname("wxid_e0100003x")
