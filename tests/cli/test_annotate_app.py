"""The annotator's screen, driven by keys as a person would."""

import asyncio
import errno
import json
import os
import re

import pytest
from rich.cells import cell_len
from textual.widgets import Input

from chatladder.cli.annotate.app import AnnotateApp
from chatladder.cli.annotate.options import parse_keys
from chatladder.cli.annotate.running import Task
from chatladder.cli.annotate.screens import Ask, Definition, Failure, WriteOut
from chatladder.cli.annotate.session import Session, SessionItems
from chatladder.io.rows import QUESTIONS, write_rows
from chatladder.labels import log as log_module
from chatladder.labels.answer import Label
from chatladder.labels.log import LogWriter, replay
from chatladder.labels.rounds import log_path

START = 1_696_150_800  # 2023-10-01 09:00 UTC
HOSTILE = (
    "\x1b[2J\x1b]0;pwned\x07[bold red]x[/] [@click=app.quit]y[/] [link=http://e.vil]z[/link] "
    "\u202egnp.exe\u2066 a\rb\u061c [/oops]"
)


def question(number, text=None, window=None, sender="u1"):
    at = START + 3600 * number
    before = [
        {"sender": f"u{turn}", "text": f"turn {turn} of {number}", "timestamp": at - 60 * (3 - turn)}
        for turn in range(3)
    ]
    return {
        "item_id": f"item{number:04}",
        "turn_id": f"turn{number:04}",
        "group": "g",
        "conversation": f"g:{number // 3}",
        "sender": sender,
        "text": text or f"question {number}?",
        "timestamp": at,
        "window": before if window is None else window,
    }


class Desk:
    """An annotator's files, and the app on them."""

    def __init__(self, folder, rows):
        write_rows(folder / "questions.parquet", rows, QUESTIONS)
        self.items = SessionItems(folder / "questions.parquet")
        self.path = log_path(folder / "annotations", 1, "li")

    def run(self, keys, check=None, *, keymap="", notices=(), size=(80, 24)):
        """Press some keys, look at the app, close it."""

        async def drive():
            with LogWriter(self.path) as log:
                session = Session(
                    dict.fromkeys(self.items.ids, 1), replay(self.path).history, log.append, annotator="li"
                )
                task = Task("li", "li", {}, {}, "# 需要\n\nWhat needed means.", notices)
                app = AnnotateApp(session, self.items, task, parse_keys(keymap))
                async with app.run_test(size=size) as pilot:
                    await pilot.press(*keys)
                    await pilot.pause()
                    if check:
                        check(app)

        asyncio.run(drive())

    def labels(self):
        return {item_id: answer.label for item_id, answer in replay(self.path).answers.items()}


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path, [question(number) for number in range(6)])


def screen_lines(app):
    return [strip.text for strip in app.screen._compositor.render_strips()]


def shown(app):
    return "\n".join(screen_lines(app))


def test_the_question_stands_under_its_history_with_senders_times_and_progress(desk):
    def check(app):
        lines = screen_lines(app)
        text = "\n".join(lines)
        assert "08:57 u0" in text
        assert "08:59 u2" in text
        below = [number for number, line in enumerate(lines) if "question 0?" in line]
        above = [number for number, line in enumerate(lines) if "turn 2 of 0" in line]
        assert above < below
        assert "question 问题 2023-10-01" in lines[below[0] - 1]
        assert "1 of 6" in lines[0]
        assert "0 done, 6 left" in lines[0]
        for word in ("needed", "not a question", "unsure", "definition", "quit"):
            assert word in lines[-1] + lines[-2]

    desk.run([], check)
    assert not desk.path.exists()


def test_one_key_labels_saves_and_goes_on(desk):
    desk.run("jkiu", lambda app: shown(app).index("question 4?"))
    assert desk.labels() == {
        "item0000": Label.NEEDED,
        "item0001": Label.NOT_NEEDED,
        "item0002": Label.NOT_A_QUESTION,
        "item0003": Label.UNSURE,
    }
    assert len(desk.path.read_text("utf-8").splitlines()) == 4


def test_caps_lock_changes_nothing(desk):
    desk.run(["J", "K"])
    assert list(desk.labels().values()) == [Label.NEEDED, Label.NOT_NEEDED]


def test_undo_goes_back_to_any_depth_also_over_a_restart(desk):
    desk.run("jkij")
    desk.run(["z", "backspace", "z"], lambda app: shown(app).index("question 1?"))
    assert desk.labels() == {"item0000": Label.NEEDED}
    desk.run("zz", lambda app: shown(app).index("Nothing to undo"))
    assert desk.labels() == {}


def test_starting_again_goes_on_where_one_left_off(desk):
    desk.run("jk")
    desk.run([], lambda app: (shown(app).index("question 2?"), shown(app).index("2 done, 4 left")))
    desk.run("jjjj", lambda app: shown(app).index("Every item is answered"))
    assert len(desk.labels()) == 6
    assert len(desk.path.read_text("utf-8").splitlines()) == 6


def test_what_was_skipped_comes_again_at_the_end(desk):
    desk.run("sjjjjj", lambda app: shown(app).index("question 0?"))
    assert "item0000" not in desk.labels()
    desk.run("s", lambda app: shown(app).index("No other item is open"))
    desk.run("j")
    assert len(desk.labels()) == 6


def test_going_back_shows_the_answer_and_another_replaces_it(desk):
    desk.run("jbk", lambda app: shown(app).index("question 1?"))
    assert desk.labels() == {"item0000": Label.NOT_NEEDED}
    desk.run(
        ["left", "left"], lambda app: (shown(app).index("your answer: not_needed"), shown(app).index("first item"))
    )
    desk.run(["left", "right"], lambda app: shown(app).index("question 1?"))
    desk.run("z")
    assert desk.labels() == {"item0000": Label.NEEDED}


def answers(desk):
    return {item_id: (answer.label, answer.rewrite) for item_id, answer in replay(desk.path).answers.items()}


class TestWritingOut:
    def test_the_question_just_answered_stands_there_to_be_changed_and_one_goes_on_behind_it(self, desk):
        def asked(app):
            assert isinstance(app.screen, WriteOut)
            assert "turn 2 of 0" in shown(app)
            assert "1 of 6" in shown(app)
            assert shown(app).count("question 0?") == 2

        desk.run("j", lambda app: shown(app).index("w writes it out"))
        desk.run("w", asked)
        assert answers(desk) == {"item0000": (Label.NEEDED, None)}

        def written(app):
            assert shown(app).index("1: written out. z takes it back")
            assert "question 1?" in shown(app)

        desk.run(["w", *[" "] * 2, *"jq 用 GPU?", "enter"], written)
        assert answers(desk) == {"item0000": (Label.NEEDED, "question 0? jq 用 GPU?")}
        desk.run("bw", lambda app: (shown(app).index("question 0? jq"), shown(app).index("needed, written out")))

    def test_escape_an_unchanged_line_and_an_empty_one_are_no_text(self, desk):
        desk.run("j")
        before = desk.path.read_bytes()
        for keys in (["escape"], ["enter"], ["x", "escape"], ["ctrl+u", "enter"], [" ", "enter"]):
            desk.run(["w", *keys], lambda app: (shown(app).index("Unchanged"), shown(app).index("question 1?")))
        assert desk.path.read_bytes() == before

    def test_a_text_is_changed_emptied_and_taken_back(self, desk):
        desk.run(["j", "w", "x", "enter", "w", "y", "enter"])
        assert answers(desk)["item0000"] == (Label.NEEDED, "question 0?xy")
        desk.run(["w", "ctrl+u", "enter"], lambda app: shown(app).index("no longer written out"))
        assert answers(desk)["item0000"] == (Label.NEEDED, None)
        desk.run("z", lambda app: shown(app).index("Took back the rewrite of 1"))
        assert answers(desk)["item0000"] == (Label.NEEDED, "question 0?xy")
        desk.run("zzz", lambda app: shown(app).index("Took back needed of 1"))
        assert answers(desk) == {}

    def test_nothing_but_what_is_needed_is_written_out(self, desk):
        desk.run("w", lambda app: shown(app).index("once its answer is needed"))
        desk.run("kw", lambda app: (type(app.screen) is not WriteOut) or pytest.fail("asked"))
        desk.run("jbbw", lambda app: shown(app).index("once its answer is needed"))  # the first one, not needed
        assert answers(desk) == {"item0000": (Label.NOT_NEEDED, None), "item0001": (Label.NEEDED, None)}
        desk.run(["b", "w", "!", "enter"], lambda app: shown(app).index("2 of 6"))
        assert answers(desk)["item0001"] == (Label.NEEDED, "question 1?!")

    def test_what_is_typed_is_masked_as_the_chat_is(self, desk, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "params.yaml").write_text("ingest: {phone_region: [GB]}\n")
        typed = " of ann@example.org, 020 7946 0018"
        desk.run(["j", "w", *typed, "enter"], lambda app: shown(app).index("written out, 2 masked"))
        assert answers(desk)["item0000"] == (Label.NEEDED, "question 0? of <email>, <phone>")

    def test_a_question_of_several_lines_stands_on_one_and_hostile_text_does_nothing(self, tmp_path):
        desk = Desk(tmp_path, [question(0, f"在吗\n它支持吗 {HOSTILE}"), question(1)])

        def asked(app):
            value = app.screen.query_one(Input).value
            assert value.startswith("在吗 它支持吗 [2J")
            assert value.isprintable()
            assert not set(shown(app)) & {"\x1b", "\x07", "\u202e", "\u2066"}

        desk.run("jw", asked, size=(140, 24))
        desk.run(["w", "!", "enter"])
        assert answers(desk)["item0000"][1].endswith("[/oops]!")

    def test_a_full_disk_keeps_the_answer_and_says_so(self, desk, monkeypatch):
        desk.run("j")

        def full(*_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patched:
            patched.setattr(log_module.os, "write", full)
            desk.run(["w", "x", "enter"], lambda app: isinstance(app.screen, Failure) or pytest.fail("not said"))
        assert answers(desk) == {"item0000": (Label.NEEDED, None)}


def test_jump_by_number_and_by_id(desk):
    desk.run(["g", "5", "enter"], lambda app: shown(app).index("question 4?"))
    desk.run(["g", *"item0003", "enter", "k"])
    assert desk.labels() == {"item0003": Label.NOT_NEEDED}
    desk.run(["g", *"99", "enter"], lambda app: shown(app).index("Expected a number from 1 to 6"))
    desk.run(["g", "5", "escape"], lambda app: shown(app).index("question 4?"))


def test_what_is_typed_into_a_search_labels_nothing(desk):
    def check(app):
        assert isinstance(app.screen, Ask)
        assert "jkiuz" in shown(app)

    desk.run(["slash", *"jkiuz"], check)
    assert not desk.path.exists()


def test_search_goes_from_hit_to_hit_and_takes_signs_literally(tmp_path):
    desk = Desk(tmp_path, [question(0), question(1, "What is [x].*?"), question(2), question(3, "WHAT IS [X] then")])
    keys = ["slash", *"is ", "left_square_bracket", "x", "right_square_bracket", "enter"]
    desk.run(keys, lambda app: (shown(app).index("What is [x].*?"), shown(app).index("2 questions match")))
    desk.run([*keys, "n"], lambda app: shown(app).index("WHAT IS [X] then"))
    desk.run([*keys, "n", "n"], lambda app: shown(app).index("What is [x].*?"))
    desk.run(
        ["slash", *"nowhere", "enter"],
        lambda app: (shown(app).index("No question matches"), shown(app).index("1 of 4")),
    )
    desk.run(["n"], lambda app: shown(app).index("Nothing was searched yet"))


@pytest.mark.parametrize("key", ["d", "question_mark"])
def test_the_definition_is_one_key_away_and_labels_nothing(desk, key):
    def check(app):
        assert isinstance(app.screen, Definition)
        assert "What needed means." in shown(app)

    desk.run([key, "j", "k"], check)
    desk.run([key, key, "i"])
    assert desk.labels() == {"item0000": Label.NOT_A_QUESTION}


def test_other_keys_take_the_place_of_the_usual_ones(desk):
    desk.run("ajl", lambda app: shown(app).index(" a needed"), keymap="needed=a,not_needed=l")
    assert list(desk.labels().values()) == [Label.NEEDED, Label.NOT_NEEDED]


def test_hostile_text_is_shown_and_does_nothing(tmp_path):
    turns = [{"sender": "[red]\x1b[31m\u202eu", "text": HOSTILE, "timestamp": START}]
    desk = Desk(tmp_path, [question(0, HOSTILE, turns, sender="[blink]\x9b5n"), question(1)])

    def check(app):
        text = shown(app)
        for literal in ("[bold red]x[/]", "[@click=app.quit]y[/]", "[link=http://e.vil]z[/link]", "[/oops]", "[red]"):
            assert text.replace("\n", " ").count(literal) >= 1, literal
        styled = [part for strip in app.screen._compositor.render_strips() for part in strip]
        assert not any(part.style and (part.style.link or "@click" in part.style.meta) for part in styled)
        assert not set(text) & {"\x1b", "\x07", "\x9b", "\r", "\u202e", "\u2066", "\u061c"}

    desk.run([], check, size=(140, 24))
    desk.run("j")
    assert desk.labels() == {"item0000": Label.NEEDED}


@pytest.mark.parametrize(
    "text",
    [
        "中文字符应当对齐吗？全角，标点。",
        "emoji 👩‍👩‍👧‍👦 👍🏽 🇨🇳 ❤️ in a row",
        "שלום עולם, האם זה עובד? مرحبا بالعالم",
        "combining e\u0301 z\u0300\u0301\u0302\u0303\u0304\u0305\u0306 หนึ่ง",
        "混 mixed テスト 한국어 text " * 12,
        "x" * 300,
        "\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "replace") + "\t tab",
    ],
)
def test_every_line_is_as_wide_as_the_screen_and_its_frame_stands_straight(tmp_path, text):
    turns = [{"sender": "寄件者很長的名字", "text": text, "timestamp": None}]
    desk = Desk(tmp_path, [question(0, text, turns)])

    def check(app):
        lines = screen_lines(app)
        assert {cell_len(line) for line in lines} == {80}
        framed = [line for line in lines if line.lstrip().startswith("│")]
        assert framed
        assert len({cell_len(line.rstrip()) for line in framed}) == 1

    desk.run([], check)


def test_a_long_message_is_cut_until_asked_for(tmp_path):
    desk = Desk(tmp_path, [question(0, "long " * 1_000 + "END"), question(1)])
    desk.run([], lambda app: shown(app).count("more characters") == 1 or pytest.fail("not cut"), size=(100, 40))

    def whole(app):
        app.query_one("#chat").scroll_end(animate=False)
        assert "more characters" not in shown(app)

    desk.run("e", whole, size=(100, 40))


def test_a_question_taller_than_the_screen_is_shown_from_its_beginning(tmp_path):
    desk = Desk(tmp_path, [question(0, "FIRST\n" + "line\n" * 60)])
    desk.run([], lambda app: shown(app).index("FIRST"))


def test_a_torn_line_is_healed_and_reported(desk):
    desk.run("jk")
    desk.path.write_bytes(desk.path.read_bytes()[:-10])
    with LogWriter(desk.path) as log:
        notice = f"{log.set_aside} bytes moved aside"
    desk.run("", lambda app: (shown(app).index(notice), shown(app).index("question 1?")), notices=(notice,))
    desk.run("u")
    assert desk.labels() == {"item0000": Label.NEEDED, "item0001": Label.UNSURE}


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_is_said_once_and_nothing_counts_as_answered(desk, monkeypatch, call):
    desk.run("j")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def failed(app):
        assert isinstance(app.screen, Failure)
        assert re.search(r"the\W+disk\W+is\W+full", shown(app))  # a long path before it breaks the line anywhere
        assert app.session.progress().done == 1
        assert app.session.current == "item0001"

    with monkeypatch.context() as patched:
        patched.setattr(log_module.os, call, full)
        # The second k is typed ahead: it must not close what says that the first one failed.
        desk.run("kk", failed)
        desk.run("z", failed)
    assert desk.labels() == {"item0000": Label.NEEDED}
    desk.run("k")
    assert desk.labels() == {"item0000": Label.NEEDED, "item0001": Label.NOT_NEEDED}


def test_after_a_full_disk_the_same_run_goes_on(desk, monkeypatch):
    write = os.write
    left = [1]

    def full_once(handle, content):
        if left and b"item_id" in content:
            left.pop()
            write(handle, content[:20])  # a full disk takes what still fits
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(handle, content)

    monkeypatch.setattr(log_module.os, "write", full_once)
    desk.run(["j", "escape", "j", "k"])
    assert list(desk.labels().values()) == [Label.NEEDED, Label.NOT_NEEDED]
    rows = [json.loads(line) for line in desk.path.read_text("utf-8").splitlines()]
    assert [row["item_id"] for row in rows] == ["item0000", "item0001"]


def test_questions_that_cannot_be_read_end_the_app_with_the_reason(desk, monkeypatch):
    def damaged(*_args, **_options):
        raise OSError("bad page")

    seen = []
    monkeypatch.setattr(desk.items._file, "iter_batches", damaged)
    desk.run([], lambda app: seen.append(app.error))
    assert "questions.parquet: expected a parquet file of questions: OSError" in seen[0].message
