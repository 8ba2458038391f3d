"""Settling what annotators disagree about: who is asked what, the command, and the screen."""

import asyncio
import fcntl
import json
import re

import pytest
from click.testing import CliRunner

from chatladder.cli.annotate import round_records, running
from chatladder.cli.annotate.adjudicate import adjudicate_command, still_to_annotate, to_adjudicate
from chatladder.cli.annotate.app import AnnotateApp
from chatladder.cli.annotate.command import annotate_command
from chatladder.cli.annotate.round_records import chat_order
from chatladder.cli.annotate.running import own_history
from chatladder.io.rows import QUESTIONS, write_rows
from chatladder.labels.answer import Answer, Label
from chatladder.labels.log import create, replay
from chatladder.labels.rounds import adjudication_path, log_path
from chatladder.labels.verdicts import Case, read_answers
from tests.logs import append

AT = "2023-10-01T12:00:00Z"
N, S, Q, U = Label.NEEDED, Label.NOT_NEEDED, Label.NOT_A_QUESTION, Label.UNSURE


def row(number):
    return {
        "item_id": f"i{number}",
        "turn_id": f"t{number}",
        "group": "g",
        "conversation": f"g:{number % 2}",
        "sender": "u1",
        "text": f"question {number}?",
        "timestamp": 1_696_150_800 + number,
        "window": [{"sender": "u2", "text": f"turn before {number}", "timestamp": None}],
    }


def case(number=1, adjudicators=None, /, **annotators):
    return Case(number, annotators, adjudicators or {}, frozenset(annotators), frozenset(adjudicators or ()))


class Project:
    """Questions, answers of some rounds, and the command with keys, or a function, in place of a person."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        self.annotations = folder / "annotations"
        self.monkeypatch = monkeypatch
        write_rows(folder / "questions.parquet", [row(number) for number in range(6)], QUESTIONS)
        #: Round 1: i0 and i3 tie, i1 is unsure, i5 has a majority that is not unanimous.
        said = {"li": [N, U, S, N, Q, N], "wu": [S, U, S, U, Q, N], "xu": [None, None, S, None, None, S]}
        for who, labels in said.items():
            self.say(1, who, **{f"i{number}": label for number, label in enumerate(labels) if label is not None})

    def say(self, number, who, **labels):
        answers = [Answer(item_id, who, number, label, AT) for item_id, label in labels.items()]
        create(log_path(self.annotations, number, who), answers)

    def settled(self, who="chen", number=1):
        return {id_: answer.label for id_, answer in replay(self.path(who, number)).answers.items()}

    def path(self, who="chen", number=1):
        return adjudication_path(self.annotations, number, who)

    def run(self, *arguments, keys="", check=None, who="chen", command=adjudicate_command, name="--adjudicator"):
        """Run the command, press some keys, look at the app, leave."""
        seen = {"told": ()}

        def run(app, **_options):
            seen.update(session=app.session, told=tuple(app.work.notices))

            async def drive():
                async with app.run_test(size=(110, 30)) as pilot:
                    await pilot.press(*keys)
                    await pilot.pause()
                    if check:
                        check("\n".join(strip.text for strip in app.screen._compositor.render_strips()))

            asyncio.run(drive())

        self.monkeypatch.setattr(AnnotateApp, "run", run)
        self.monkeypatch.setattr(running, "in_terminal", lambda: True)
        paths = ["--questions", str(self.folder / "questions.parquet"), "--annotations", str(self.annotations)]
        result = CliRunner().invoke(command, [name, who, *paths, *arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result, seen


@pytest.fixture
def project(tmp_path, monkeypatch):
    return Project(tmp_path, monkeypatch)


def test_conversations_stay_together_in_the_order_in_which_they_begin():
    assert chat_order(["a", "b", "c", "d", "e"], ["x", "y", "x", "z", "y"]) == ["a", "c", "b", "e", "d"]


FOUND = {
    "tie": case(li=N, wu=S),
    "unsure": case(li=U, wu=U),
    "majority": case(li=N, wu=N, xu=S),
    "unanimous": case(li=N, wu=N),
}


class TestChoice:
    def test_what_annotators_leave_undecided_is_asked_and_with_all_every_disagreement(self):
        assert list(to_adjudicate(FOUND, "chen", (), everything=False).cases) == ["tie", "unsure"]
        assert list(to_adjudicate(FOUND, "chen", (), everything=True).cases) == ["tie", "unsure", "majority"]

    def test_what_is_settled_is_left_out_and_said(self):
        found = {
            "theirs": case(1, {"zhao": N}, li=N, wu=S),
            "both": case(1, {"zhao": N, "chen": N}, li=N, wu=S),
            "contested": case(1, {"zhao": N, "qian": S}, li=N, wu=S),
        }
        asked, notices = to_adjudicate(found, "chen", (), everything=False)
        assert list(asked) == ["both", "contested"]
        assert asked["both"].adjudicators == {"zhao": N}  # one's own is the answer on the screen
        assert notices == [
            "Items undecided until the adjudicators agree: 1.",
            "Settled items left out: 1; --all shows them.",
        ]
        assert list(to_adjudicate(found, "chen", (), everything=True).cases) == list(found)

    def test_who_annotated_what_they_settle_is_told_so(self):
        assert to_adjudicate(FOUND, "li", (), everything=False).notices == [
            "Items that you annotated yourself, so that your decision is not independent: 2."
        ]
        assert to_adjudicate(FOUND, "chen", (), everything=False).notices == []

    def test_annotating_stays_blind_for_who_has_yet_to_do_it(self, tmp_path):
        found = {"i1": case(li=N, wu=U), "i2": case(wu=U), "i3": case(2, wu=U)}
        append(log_path(tmp_path, 1, "li"), Answer("i1", "li", 1, N, AT))
        waiting = still_to_annotate(found, "li", tmp_path)
        assert waiting == {"i2"}
        assert still_to_annotate(found, "chen", tmp_path) == set()
        asked, notices = to_adjudicate(found, "li", waiting, everything=False)
        assert list(asked) == ["i1", "i3"]
        assert notices[-1] == "Items left out since you have yet to annotate them, blind: 1."

    def test_a_vote_of_an_earlier_round_is_no_answer_to_the_latest(self, tmp_path):
        append(log_path(tmp_path, 2, "li"), Answer("i2", "li", 2, N, AT))
        found = {"i1": Case(2, {"li": N, "wu": S}, {}, frozenset({"wu"}))}
        assert still_to_annotate(found, "li", tmp_path) == {"i1"}
        assert still_to_annotate(found, "wu", tmp_path) == set()

    def test_what_one_settled_oneself_of_an_earlier_round_is_settled(self):
        found = {"i1": Case(2, {"li": N, "wu": S}, {"chen": N})}
        assert to_adjudicate(found, "chen", (), everything=False) == (
            {}, ["Settled items left out: 1; --all shows them."]
        )  # fmt: skip
        (asked,) = to_adjudicate(found, "chen", (), everything=True).cases.values()
        assert asked.adjudicators == {}

    def test_a_shared_round_says_who_has_yet_to_annotate_what(self, tmp_path):
        found = {f"i{number}": case(wu=U) for number in range(40)}
        round_records.settle_assignment(tmp_path / "round_1", ["li", "wu", "xu"], 2)
        theirs = {item_id for item_id in found if "li" in round_records.assigned(item_id, ["li", "wu", "xu"], 2)}
        assert still_to_annotate(found, "li", tmp_path) == theirs
        assert 0 < len(theirs) < 40
        assert still_to_annotate(found, "chen", tmp_path) == set()


class TestScreen:
    def test_it_shows_what_each_annotator_said_of_the_question(self, project):
        def first(text):
            lines = text.splitlines()
            said = next(line for line in lines if line.startswith(" round 1"))
            assert "li:  needed 需要" in said
            assert "wu:  not needed 不需要" in said
            assert lines.index(said) > next(n for n, line in enumerate(lines) if "question 0?" in line)
            assert "turn before 0" in text
            assert "chen adjudicates · 1 of 3" in text

        project.run(check=first)
        assert not project.path().exists()
        project.run(keys="s", check=lambda text: text.index("li:  unsure") < text.index("wu:  unsure"))

    def test_keys_settle_in_the_order_of_conversations_and_are_on_the_disk(self, project):
        before = {path: path.read_bytes() for path in project.annotations.glob("round_1/*.jsonl")}
        result, _ = project.run(keys="jku", check=lambda text: text.index("Every item is answered"))
        assert project.settled() == {"i0": N, "i1": S, "i3": U}
        assert f"{project.path()}: 3 answers added, 3 of 3 items done." in result.output
        assert list(project.settled()) == ["i0", "i1", "i3"]
        rows = [json.loads(line) for line in project.path().read_text().splitlines()]
        assert {(each["annotator"], each["round"]) for each in rows} == {("chen", 1)}
        assert {path: path.read_bytes() for path in before} == before

    def test_starting_again_goes_on_and_undo_goes_back_over_it(self, project):
        project.run(keys="jk")
        project.run(check=lambda text: (text.index("question 3?"), text.index("2 done, 1 left")))
        project.run(keys="z", check=lambda text: (text.index("question 1?"), text.index("Took back not_needed")))
        assert project.settled() == {"i0": N}
        project.run(keys="zz", check=lambda text: text.index("Nothing to undo"))
        assert project.settled() == {}

    def test_another_adjudicator_is_asked_the_rest_and_sees_the_first_one_with_all(self, project):
        project.run(keys="j")
        _, seen = project.run(who="zhao")
        assert seen["session"].order == ("i1", "i3")
        assert seen["told"] == ("Settled items left out: 1; --all shows them.",)
        project.run("--all", who="zhao", check=lambda text: text.index("adjudicator chen:  needed"))

    def test_annotators_see_none_of_it(self, project):
        project.run(keys="j")

        def check(text):
            assert "question" in text
            assert not any(name in text for name in ("li:", "wu:", "chen"))

        project.run(check=check, who="yu", command=annotate_command, name="--annotator")

    def test_a_hostile_name_of_a_log_does_nothing(self, project):
        name = "[bold]x[@click=app.quit] \x1b[2J"
        (project.annotations / "round_1" / f"{name}.jsonl").write_text(
            json.dumps({"item_id": "i0", "annotator": name, "round": 1, "label": "unsure", "at": AT}) + "\n"
        )
        project.run(check=lambda text: text.index("[bold]x[@click=app.quit] \ufffd[2J:  unsure"))


class TestRounds:
    def test_each_answer_goes_to_the_round_that_it_settles(self, project):
        project.say(2, "li", i0=S, i1=N, i5=N)
        project.say(2, "wu", i0=S, i1=S, i5=U)
        _, seen = project.run(keys="jkj")
        assert seen["session"].order == ("i1", "i3", "i5")
        assert project.settled(number=2) == {"i1": N, "i5": N}
        assert project.settled(number=1) == {"i3": S}
        project.run(keys="zz")
        assert (project.settled(number=1), project.settled(number=2)) == ({}, {"i1": N})

    def test_what_was_settled_before_is_neither_asked_nor_taken_back_while_it_stands(self, project):
        project.run("--round", "1", keys="jjj")
        project.say(2, "li", i0=S, i1=N)
        project.say(2, "wu", i0=N, i1=N)
        _, seen = project.run()
        assert seen["session"].order == ("i3",)
        assert seen["session"].label("i3") == N
        assert "2 answers in the log are about items not shown here." in seen["told"]
        project.run(keys="zzz")
        assert project.settled(number=1) == {"i0": N, "i1": N}
        # Asked for, it is settled anew, of the round that was answered since.
        project.run("--all", keys="k")
        assert (project.settled(number=1), project.settled(number=2)) == ({"i0": N, "i1": N}, {"i0": S})

    def test_fewer_rounds_can_count(self, project):
        for who in ("li", "wu"):
            project.say(2, who, i0=S, i1=S, i3=S)
        assert "nothing to adjudicate among 6 items of rounds 1 to 2." in project.run()[0].output
        assert project.run("--round", "1")[1]["session"].order == ("i0", "i1", "i3")

    def test_history_of_several_logs_is_in_time_and_each_keeps_its_order(self, tmp_path):
        times = {1: ["12:00:05", "12:00:01", "12:00:07"], 2: ["12:00:06"]}
        for number, given in times.items():
            answers = [Answer(f"{number}{at}", "chen", number, N, f"2023-10-01T{at}Z") for at in given]
            create(adjudication_path(tmp_path, number, "chen"), answers)
        history = own_history([adjudication_path(tmp_path, number, "chen") for number in times])
        assert [answer.item_id for answer in history] == ["112:00:05", "112:00:01", "212:00:06", "112:00:07"]


class TestCommand:
    def test_without_a_disagreement_it_says_so_and_ends_well(self, project):
        for path in project.annotations.glob("round_1/*.jsonl"):
            path.unlink()
        project.say(1, "li", i0=N, i1=S)
        project.say(1, "wu", i0=N, i1=S)
        result, _ = project.run()
        assert result.exit_code == 0
        assert (
            f"{project.annotations}: nothing to adjudicate among 2 items of round 1. --all also asks" in result.output
        )
        assert "--all" not in project.run("--all")[0].output
        assert not project.path().parent.exists()

    def test_a_round_without_answers_is_refused(self, project):
        result, _ = project.run("--round", "3")
        assert result.exit_code == 1
        assert "expected answers of round 3" in result.output
        for path in project.annotations.glob("round_1/*.jsonl"):
            path.unlink()
        assert "expected answers of round 1" in project.run()[0].output

    def test_a_round_that_was_begun_without_an_answer_is_not_taken_for_the_latest(self, project):
        (project.annotations / "round_2").mkdir()
        assert project.run()[1]["session"].order == ("i0", "i1", "i3")

    def test_without_a_terminal_it_says_so(self, project):
        arguments = ["--adjudicator", "chen", "--questions", str(project.folder / "questions.parquet")]
        result = CliRunner().invoke(adjudicate_command, [*arguments, "--annotations", str(project.annotations)])
        assert result.exit_code == 1
        assert "expected a terminal" in result.output

    @pytest.mark.parametrize("name", ["../chen", ".chen", "a b"])
    def test_a_name_that_is_no_files_name_is_refused(self, project, name):
        result, _ = project.run(who=name)
        assert result.exit_code == 1
        assert f"adjudicator {name!a}: expected letters, digits" in result.output

    def test_an_annotator_may_settle_and_is_told(self, project):
        _, seen = project.run(who="li")
        assert seen["told"] == ("Items that you annotated yourself, so that your decision is not independent: 3.",)
        assert seen["session"].order == ("i0", "i1", "i3")

    def test_a_second_window_is_refused(self, project):
        project.run(keys="j")
        with project.path().open("rb") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            result, _ = project.run()
        assert result.exit_code == 1
        assert "'chen' adjudicates in another window" in result.output

    def test_a_torn_line_is_moved_aside_and_asked_again(self, project):
        project.run(keys="jk")
        project.path().write_bytes(project.path().read_bytes()[:-10])
        _, seen = project.run(keys="u")
        assert "and was moved aside; its question is asked again." in " ".join(seen["told"])
        assert project.settled() == {"i0": N, "i1": U}
        assert (project.path().parent / ".chen.torn").exists()

    def test_items_that_are_gone_are_counted(self, project):
        append(log_path(project.annotations, 1, "li"), Answer("gone", "li", 1, N, AT))
        append(project.path("zhao"), Answer("gone", "zhao", 1, N, AT))
        assert "1 annotated items are no longer questions." in project.run()[1]["told"]

    def test_an_adjudication_of_what_nobody_annotated_names_its_line(self, project):
        append(project.path("zhao"), Answer("i0", "zhao", 1, N, AT))
        project.say(2, "li", i1=N)
        append(project.path("zhao", 2), Answer("i0", "zhao", 2, N, AT))
        result, _ = project.run()
        assert result.exit_code == 1
        assert "round_2/adjudication/zhao.jsonl:1: expected an item that an annotator answered in round 2" in (
            result.output
        )

    def test_a_round_keeps_its_guidelines_and_one_without_a_record_gets_none(self, project):
        assert project.run(keys="j")[0].exit_code == 0
        record = project.annotations / "round_1" / round_records.GUIDELINES_FILE
        assert not record.exists()
        record.write_text('{"version": "aaa", "file": "rules.md"}')
        result, _ = project.run()
        assert result.exit_code == 1
        assert "this round follows guidelines 'aaa'" in result.output
        assert project.run("--allow-changed-guidelines")[0].exit_code == 0
        assert json.loads(record.read_text())["changed_to"]

    def test_other_keys_and_times_are_taken(self, project):
        arguments = ("--keys", "needed=a", "--timezone", "Asia/Shanghai")
        project.run(*arguments, keys="a", check=lambda text: text.index("17:00"))
        assert project.settled() == {"i0": N}
        result, _ = project.run("--keys", "needed=k")
        assert result.exit_code == 2

    def test_the_module_needs_no_screen_library_to_load(self):
        import subprocess
        import sys

        from tests.conftest import ROOT

        code = (
            "import sys, chatladder.cli.annotate.adjudicate; "
            "print({'textual', 'rich', 'fastapi', 'sklearn'} & set(sys.modules))"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "set()"


def test_what_could_not_be_recorded_changes_nothing(project, monkeypatch):
    def full(*_):
        raise OSError(28, "full")

    monkeypatch.setattr("chatladder.labels.log.os.fsync", full)
    # A long path before it breaks the line anywhere.
    project.run(keys="j", check=lambda text: re.search(r"the\W+disk\W+is\W+full", text)[0])
    assert not project.path().exists()


def test_adjudicators_are_read_apart_from_annotators(project):
    append(project.path(), Answer("i0", "chen", 1, N, AT))
    names = [{placed.answer.annotator for placed in given} for given in read_answers(project.annotations, 1)[:2]]
    assert names == [{"li", "wu", "xu"}, {"chen"}]
