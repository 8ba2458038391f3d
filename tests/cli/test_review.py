"""Labels looked at again: the frozen queue, who goes on where, what the screen must not tell, and the flips."""

import asyncio
import errno
import json
import re
import sys
from threading import Barrier, Thread

import pytest
from click.testing import CliRunner

from chatladder.cli.annotate import running
from chatladder.cli.annotate.app import AnnotateApp
from chatladder.cli.annotate.command import annotate_command
from chatladder.cli.annotate.review import read_queue, review_command
from chatladder.io.console import DataError
from chatladder.io.rows import LABELLED, QUESTIONS, write_rows
from chatladder.labels import review as review_module
from chatladder.labels.answer import Answer, Label
from chatladder.labels.folds import stable_fraction
from chatladder.labels.log import replay
from chatladder.labels.review import Review, begin, flips, newcombe, read_review, wilson
from chatladder.labels.rounds import log_files, log_path
from tests.conftest import ROOT
from tests.logs import append

AT = "2023-10-01T12:00:00Z"
START = 1_696_150_800
N, NOT, NONE, UNSURE = Label.NEEDED, Label.NOT_NEEDED, Label.NOT_A_QUESTION, Label.UNSURE
REASON = "zqjudges"


def item(number):
    return f"item{number:04}"


def question(number):
    return {
        "item_id": item(number),
        "turn_id": f"turn{number:04}",
        "group": "g",
        "conversation": f"g:{number}",
        "sender": "u1",
        "text": f"what about {number:04}?",
        "timestamp": START,
        "window": [{"sender": "u2", "text": f"talk {number:04}", "timestamp": START - 60}],
    }


def labelled(number, split="train"):
    return {**question(number), "label": "needed", "agreement": 1.0, "split": split, "check_label": "needed"}


QUEUE = [7, 3, 9, 1, 5]


class Place:
    """A chat with a round of annotation, labels for all but the last question, a queue, and no random part."""

    def __init__(self, folder):
        self.folder = folder
        self.annotations = folder / "annotations"
        self.queue = folder / "review" / "queue.jsonl"
        self.labelled = folder / "labelled.parquet"
        self.questions = folder / "questions.parquet"
        write_rows(self.questions, [question(number) for number in range(12)], QUESTIONS)
        for number in range(12):
            append(log_path(self.annotations, 1, "li"), Answer(item(number), "li", 1, Label.NEEDED, AT))
        self.line_up(QUEUE)
        self.share(0)

    def line_up(self, queue, rows=None):
        """What a dvc repro makes of it."""
        self.queue.parent.mkdir(exist_ok=True)
        self.queue.write_text("".join(f'{{"item_id": "{item(number)}"}}\n' for number in queue))
        write_rows(self.labelled, [labelled(number) for number in range(11)] if rows is None else rows, LABELLED)

    def share(self, value):
        (self.folder / "params.yaml").write_text(f"review: {{queue: {{random: {value}}}}}\n")

    def arguments(self, *more):
        places = ("questions", "annotations", "queue", "labelled")
        return ["--annotator", "li", *(word for name in places for word in (f"--{name}", str(getattr(self, name)))),
                *more]  # fmt: skip

    def folder_of(self, number):
        return self.annotations / f"round_{number}"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path)


@pytest.fixture
def run(place, monkeypatch):
    """Run the command with a function in place of the screen."""

    def run(*arguments, keys=lambda session: None):
        seen = {}

        def screen(session, _items, task, _options):
            seen.update(session=session, notices=task.notices, order=[int(item_id[4:]) for item_id in session.order])
            keys(session)

        monkeypatch.setattr(running, "show", screen)
        monkeypatch.setattr(running, "in_terminal", lambda: True)
        seen["result"] = CliRunner().invoke(review_command, place.arguments(*arguments), catch_exceptions=False)
        return seen

    return run


@pytest.fixture
def annotate(place, monkeypatch):
    """Open annotate, and leave without an answer."""

    def annotate(*arguments):
        monkeypatch.setattr(running, "show", lambda *_: None)
        monkeypatch.setattr(running, "in_terminal", lambda: True)
        where = ["--questions", str(place.questions), "--annotations", str(place.annotations)]
        return CliRunner().invoke(annotate_command, ["--annotator", "li", *where, *arguments])

    return annotate


def finish(session):
    while not session.is_finished:
        session.answer(Label.NOT_NEEDED)


class TestRounds:
    def test_a_review_is_the_round_after_the_latest_and_keeps_the_queues_order(self, run, place):
        seen = run(keys=lambda session: session.answer(N))
        assert seen["result"].exit_code == 0
        assert seen["order"] == [7, 3, 9, 1, 5]
        assert seen["notices"] == []
        path = log_path(place.annotations, 2, "li")
        assert f"{path}: 1 answers added, 1 of 5 items done." in seen["result"].output
        assert replay(path).answers.keys() == {item(7)}
        frozen = json.loads((place.folder_of(2) / "review.json").read_text())
        assert frozen == {"items": [*map(item, QUEUE)], "suspects": [*map(item, QUEUE)], "random": []}
        assert (place.folder_of(2) / "guidelines.json").exists()
        assert log_files(place.annotations, 2)[-1] == path

    def test_the_first_answer_begins_a_review_and_who_leaves_without_one_has_not(self, run, place, annotate):
        files = []
        run(
            "--annotators", "li,wu", "--overlap", "2",
            keys=lambda _session: files.extend(path.name for path in place.folder_of(2).iterdir()),
        )  # fmt: skip
        assert files == [".li.begun"]
        assert not place.folder_of(2).exists()
        assert annotate().exit_code == 0
        assert not place.folder_of(2).exists()
        place.line_up([2, 4])
        assert run(keys=lambda session: session.answer(N))["order"] == [2, 4]
        assert sorted(path.name for path in place.folder_of(2).iterdir()) == [
            "guidelines.json", "li.jsonl", "review.json",
        ]  # fmt: skip

    def test_of_two_that_were_opened_with_different_queues_the_first_answer_decides(self, run, place):
        def late(session):
            place.line_up([2, 4])
            run("--annotator", "wu", keys=lambda other: other.answer(N))
            with pytest.raises(DataError, match="somebody else began another review in the meantime"):
                session.answer(N)

        run(keys=late)
        assert read_review(place.folder_of(2)).items == (item(2), item(4))
        assert [path.name for path in log_files(place.annotations, 2)] == ["li.jsonl", "wu.jsonl"]
        assert log_files(place.annotations, 2)[0].parent == place.folder_of(1)
        assert run()["order"] == [2, 4]

    def test_a_round_that_annotate_began_waits_for_its_answers_first(self, run, place, annotate):
        assert annotate("--new-round").exit_code == 0
        assert "expected answers in round 2 before a review, got none" in run()["result"].output
        assert not (place.folder_of(2) / "review.json").exists()

    def test_another_queue_changes_nothing_for_a_review_under_way(self, run, place):
        run(keys=lambda session: session.answer(N))
        frozen = (place.folder_of(2) / "review.json").read_bytes()
        place.line_up([0, 2, 4])
        place.share(1)
        assert run()["order"] == [7, 3, 9, 1, 5]
        assert run("--annotator", "wu")["order"] == [7, 3, 9, 1, 5]
        place.queue.unlink()
        place.labelled.unlink()
        (place.folder / "params.yaml").unlink()
        assert run("--annotator", "wu")["order"] == [7, 3, 9, 1, 5]
        assert (place.folder_of(2) / "review.json").read_bytes() == frozen

    def test_starting_again_goes_on_where_one_left_off(self, run):
        run(keys=lambda session: [session.answer(label) for label in (N, NOT)])
        seen = run()
        assert seen["session"].current == item(9)
        assert seen["session"].progress()[:2] == (2, 5)
        assert run("--annotator", "wu")["session"].current == item(7)

    def test_earlier_answers_are_not_in_the_session(self, run):
        session = run()["session"]
        assert [session.label(item_id) for item_id in session.order] == [None] * 5
        assert session.elsewhere == 0

    def test_a_finished_review_says_so_and_what_next(self, run, place):
        first = run(keys=finish)
        for seen in (first, run()):
            assert seen["result"].exit_code == 0
            assert "round 2, is answered" in seen["result"].output
            assert "annotation.round to 2 in params.yaml, and dvc repro" in seen["result"].output
            assert "dvc metrics diff" in seen["result"].output
        assert "session" not in seen
        place.queue.unlink()
        assert "session" not in run()
        again = run("--round", "2", keys=lambda session: session.undo())
        assert again["session"].progress().done == 4
        assert run()["session"].current == item(5)

    def test_who_finished_says_nothing_for_the_others(self, run):
        run(keys=finish)
        assert run("--annotator", "wu")["session"].progress().done == 0

    def test_after_a_finished_review_the_next_queue_begins_the_next(self, run, place):
        run(keys=finish)
        place.line_up([2, 7])
        seen = run(keys=lambda session: session.answer(N))
        assert seen["order"] == [2, 7]
        assert read_review(place.folder_of(3)) == Review((item(2), item(7)), (item(2), item(7)))
        assert run("--round", "2")["order"] == [7, 3, 9, 1, 5]

    def test_a_review_is_shared_as_its_first_reviewer_said(self, run):
        shared = ("--annotators", "li,wu,chen", "--overlap", "2")
        first = run(*shared, keys=lambda session: session.answer(N))["order"]
        orders = [first, *(run("--annotator", name)["order"] for name in ("wu", "chen"))]
        assert sorted(number for order in orders for number in order) == sorted([7, 3, 9, 1, 5] * 2)
        assert all(order == [number for number in (7, 3, 9, 1, 5) if number in order] for order in orders)
        run(keys=finish)
        assert "is answered" in run()["result"].output
        assert "who share this round, got 'zhao'" in run("--annotator", "zhao")["result"].output

    def test_items_that_are_no_longer_questions_are_counted_and_left_out(self, run, place):
        run(keys=lambda session: [session.answer(N), session.undo()])
        write_rows(place.questions, [question(number) for number in (3, 9)], QUESTIONS)
        seen = run(keys=finish)
        assert seen["order"] == [3, 9]
        assert seen["notices"] == ["3 items of the review are no longer questions."]
        assert "is answered" in run()["result"].output
        write_rows(place.questions, [question(100)], QUESTIONS)
        assert "none of the 5 items of this review is among the questions" in run()["result"].output

    def test_annotating_stays_out_of_a_review(self, run, place, annotate):
        run("--annotator", "wu", keys=lambda session: session.answer(N))
        result = annotate()
        assert result.exit_code == 1
        assert "is a review. Go on with chatladder review --round 2, or begin a round: --new-round." in result.output
        assert not log_path(place.annotations, 2, "li").exists()
        assert annotate("--new-round").exit_code == 0
        assert (place.folder_of(3) / "guidelines.json").exists()


class TestRandomPart:
    def test_a_review_also_asks_a_random_share_of_all_labels_the_test_split_too(self, run, place):
        rows = [labelled(number, "test" if number % 2 else "train") for number in range(11)]
        place.line_up([4, 2, 0], rows)
        place.share(0.3)
        seen = run(keys=finish)
        random = [number for number in range(11) if stable_fraction(item(number), "random:2") < 0.3]
        assert {number % 2 for number in random} == {0, 1}
        assert sorted(seen["order"]) == sorted({4, 2, 0, *random})
        frozen = json.loads((place.folder_of(2) / "review.json").read_text())
        # What is both is of the random part: its label was to be looked at anyway.
        assert {2, 0} < {*random}
        assert (frozen["suspects"], frozen["random"]) == ([item(4)], [*map(item, random)])
        assert [item(number) for number in seen["order"]] == frozen["items"]
        # The queue is still its own, though some of it is of the random part.
        assert "session" not in run()
        place.line_up([4, 2, 1])
        again = [number for number in range(11) if stable_fraction(item(number), "random:3") < 0.3]
        assert sorted(run()["order"]) == sorted({4, 2, 1, *again})

    def test_only_questions_of_today_are_drawn(self, run, place):
        place.line_up(QUEUE, [labelled(number) for number in (*range(11), 500)])
        place.share(1)
        assert sorted(run()["order"]) == list(range(11))

    def test_a_list_that_people_drew_is_no_review_to_go_on_with_unless_it_is_named(self, run, place):
        begin(place.folder_of(2), Review((item(2), item(4)), random=frozenset({item(2)})))
        append(log_path(place.annotations, 2, "wu"), Answer(item(2), "wu", 2, N, AT))
        assert run("--round", "2")["order"] == [2, 4]
        assert run(keys=lambda session: session.answer(N))["order"] == QUEUE
        assert read_review(place.folder_of(3)).suspects == tuple(map(item, QUEUE))


class TestBegin:
    def test_of_many_that_begin_at_one_moment_all_get_the_same_review(self, tmp_path):
        folder = tmp_path / "round_2"
        gate = Barrier(12)
        got = []

        def start(number):
            gate.wait()
            got.append(begin(folder, Review((item(number), item(99)), (item(99),), frozenset({item(number)}))))

        threads = [Thread(target=start, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 12
        assert set(got) == {read_review(folder)}
        assert [path.name for path in folder.iterdir()] == ["review.json"]

    def test_who_comes_second_gets_the_first_ones_though_it_came_between(self, tmp_path, monkeypatch):
        first, second = Review((item(1),)), Review((item(2),))
        create = review_module.create_json

        def create_late(path, value):
            monkeypatch.undo()
            assert begin(tmp_path, first) == first
            return create(path, value)

        monkeypatch.setattr(review_module, "create_json", create_late)
        assert begin(tmp_path, second) == first
        assert [path.name for path in tmp_path.iterdir()] == ["review.json"]

    def test_where_it_cannot_be_written_nothing_is_left(self, tmp_path, monkeypatch):
        def refuse(_path, _target):
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(type(tmp_path), "hardlink_to", refuse)
        with pytest.raises(DataError, match=r"review\.json: cannot be written: Operation not permitted"):
            begin(tmp_path, Review((item(1),)))
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "content",
        ["[]", "{", "{}", '{"items": [], "controls": []}', '{"items": ["a"]}', '{"items": ["a", "a"], "controls": []}',
         '{"items": ["a"], "controls": ["b"]}', '{"items": [1], "controls": []}', '{"items": "a", "controls": []}',
         '{"items": [["a"]], "controls": []}', '{"items": ["a"], "suspects": ["a"]}',
         '{"items": ["a"], "suspects": ["a"], "random": ["a"]}', '{"items": ["a"], "suspects": [], "random": ["b"]}',
         '{"items": ["a"], "suspects": null, "random": []}', '{"items": ["a"], "random": ["a"]}'],
    )  # fmt: skip
    def test_a_damaged_record_is_an_error(self, tmp_path, content):
        (tmp_path / "review.json").write_text(content)
        with pytest.raises(DataError, match=r"review\.json.*expected"):
            read_review(tmp_path)


class TestRefusals:
    def refused(self, run, place, *arguments):
        seen = run(*arguments)
        assert seen["result"].exit_code == 1
        assert "session" not in seen
        assert not place.folder_of(2).exists()
        return seen["result"].output

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"queue": [7, 3, 11]}, r"queue\.jsonl:3: expected a labelled item"),
            ({"queue": [7, 300]}, r"queue\.jsonl:2: expected an item of the questions"),
            ({"queue": [7, 7]}, r"queue\.jsonl:2: expected every item once, got that of line 1"),
            ({"queue": [7], "rows": [labelled(7, "test")]}, r"queue\.jsonl:1: expected no item of the test"),
            ({"queue": [7], "rows": [labelled(7)] * 2}, r"labelled\.parquet: expected every item once"),
        ],
    )
    def test_a_queue_that_does_not_fit_names_the_place_and_writes_nothing(self, run, place, change, message):
        place.line_up(**change)
        output = self.refused(run, place)
        assert re.search(message, output)
        assert "run dvc repro." in output

    @pytest.mark.parametrize(
        "content", ['{"item_id": 3}\n', '{"item": "a"}\n', "[1]\n", "{\n", '{"item_id": "\\ud800"}']
    )
    def test_a_malformed_queue_is_an_error_with_its_line(self, run, place, content):
        place.queue.write_text(content)
        assert "queue.jsonl:1: expected" in self.refused(run, place)

    def test_an_empty_or_missing_queue_is_an_error(self, run, place):
        place.line_up([])
        assert "expected items to review, got none" in self.refused(run, place)
        place.labelled.unlink()
        assert "labelled.parquet: expected the input of a review, got nothing. Run dvc repro." in self.refused(
            run, place
        )
        place.queue.unlink()
        assert "queue.jsonl: expected the input of a review" in self.refused(run, place)

    @pytest.mark.parametrize("share", ["-0.1", "1.1", "true", "much", "[]", ""])
    def test_a_share_that_is_none_names_the_parameter(self, run, place, share):
        place.share(share)
        assert "params.yaml: expected review.queue.random, the share of all labels" in self.refused(run, place)

    def test_without_the_parameter_it_says_which_to_write(self, run, place):
        (place.folder / "params.yaml").write_text("review: {queue: {share: 0.1}}\n")
        output = self.refused(run, place)
        assert "expected review.queue.random" in output
        assert "Write 0.2, for instance." in output

    def test_damaged_labels_are_an_error_at_whatever_byte(self, place):
        whole = place.labelled.read_bytes()
        known = {item(number) for number in range(12)}
        refused = []
        for at in range(4, len(whole), 53):
            place.labelled.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
            try:
                read_queue(place.queue, place.labelled, known, 2)
            except DataError as error:
                refused.append(error.message)
        assert refused
        assert all(str(place.labelled) in message for message in refused)

    def test_only_the_next_round_can_begin_a_review(self, run, place):
        for number in ("1", "3"):
            output = self.refused(run, place, "--round", number)
            assert (
                f"expected --round to be that of a review, or 2, after the latest that has answers; got {number}"
                in (output)
            )
        assert run("--round", "2")["order"] == [7, 3, 9, 1, 5]

    def test_without_answers_there_is_nothing_to_look_at_again(self, run, place):
        log_path(place.annotations, 1, "li").unlink()
        assert "expected answers to review, got none. Begin with chatladder annotate" in self.refused(run, place)
        place.annotations = place.folder / "nowhere"
        assert "expected answers to review" in self.refused(run, place)

    def test_a_name_that_is_no_files_name_is_refused(self, run, place):
        assert "expected letters, digits" in self.refused(run, place, "--annotator", "../li")

    def test_without_a_terminal_it_says_so(self, place):
        result = CliRunner().invoke(review_command, place.arguments())
        assert result.exit_code == 1
        assert "expected a terminal to annotate in" in result.output


def segments(app):
    """What the screen shows, with its colours, less what differs between any two items: digits and the bar."""
    lines = app.screen._compositor.render_strips()
    return [[(re.sub(r"\d", "#", part.text), str(part.style)) for part in line] for line in lines]


def test_the_screen_tells_nothing_of_a_label_and_is_the_same_for_suspects_and_others(place, monkeypatch):
    place.line_up([7, 3, 9])
    place.share(0.3)
    screens = []

    async def drive(app):
        async with app.run_test(size=(100, 30)) as pilot:
            for _ in range(5):
                await pilot.pause(0.05)
                texts = [strip.text for strip in app.screen._compositor.render_strips()]
                screens.append((app.session.current, texts, segments(app)))
                await pilot.press("f")
            await pilot.press("j", "q")

    monkeypatch.setattr(AnnotateApp, "run", lambda app: asyncio.run(drive(app)))
    monkeypatch.setattr(running, "in_terminal", lambda: True)
    result = CliRunner().invoke(review_command, place.arguments(), catch_exceptions=False)
    assert result.exit_code == 0
    looked_at = read_review(place.folder_of(2))
    assert [current for current, *_ in screens] == [*looked_at.items[:5]]
    assert {item_id in looked_at.random for item_id in looked_at.items[:5]} == {True, False}
    key_help = {"needed", "需要", "not", "不需要", "a", "question", "非问题", "unsure", "不确定"}
    for number, (current, texts, _) in enumerate(screens, start=1):
        head, text = texts[0], "\n".join(texts)
        assert f"li · round 2 · {number} of {len(looked_at.items)}" in head
        assert f"what about {current[4:]}?" in text
        found = [line for line in texts if any(word in line for word in ("needed", "需要", "not a question", "unsure"))]
        assert len(found) == 1
        assert set(re.sub(r" [jkiu] ", " ", found[0]).split()) <= key_help
        for secret in (REASON, "0.0", "0.9", "suspect", "random", "your answer", "not_needed", "train", "review"):
            assert secret not in text
    # Only what item it is differs: not a colour, not a word. (The last screen says that there is no other item.)
    assert all(parts == screens[0][2] for _, _, parts in screens)
    assert {
        item_id: answer.label for item_id, answer in replay(log_path(place.annotations, 2, "li")).answers.items()
    } == {looked_at.items[5]: N}


class TestFlips:
    REVIEW = Review(tuple("abcdefghi"), tuple("abcdef"), frozenset("gh"))

    def test_suspects_and_the_random_part_are_counted_apart_and_by_direction(self):
        before = {"a": N, "b": N, "c": NOT, "d": NOT, "e": N, "f": N, "g": N, "h": NOT}
        after = {"a": NOT, "b": N, "c": N, "d": None, "e": UNSURE, "g": N, "h": NOT, "elsewhere": N}
        found = flips(self.REVIEW, before, after)
        suspects = found["suspects"]
        assert {name: suspects[name] for name in ("items", "answered", "flipped", "rate")} == {
            "items": 6, "answered": 5, "flipped": 4, "rate": 0.8,
        }  # fmt: skip
        assert suspects["needed_to_not_needed"] == suspects["not_needed_to_needed"] == 1
        assert suspects["left_out"] == 2
        assert (found["random"]["answered"], found["random"]["flipped"], found["random"]["rate"]) == (2, 0, 0.0)
        assert found["excess"] == 0.8
        assert found["excess_lo"] < found["excess"] < found["excess_hi"]
        assert found["unlabelled"] == 0

    def test_what_ends_as_no_question_leaves_the_labels(self):
        found = flips(Review(("a",), ("a",)), {"a": N}, {"a": NONE})
        assert (found["suspects"]["flipped"], found["suspects"]["left_out"]) == (1, 1)

    def test_items_without_a_label_before_are_counted_and_otherwise_left_out(self):
        found = flips(self.REVIEW, {"a": N, "b": None, "c": UNSURE}, {"a": N, "b": N, "c": N, "d": N})
        assert found["unlabelled"] == 3
        assert (found["suspects"]["answered"], found["suspects"]["flipped"]) == (1, 0)

    def test_without_answers_there_are_no_rates(self):
        found = flips(self.REVIEW, dict.fromkeys("abcdefgh", N), {})
        assert [found[name]["rate"] for name in ("suspects", "random")] == [None, None]
        assert (found["excess"], found["excess_lo"], found["excess_hi"]) == (None, None, None)
        one_sided = flips(self.REVIEW, dict.fromkeys("abcdefgh", N), {"a": NOT})
        assert (one_sided["suspects"]["rate"], one_sided["excess"]) == (1.0, None)

    def test_it_can_be_written_as_json_and_reads_labels_as_text_too(self):
        before, after = dict.fromkeys("abcdefgh", N), dict.fromkeys("abcdefgh", NOT)
        found = flips(self.REVIEW, before, after)
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        as_text = [{item_id: str(label) for item_id, label in labels.items()} for labels in (before, after)]
        assert flips(self.REVIEW, *as_text) == found

    @pytest.mark.parametrize(
        ("hits", "total", "low", "high"),
        [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
    )
    def test_wilsons_interval_is_that_of_newcombes_table(self, hits, total, low, high):
        # Newcombe (1998), Statistics in Medicine 17, 857-872, table I, method 3.
        rate = wilson(hits, total)
        assert (round(rate.low, 4), round(rate.high, 4)) == (low, high)
        assert rate.value == hits / total

    @pytest.mark.parametrize(
        ("first", "second", "low", "high"),
        [((56, 70), (48, 80), 0.0524, 0.3339), ((9, 10), (3, 10), 0.1705, 0.8090), ((10, 10), (0, 10), 0.6075, 1.0),
         ((0, 10), (0, 20), -0.1611, 0.2775)],
    )  # fmt: skip
    def test_newcombes_interval_is_that_of_his_table(self, first, second, low, high):
        # Newcombe (1998), Statistics in Medicine 17, 873-890, table II, method 10.
        difference = newcombe(wilson(*first), wilson(*second))
        assert (round(difference.low, 4), round(difference.high, 4)) == (low, high)


def test_the_command_module_needs_no_heavy_library_to_load():
    import subprocess

    code = (
        "import sys, chatladder.cli.annotate.review; "
        "print({'textual', 'rich', 'fastapi', 'scipy', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
