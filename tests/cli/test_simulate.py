"""The simulated chat: reproducible, of any size, and hard for the right reasons."""

import bz2
import json
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from chatladder.cli.app import main
from chatladder.cli.simulate import review
from chatladder.demo import world
from chatladder.demo.annotators import TrueItem, adjudicate, look_again, round_one, second_look
from chatladder.demo.chat import CLEARLY_INSIDE, ERAS, LATE_FROM, START, YEAR, load_bank, nickname, simulate_chat
from chatladder.io.rows import LABELLED, QUESTIONS, read_rows, write_rows
from chatladder.labels.answer import Answer, Label
from chatladder.labels.folds import stable_fraction
from chatladder.labels.log import replay
from chatladder.labels.review import Review, begin, random_part, read_review
from chatladder.labels.rounds import log_path
from chatladder.labels.verdicts import cases, read_answers
from chatladder.privacy.pseudonyms import Pseudonyms
from chatladder.vocabulary import LABELS, SCORED
from tests.conftest import ROOT
from tests.logs import append

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


REFERRING = ("with_noun", "pronoun", "dropped", "incomplete")


def turns_and_truths(lines, seed):
    """Texts of the messages before each question of the simulator, with the question's own text and truth."""
    said, found = [], []
    for part, truth in simulate_chat(lines, seed):
        if truth:
            found.append((said[-3 * CLEARLY_INSIDE :], part.text, truth))
        said.append(part.text)
    return found


def test_the_history_decides_the_label_of_every_form_that_could_need_it():
    truths = [truth for _, _, truth in turns_and_truths(40_000, 2)]
    labels = Counter((truth.form, truth.label) for truth in truths)
    for form in REFERRING:
        both = labels[form, "needed"] + labels[form, "not_needed"]
        assert 0.35 < labels[form, "needed"] / both < 0.6, form
    assert (
        sum(count for (form, label), count in labels.items() if label == "not_needed" and form not in REFERRING) > 100
    )


def test_most_questions_that_refer_come_in_pairs_of_the_same_words_and_opposite_labels():
    by_text = {}
    truths = [(text.partition("\u2005")[2] or text, truth) for _, text, truth in turns_and_truths(20_000, 2)]
    referring = [(text, truth) for text, truth in truths if truth.form in REFERRING and len(text) > 4]
    # The other half of a pair is asked some forty turns away, so no other conversation has come between.
    for place, (text, truth) in enumerate(referring):
        near = {other.label for words, other in referring[max(0, place - 4) : place + 5] if words == text}
        by_text.setdefault(len(near), []).append(truth)
    assert len(by_text[2]) > 0.7 * len(referring)


def test_the_noun_of_a_kind_is_never_said_of_a_thing_and_names_stand_before_either_label():
    kinds = {kind.noun: kind.names for era in ERAS for kind in load_bank(era).kinds.values()}
    leisure = [name for era in ERAS for name in load_bank(era).talk["leisure_names"]]
    every = [name for names in kinds.values() for name in names]
    named = Counter()
    for before, _, truth in turns_and_truths(30_000, 3):
        window = before[-12:]
        if truth.form in REFERRING:
            named[truth.label, any(name in text for text in window for name in [*every, *leisure])] += 1
    for label in SCORED:
        assert named[label, True] > 0.75 * (named[label, True] + named[label, False]), named
    for era in ERAS:
        for template in load_bank(era).talk["mentions"]:
            assert "{n}" not in template


def test_a_needed_question_has_its_antecedent_shortly_before_it_and_is_written_out_with_its_name():
    names = [name for era in ERAS for kind in load_bank(era).kinds.values() for name in kind.names]
    needed = 0
    for before, _, truth in turns_and_truths(10_000, 4):
        if truth.label == "needed":
            needed += 1
            written = [name for name in names if name in truth.rewrite]
            assert written, truth
            assert any(written[-1] in text for text in before)
        else:
            assert truth.rewrite == ""
    assert needed > 50


def test_what_models_are_pretrained_on_and_the_chat_share_words_and_no_name_or_question():
    chat = bank_texts("early") | bank_texts("late")
    templates = {
        text for bank in (world.QUESTIONS, world.TALK, world.SENTENCES) for texts in bank.values() for text in texts
    }
    # What is left without its slots must be more than a function word ("this", "please tell me") to be a phrase.
    shared = {text for text in chat & templates if len(re.sub(r"{\w}", "", text)) > 3}
    assert shared == set()
    said = "\n".join(
        text for dialogue in world.dialogues(3_000, 0) for text in (*(t for _, t in dialogue.window), dialogue.text)
    )
    names = [name for era in ERAS for kind in load_bank(era).kinds.values() for name in kind.names]
    assert [name for name in names if name in said] == []
    asked = {dialogue.text for dialogue in world.dialogues(3_000, 0)}
    assert asked.isdisjoint(part.text for part, truth in simulate_chat(20_000, 1) if truth)


#: The kind of words that a kind of the chat is made of.
WORLD = {
    "model": "model", "framework": "software", "plugin": "software", "dataset": "data", "corpus": "data",
    "card": "machine", "server": "machine",
}  # fmt: skip


def test_what_is_asked_and_remarked_of_a_kind_holds_words_of_that_kind_alone_and_never_the_same_word():
    words = {word: name for name, kind in world.KINDS.items() for group in kind for word in group}
    assert len(words) == len(world.WORDS)
    for era in ERAS:
        for name, kind in load_bank(era).kinds.items():
            for group in (kind.questions, kind.remarks):
                for text in group:
                    found = {words[word] for word in words if word in text}
                    assert found == {WORLD[name]} or (text.isascii() and not found), text
            asked = {word for word in words for text in kind.questions if word in text}
            assert asked.isdisjoint(word for word in words for text in kind.remarks if word in text)


def test_annotators_err_more_on_hard_items_and_less_the_more_careful_they_are():
    items = [
        TrueItem(f"{n:04d}", "needed", hardness)
        for hardness in (0.0, 1.0)
        for n in range(2_000 * int(hardness), 2_000 * int(hardness) + 2_000)
    ]
    first = round_one(items, ("a", "b"), seed=1)
    easy = sum(answer.label != "needed" for answer in first if answer.item_id < "2000")
    hard = sum(answer.label != "needed" for answer in first if answer.item_id >= "2000")
    assert hard > 3 * easy
    assert {answer.label for answer in first} <= set(LABELS)
    wrong = {
        care: sum(answer.label != "needed" for answer in look_again(items, ("a", "b"), 2, 1, care)) for care in (1, 3)
    }
    assert abs(wrong[1] / (easy + hard) - 1) < 0.1
    assert abs(wrong[3] / (easy + hard) - 1 / 3) < 0.1


def test_the_second_round_looks_at_what_is_disputed_and_at_a_random_share_of_the_labels():
    items = [TrueItem(f"{n:04d}", LABELS[n % 3], 0.8) for n in range(1_000)]
    first = round_one(items, ("a", "b"), seed=1)
    said = {}
    for answer in first:
        said.setdefault(answer.item_id, []).append(answer.label)
    again = second_look(items, first)
    labelled = [item_id for item_id, pair in said.items() if set(pair) in ({LABELS[0]}, {LABELS[1]})]
    assert again.random == {*random_part(labelled, 2, 0.2)}
    disputed = {item_id for item_id, (a, b) in said.items() if a != b or "unsure" in (a, b)}
    assert again.items == tuple(item_id for item_id in said if item_id in disputed | again.random)
    assert again.suspects == ()
    assert not again.is_queue


def test_an_adjudicator_settles_with_care_what_the_votes_leave_open():
    items = [TrueItem(f"{n:04d}", "needed", 1.0) for n in range(2_000)]
    first = round_one(items, ("a", "b"), seed=1)
    looked_at = {*second_look(items, first).items}
    second = look_again([item for item in items if item.item_id in looked_at], ("a", "b"), 2, 1)
    settled = adjudicate(items, first + second, "chen", 2, seed=1)
    open_items = {item_id for item_id, case in cases(first + second).items() if case.is_open}
    assert [answer.item_id for answer in settled] == [item.item_id for item in items if item.item_id in open_items]
    assert open_items <= {answer.item_id for answer in second}
    assert {(answer.annotator, answer.round) for answer in settled} == {("chen", 2)}
    assert max(answer.at for answer in second) < min(answer.at for answer in settled)
    assert sum(answer.label == "needed" for answer in settled) > 0.8 * len(settled)
    assert not any(case.is_open and case.ruling is None for case in cases(first + second, settled).values())


def test_a_later_look_is_drawn_anew_for_everybody_but_what_misleads_all_still_does():
    items = [TrueItem(f"{n:04d}", "needed", 1.0) for n in range(3_000)]
    looks = {
        (who, number): {answer.item_id: answer.label for answer in look_again(items, (who,), number, 1, care=3)}
        for who in ("a", "b")
        for number in (2, 3)
    }
    wrong = {look: {item_id for item_id, label in said.items() if label != "needed"} for look, said in looks.items()}
    assert len({frozenset(each) for each in wrong.values()}) == 4
    assert all(0.05 < len(each) / len(items) < 0.15 for each in wrong.values())
    # Of two looks with nothing in common, one in ten errors of the one would be an error of the other too.
    for other in (("b", 3), ("a", 2), ("b", 2)):
        assert len(wrong["a", 3] & wrong[other]) > 0.25 * len(wrong["a", 3])


def test_no_answer_to_an_item_depends_on_the_others_and_each_round_begins_four_weeks_later():
    items = [TrueItem(f"{n:04d}", "not_needed", 0.9) for n in range(200)]
    whole, half = (look_again(each, ("a",), 3, seed=4) for each in (items, items[::-2]))
    labels = {answer.item_id: answer.label for answer in whole}
    assert [answer.item_id for answer in half] == [item.item_id for item in items[::-2]]
    assert all(answer.label == labels[answer.item_id] for answer in half)
    first = {number: look_again(items[:1], ("a",), number, seed=4)[0].at[:10] for number in (2, 3, 4)}
    assert first == {2: "2024-03-04", 3: "2024-04-01", 4: "2024-04-29"}


class Demo:
    """Eight questions, their truth, a round of answers, labels, a queue of 7, 3 and 5, and no random part."""

    def __init__(self, folder):
        self.folder = folder
        self.annotations = folder / "annotations"
        (folder / "review").mkdir()
        truths = [
            {
                "sender": f"wxid_{n}",
                "timestamp": n,
                "form": "named",
                "label": LABELS[n % 2],
                "hardness": 0.0,
                "rewrite": "",
            }
            for n in range(8)
        ]
        (folder / "truth.jsonl").write_text("".join(json.dumps(truth) + "\n" for truth in truths))
        self.ask(range(8))
        for n in range(8):
            append(log_path(self.annotations, 1, "li"), Answer(f"i{n}", "li", 1, Label.NEEDED, "2024-01-01T00:00:00Z"))
        self.line_up([7, 3, 5])
        self.share(0)

    def ask(self, numbers):
        rows = [
            {"item_id": f"i{n}", "turn_id": f"t{n}", "group": "g", "conversation": "c", "text": "?", "window": [],
             "sender": Pseudonyms().person(f"wxid_{n}"), "timestamp": n}
            for n in numbers
        ]  # fmt: skip
        write_rows(self.folder / "questions.parquet", rows, QUESTIONS)

    def line_up(self, queue):
        (self.folder / "review" / "queue.jsonl").write_text("".join(f'{{"item_id": "i{n}"}}\n' for n in queue))
        labels = {"label": "needed", "agreement": 1.0, "split": "train", "check_label": "needed"}
        questions = read_rows(self.folder / "questions.parquet", QUESTIONS).to_pylist()
        write_rows(self.folder / "labelled.parquet", [{**row, **labels} for row in questions], LABELLED)

    def share(self, value):
        Path("params.yaml").write_text(f"review: {{queue: {{random: {value}}}}}\n")

    def run(self, *who, seed=DEMO_SEED, more=()):
        names = [word for name in who or ("a", "b") for word in ("--annotator", name)]
        words = ["--truth", str(self.folder / "truth.jsonl"), *names, "--seed", seed, *more]
        return CliRunner().invoke(review, words, catch_exceptions=False)

    def logs(self, number):
        folder = self.annotations / f"round_{number}"
        return {path.name: path.read_bytes() for path in sorted(folder.glob("*"))} if folder.exists() else {}


@pytest.fixture
def demo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    return Demo(Path("data"))


class TestReview:
    def test_the_queue_is_frozen_and_answered_in_its_order(self, demo):
        result = demo.run()
        assert result.exit_code == 0, result.output
        assert f"{demo.annotations / 'round_2'}: 6 simulated answers to 3 items of the review. Set" in result.output
        assert list(demo.logs(2)) == ["a.jsonl", "b.jsonl", "review.json"]
        assert read_review(demo.annotations / "round_2") == Review(("i7", "i3", "i5"), ("i7", "i3", "i5"))
        log = replay(log_path(demo.annotations, 2, "a"))
        assert list(log.answers) == ["i7", "i3", "i5"]
        assert [answer.label for answer in log.history] == [LABELS[1]] * 3
        assert all(answer.at > "2024-03-04" for answer in log.history)

    def test_the_random_part_is_answered_too(self, demo):
        demo.share(1)
        assert demo.run("a").exit_code == 0
        assert read_review(demo.annotations / "round_2").random == {f"i{n}" for n in range(8)}
        assert len(replay(log_path(demo.annotations, 2, "a")).answers) == 8

    def test_care_is_a_number_above_zero(self, demo):
        for care in ("0", "-1", "much"):
            assert demo.run("a", more=("--care", care)).exit_code == 2
        assert demo.logs(2) == {}
        assert demo.run("a", more=("--care", "3")).exit_code == 0

    def test_equal_seeds_give_equal_bytes_and_each_annotator_has_their_own(self, demo, tmp_path, monkeypatch):
        demo.run()
        first = demo.logs(2)
        (tmp_path / "again" / "data").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / "again")
        other = Demo(Path("data"))
        other.run("b", "a", "b")
        assert other.logs(2) == first

    def test_what_was_answered_is_not_answered_again(self, demo):
        demo.run("a")
        before = demo.logs(2)
        for who in ("a", "b"):
            result = demo.run(who)
            assert result.exit_code == 1
            assert "round_2: expected a review that nobody answered yet, but this one has answers" in result.output
        assert demo.logs(2) == before
        assert demo.logs(3) == {}

    def test_the_next_queue_is_the_next_round(self, demo):
        demo.run()
        demo.line_up([1, 2])
        assert demo.run().exit_code == 0
        assert list(replay(log_path(demo.annotations, 3, "b")).answers) == ["i1", "i2"]

    def test_a_review_that_was_begun_is_answered_as_it_was_frozen(self, demo):
        folder = demo.annotations / "round_2"
        begin(folder, Review(("i1", "i0", "gone"), ("i1", "gone"), frozenset({"i0"})))
        (folder / "assignment.json").write_text('{"annotators": ["a", "b"], "overlap": 2}')
        (demo.folder / "review" / "queue.jsonl").unlink()
        assert "expected one of a, b, who share this round, got 'zhao'" in demo.run("zhao").output
        assert demo.run().exit_code == 0
        assert list(replay(log_path(demo.annotations, 2, "a")).answers) == ["i1", "i0"]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda demo: demo.ask(range(6)), r"queue\.jsonl:1: expected an item of the questions"),
            (lambda demo: demo.line_up([]), "expected items to review, got none"),
            (
                lambda demo: (demo.folder / "review" / "queue.jsonl").unlink(),
                r"queue\.jsonl: .* got nothing\. Run dvc repro",
            ),
            (lambda demo: log_path(demo.annotations, 1, "li").unlink(), "expected answers to review"),
        ],
        ids=["another run", "empty", "no queue", "no answers"],
    )
    def test_what_does_not_fit_is_refused_and_nothing_is_written(self, demo, change, message):
        change(demo)
        result = demo.run()
        assert result.exit_code == 1
        assert re.search(message, result.output)
        assert demo.logs(2) == {}

    def test_a_name_that_is_no_files_name_is_refused_first(self, demo):
        assert "expected letters, digits" in demo.run("a", "../b").output
        assert demo.logs(2) == {}


class TestAnswers:
    def run(self, demo, out):
        places = ["--questions", demo.folder / "questions.parquet", "--truth", demo.folder / "truth.jsonl"]
        return CliRunner().invoke(main, ["simulate-answers", *map(str, [*places, "--seed", DEMO_SEED, "--out", out])])

    def logs_of(self, out):
        return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}

    def test_two_annotators_answer_beside_people(self, demo):
        before = self.logs_of(demo.annotations)
        result = self.run(demo, demo.annotations)
        assert result.exit_code == 0, result.output
        assert [
            replay(log_path(demo.annotations, 1, name)).answers.keys() for name in ("annotator_a", "annotator_b")
        ] == [{f"i{n}" for n in range(8)}] * 2
        after = self.logs_of(demo.annotations)
        assert after.items() >= before.items()
        # What round 1 labelled is drawn as for a review, and frozen as one is.
        drawn = {f"i{n}" for n in range(8) if stable_fraction(f"i{n}", "random:2") < 0.2}
        record = read_review(demo.annotations / "round_2")
        assert (record.random, record.suspects) == (drawn, ())
        assert drawn <= {*record.items}
        assert replay(log_path(demo.annotations, 2, "annotator_a")).answers.keys() == {*record.items}
        assert "annotator_a.jsonl: expected no log here yet" in self.run(demo, demo.annotations).output
        assert self.logs_of(demo.annotations) == after

    def test_who_calls_a_needed_question_needed_has_written_it_out_and_nothing_else_changes(self, demo):
        before = self.run(demo, demo.folder / "before")
        path = demo.folder / "truth.jsonl"
        truths = [json.loads(line) for line in path.read_text().splitlines()]
        for number, truth in enumerate(truths):
            truth["rewrite"] = f"written {number}" if truth["label"] == "needed" else ""
        path.write_text("".join(json.dumps(truth) + "\n" for truth in truths))
        after = self.run(demo, demo.folder / "after")
        assert (before.exit_code, after.exit_code) == (0, 0), before.output + after.output
        without, written = self.logs_of(demo.folder / "before"), self.logs_of(demo.folder / "after")
        assert without.keys() == written.keys()
        for name in without:
            rows = [json.loads(line) for line in written[name].splitlines()] if name.endswith("l") else []
            for row in rows:
                truth = truths[int(row["item_id"][1:])]
                assert row.get("rewrite", "") == (truth["rewrite"] if row["label"] == "needed" else "")
            assert re.sub(rb', "rewrite": "written \d"', b"", written[name]) == without[name]
        assert b"rewrite" in written["round_1/annotator_a.jsonl"]

    @pytest.mark.parametrize("log", ["round_1/annotator_a.jsonl", "round_1/annotator_b.jsonl"])
    @pytest.mark.parametrize("content", ["{}", ""])
    def test_where_one_log_is_there_none_is_written(self, demo, log, content):
        path = demo.annotations / log
        path.write_text(content)
        before = self.logs_of(demo.annotations)
        result = self.run(demo, demo.annotations)
        assert result.exit_code == 1
        assert f"{path}: expected no log here yet" in result.output
        assert self.logs_of(demo.annotations) == before

    def test_questions_of_another_chat_get_no_answers(self, demo):
        rows = [
            {"item_id": "i0", "turn_id": "t", "group": "g", "conversation": "c", "text": "?", "window": [],
             "sender": Pseudonyms().person("somebody"), "timestamp": 0}
        ]  # fmt: skip
        write_rows(demo.folder / "questions.parquet", rows, QUESTIONS)
        for result in (self.run(demo, demo.folder / "simulated"), demo.run()):
            assert result.exit_code == 1
            assert "expected questions of the simulated chat" in result.output
        assert not (demo.folder / "simulated").exists()
        assert demo.logs(2) == {}


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


def test_committed_second_round_looks_at_the_random_part_and_leaves_nothing_open():
    annotations = ROOT / "data" / "annotations"
    answers, settled, _ = read_answers(annotations, 2)
    first = cases(placed.answer for placed in answers if placed.answer.round == 1)
    labelled = [item_id for item_id, case in first.items() if case.verdict.label in SCORED]
    record = read_review(annotations / "round_2")
    assert record.random == {*random_part(labelled, 2, 0.2)}
    assert {placed.answer.item_id for placed in answers if placed.answer.round == 2} == {*record.items}
    found = cases([placed.answer for placed in answers], [placed.answer for placed in settled])
    assert not any(case.is_open and case.ruling is None for case in found.values())


def test_nicknames_are_not_wxids():
    assert "wxid" not in nickname("wxid_e0100003x")
