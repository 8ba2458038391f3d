"""Tasks for Label Studio and answers from it, on exports of the shape that release 1.23.2 writes."""

import json
import re
from copy import deepcopy
from xml.etree import ElementTree as Xml

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from chatladder.cli.annotate.round_records import GUIDELINES, read_guidelines, version_of
from chatladder.cli.label_studio import exchange
from chatladder.cli.label_studio.command import label_studio_group
from chatladder.cli.label_studio.exchange import NOTHING_BEFORE, config_of, parse_names, read_export, task_of
from chatladder.io.console import DataError
from chatladder.io.files import write_json, write_jsonl
from chatladder.io.rows import QUESTIONS, write_rows
from chatladder.labels.answer import Answer, Label
from chatladder.labels.log import LogWriter, replay
from chatladder.labels.rounds import log_path
from chatladder.vocabulary import LABELS
from tests.logs import append

VERSION = version_of(read_guidelines(GUIDELINES))
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "{{idx}} {{item_id}} ${item_id}",
    "$item_id",
    "https://example.org/x.png",
    "s3://bucket/key.png",
    "</script>\n  two\n\tthree & \"four\" 'five'",
    "\u202edesrever\u202c \x1b[31m",
    "装好了吗？🙂",
)


def question(number, text=None, window=(), timestamp=1_696_150_800):
    return {
        "item_id": f"item{number:02}",
        "turn_id": f"turn{number:02}",
        "group": "g",
        "conversation": "g:0",
        "sender": "u1",
        "text": text or f"question {number}?",
        "timestamp": timestamp,
        "window": [
            {"sender": f"u{place % 2}", "text": said, "timestamp": timestamp - 900 * (len(window) - place)}
            for place, said in enumerate(window)
        ],
    }


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "questions.parquet"
    write_rows(path, [question(number, window=HOSTILE if number == 3 else ()) for number in range(6)], QUESTIONS)
    return path


def annotation(number, user, label, second=0, **changes):
    result = {"type": "choices", "from_name": "label", "to_name": "question", "value": {"choices": [label]}}
    at = f"2026-10-01T12:00:{second:02}.250000Z"
    row = {"id": number, "completed_by": user, "result": [result] if label else [], "was_cancelled": False}
    return row | {"created_at": "2026-10-01T11:00:00.000000Z", "updated_at": at} | changes


def written_out(row, *texts):
    """The same annotation with lines in its text area."""
    area = {"type": "textarea", "from_name": "rewrite", "to_name": "question", "value": {"text": [*texts]}}
    return {**row, "result": [*row["result"], area]}


def task(number, *annotations, **changes):
    data = {"item_id": f"item{number:02}", "guidelines": VERSION, "question": [], "dialogue": []}
    return {"id": number, "data": data, "annotations": list(annotations), "drafts": [], "predictions": []} | changes


@pytest.fixture
def bring(tmp_path, questions):
    """Import some tasks as an export into round 2 and give what the command said."""

    def run(tasks, *options, code=0):
        source = tmp_path / "export.json"
        if isinstance(tasks, bytes):
            source.write_bytes(tasks)
        else:
            write_json(source, tasks)
        folders = ["--annotations", str(tmp_path / "annotations"), "--questions", str(questions)]
        before = log_path(tmp_path / "annotations", 1, "before")
        if not before.exists():
            append(before, Answer("item00", "before", 1, Label.NEEDED, "2026-10-01T10:00:00Z"))
        command = ["import", "--export", str(source), "--round", "2", "--new-round", *folders, *options]
        result = CliRunner().invoke(label_studio_group, command)
        assert result.exit_code == code, result.output
        return result.output

    return run


@pytest.fixture
def logs(tmp_path):
    def read():
        folder = tmp_path / "annotations" / "round_2"
        return {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.jsonl"))}

    return read


def labels(text):
    return [(row["item_id"], row["label"]) for row in map(json.loads, text.splitlines())]


class TestExport:
    def run(self, tmp_path, questions, *options):
        out, config = tmp_path / "tasks.json", tmp_path / "config.xml"
        command = ["export", "--out", str(out), "--config", str(config), "--questions", str(questions), *options]
        result = CliRunner().invoke(label_studio_group, command)
        assert result.exit_code == 0, result.output
        return json.loads(out.read_text(encoding="utf-8")), config.read_text(encoding="utf-8"), result.output

    def test_every_question_is_a_task_in_the_order_of_the_chat(self, tmp_path, questions):
        tasks, _, output = self.run(tmp_path, questions)
        assert [each["data"]["item_id"] for each in tasks] == [f"item{number:02}" for number in range(6)]
        assert f"6 tasks under guidelines {VERSION}" in output
        first = (tmp_path / "tasks.json").read_bytes()
        self.run(tmp_path, questions)
        assert (tmp_path / "tasks.json").read_bytes() == first

    def test_a_task_holds_the_chat_and_nothing_that_anybody_answered(self, tmp_path, questions):
        tasks, _, _ = self.run(tmp_path, questions)
        for each in tasks:
            assert each.keys() == {"data"}
            assert each["data"].keys() == {"item_id", "guidelines", "question", "dialogue"}
            assert {key for line in each["data"]["dialogue"] for key in line} == {"author", "text", "time", "shown"}

    def test_what_people_wrote_is_never_a_text_of_its_own(self):
        data = task_of(question(1, HOSTILE[3], HOSTILE), VERSION)["data"]
        assert [key for key, value in data.items() if isinstance(value, str)] == ["item_id", "guidelines"]
        assert [line["text"] for line in data["dialogue"]] == list(HOSTILE)
        assert data["question"][0]["text"] == HOSTILE[3]

    def test_characters_that_hide_or_turn_others_are_shown_as_signs(self):
        data = task_of(question(1, window=HOSTILE), VERSION)["data"]
        shown = "".join(line["shown"] for line in data["dialogue"])
        assert not re.search("[\u202e\x1b]", shown)
        assert "\ufffddesrever\ufffd" in shown
        assert "<img src=x onerror=alert(1)>" in shown

    def test_times_dates_and_pauses_are_shown(self):
        data = task_of(question(1, window=["a", "b"]), VERSION)["data"]
        assert [line["time"] for line in data["dialogue"]] == ["2023-10-01T08:30:00Z", "2023-10-01T08:45:00Z"]
        assert [line["shown"] for line in data["dialogue"]] == [
            "— 2023-10-01 Sun —\n08:30  a",
            "— 15 min later —\n08:45  b",
        ]
        assert data["question"][0]["shown"] == "— 15 min later —\n09:00  question 1?"

    def test_a_time_that_is_unknown_or_no_time_is_left_out(self):
        for timestamp in (None, 10**17):
            lines = task_of(question(1, timestamp=timestamp), VERSION)["data"]["question"]
            assert (lines[0]["time"], lines[0]["shown"]) == (None, "question 1?")

    def test_an_empty_window_has_a_line_that_says_so(self):
        assert [line["shown"] for line in task_of(question(1), VERSION)["data"]["dialogue"]] == [NOTHING_BEFORE]

    def test_the_one_character_that_no_database_takes_is_replaced(self):
        assert task_of(question(1, "a\0b"), VERSION)["data"]["question"][0]["text"] == "a\ufffdb"

    def test_listed_items_alone_in_their_order(self, tmp_path, questions):
        write_jsonl(tmp_path / "items.jsonl", [{"item_id": name} for name in ("item04", "gone", "item01")])
        tasks, _, output = self.run(tmp_path, questions, "--items", str(tmp_path / "items.jsonl"))
        assert [each["data"]["item_id"] for each in tasks] == ["item04", "item01"]
        assert "1 listed items are not among the questions" in output

    def test_the_configuration_asks_for_one_of_the_four_labels(self, tmp_path, questions):
        view = Xml.fromstring(self.run(tmp_path, questions)[1])
        assert [each.attrib for each in view.iter("Choice")] == [
            {"value": label, "hotkey": key} for label, key in zip(LABELS, "jkiu", strict=True)
        ]
        assert [(each.get("value"), each.get("valueType"), each.get("layout")) for each in view.iter("Paragraphs")] == [
            ("$dialogue", "json", "dialogue"),
            ("$question", "json", "dialogue"),
        ]

    def test_the_configuration_has_an_empty_line_for_what_is_needed(self, tmp_path, questions):
        view = Xml.fromstring(self.run(tmp_path, questions)[1])
        (place,) = view.findall("View")
        assert (place.get("whenTagName"), place.get("whenChoiceValue")) == ("label", "needed")
        (area,) = place.findall("TextArea")
        assert (area.get("name"), area.get("toName"), area.get("value")) == ("rewrite", "question", None)

    def test_the_guidelines_are_shown_word_for_word(self, tmp_path, questions):
        view = Xml.fromstring(self.run(tmp_path, questions)[1])
        assert view.find(".//Panel/Header").get("value") == read_guidelines(GUIDELINES).strip().replace("\\\n", "\n")
        assert VERSION in view.find(".//Panel").get("value")

    def test_guidelines_cannot_name_fields_of_a_task(self):
        # What Label Studio takes for the name of a field, in a value or at the beginning of one.
        field = re.compile(r"\$[\w\[\].{}]+", re.ASCII)
        view = Xml.fromstring(config_of('$question costs $5 <b>&amp;</b> "${x}"', "0" * 12))
        shown = view.find(".//Panel/Header").get("value")
        assert not field.search(shown)
        assert not shown.startswith("$")
        assert shown.replace("\u2060", "") == '$question costs $5 <b>&amp;</b> "${x}"'

    def test_guidelines_that_xml_cannot_hold_are_refused(self):
        with pytest.raises(DataError, match="expected characters that XML can hold"):
            config_of("a\ufffe", "0" * 12)

    def test_another_wording_is_another_version(self, tmp_path, questions):
        (tmp_path / "mine.md").write_text("Be kind.", encoding="utf-8")
        tasks, config, _ = self.run(tmp_path, questions, "--guidelines", str(tmp_path / "mine.md"))
        assert {each["data"]["guidelines"] for each in tasks} == {version_of("Be kind.")} != {VERSION}
        assert "Be kind." in config


class TestImport:
    def test_answers_go_to_the_log_of_whoever_gave_them(self, bring, logs, tmp_path):
        tasks = [
            task(0, annotation(1, 7, "needed", 5), annotation(2, 8, "unsure")),
            task(1, annotation(3, 7, "needed")),
        ]
        bring(tasks, "--annotators", "7=li")
        assert list(logs()) == ["labelstudio_8", "li"]
        first, second = map(json.loads, logs()["li"].splitlines())
        assert first == {
            "item_id": "item01",
            "annotator": "li",
            "round": 2,
            "label": "needed",
            "at": "2026-10-01T12:00:00.250000Z",
        }
        assert (second["item_id"], second["at"]) == ("item00", "2026-10-01T12:00:05.250000Z")
        assert len(replay(log_path(tmp_path / "annotations", 2, "li")).answers) == 2

    def test_what_was_written_out_comes_masked_and_beside_what_is_needed_alone(self, bring, logs):
        tasks = [
            task(0, written_out(annotation(1, 7, "needed"), "does 2.1\nrun?")),
            task(1, written_out(annotation(2, 7, "needed", 1), "ask ann@example.org?")),
            task(2, written_out(annotation(3, 7, "unsure", 2), "does it?")),
            task(3, written_out(annotation(4, 7, "needed", 3), " \u200b")),
            task(4, written_out(annotation(5, 7, "needed", 4))),
        ]
        bring(tasks, "--annotators", "7=li")
        rows = [json.loads(line) for line in logs()["li"].splitlines()]
        assert [row.get("rewrite") for row in rows] == ["does 2.1 run?", "ask <email>?", None, None, None]
        assert "0 answers added, 5 known already" in bring(tasks, "--annotators", "7=li")

    def test_a_text_that_was_written_later_is_added(self, bring, logs):
        bring([task(0, annotation(1, 1, "needed", 1))])
        assert "1 answers added" in bring([task(0, written_out(annotation(1, 1, "needed", 30), "does 2.1 run?"))])
        assert labels(logs()["labelstudio_1"]) == [("item00", "needed")] * 2
        assert "older than what the log says" in bring([task(0, annotation(1, 1, "needed", 1))])

    def test_an_area_that_holds_no_text_is_refused(self, bring, logs):
        bring([task(0, written_out(annotation(1, 1, "needed"), 5))], code=1)
        assert logs() == {}

    def test_importing_again_adds_nothing(self, bring, logs):
        tasks = [task(number, annotation(number, 1, "needed", number)) for number in range(4)]
        assert "4 answers added, 0 known already" in bring(tasks)
        before = logs()
        assert "0 answers added, 4 known already" in bring(tasks)
        assert logs() == before

    def test_a_later_export_adds_what_changed(self, bring, logs):
        bring([task(0, annotation(1, 1, "needed", 1)), task(1, annotation(2, 1, "needed", 2))])
        bring([task(0, annotation(1, 1, "unsure", 30)), task(1, annotation(2, 1, "needed", 40))])
        assert labels(logs()["labelstudio_1"]) == [("item00", "needed"), ("item01", "needed"), ("item00", "unsure")]

    def test_an_earlier_export_takes_nothing_back(self, bring, logs):
        early = [task(0, annotation(1, 1, "needed", 1))]
        bring([task(0, annotation(1, 1, "unsure", 30))])
        before = logs()
        assert "1 older than what the log says" in bring(early)
        assert logs() == before

    def test_an_import_that_broke_off_and_is_repeated_gives_the_same_logs(self, bring, logs, tmp_path, monkeypatch):
        tasks = [task(n, annotation(2 * n, 1, "needed", n), annotation(2 * n + 1, 2, "unsure", n)) for n in range(5)]
        bring(tasks)
        whole = logs()
        folder = tmp_path / "annotations" / "round_2"
        for path in folder.glob("*.jsonl"):
            path.unlink()
        extend = LogWriter.extend

        def breaks(log, answers):
            if log.path.stem == "labelstudio_2":
                extend(log, answers[:2])
                raise KeyboardInterrupt
            extend(log, answers)

        with monkeypatch.context() as patch:
            patch.setattr(LogWriter, "extend", breaks)
            bring(tasks, code=1)
        assert labels(logs()["labelstudio_2"]) == [("item00", "unsure"), ("item01", "unsure")]
        with (folder / "labelstudio_2.jsonl").open("a") as log:
            log.write('{"item_id": "item02", "anno')  # as a kill leaves it
        bring(tasks)
        assert logs() == whole

    def test_of_several_answers_by_one_person_the_latest_counts(self, bring, logs):
        tasks = [task(0, annotation(1, 1, "unsure", 9), annotation(2, 1, "needed", 3), annotation(3, 1, "needed", 4))]
        assert "2 replaced by the same annotator's later one" in bring(tasks)
        assert labels(logs()["labelstudio_1"]) == [("item00", "unsure")]

    def test_what_is_no_answer_is_counted_and_left_out(self, bring, logs):
        skipped, empty = annotation(1, 1, "needed", was_cancelled=True), annotation(2, 1, None)
        draft = {"user": "someone@example.org", "result": annotation(0, 1, "needed")["result"]}
        tasks = [
            task(0, skipped, drafts=[draft], predictions=[4, 5]),
            task(1, empty, annotation(3, None, "needed")),
            task(2),
            task(3, annotation(4, 1, "not_needed")),
        ]
        output = bring(tasks)
        assert output.endswith(
            "4 annotations; left out: 1 skipped by the annotator; 1 without an answer; 1 of users who were deleted; "
            "1 left as drafts; 2 predicted by a model\n"
        )
        assert {name: labels(text) for name, text in logs().items()} == {"labelstudio_1": [("item03", "not_needed")]}

    def test_results_of_other_tags_are_passed_over(self, bring, logs):
        other = {"from_name": "why", "to_name": "question", "type": "textarea", "value": {"text": ["because"]}}
        both = annotation(1, 1, "needed")
        both["result"].insert(0, other)
        bring([task(0, both), task(1, annotation(2, 1, None, result=[other]))])
        assert labels(logs()["labelstudio_1"]) == [("item00", "needed")]

    def test_an_export_without_an_answer_writes_nothing(self, bring, tmp_path):
        assert "0 annotations; left out: none" in bring([task(0), task(1)])
        assert not (tmp_path / "annotations" / "round_2").exists()

    def test_times_elsewhere_become_utc(self, bring, logs):
        bring([task(0, annotation(1, 1, "needed", updated_at="2026-10-01T20:00:00+08:00"))])
        assert json.loads(logs()["labelstudio_1"])["at"] == "2026-10-01T12:00:00Z"


class TestNames:
    ADDRESS = "someone.private@example.org"

    def user(self, **changes):
        return {"id": 7, "email": self.ADDRESS, "first_name": "Some", "last_name": "One"} | changes

    @pytest.mark.parametrize("user", [7, {"id": 7, "email": ADDRESS}])
    def test_a_user_is_named_by_number(self, bring, logs, user):
        bring([task(0, annotation(1, user, "needed"))], "--annotators", "7=li")
        assert list(logs()) == ["li"]

    def test_no_address_reaches_a_file_or_the_screen(self, bring, logs, tmp_path):
        output = bring([task(0, annotation(1, self.user(), "needed"))])
        assert list(logs()) == ["labelstudio_7"]
        written = [path for path in (tmp_path / "annotations").rglob("*") if path.is_file()]
        assert not any("@" in path.read_text(encoding="utf-8") + path.name for path in written)
        assert "@" not in output

    @pytest.mark.parametrize(
        "user",
        [ADDRESS, {"email": ADDRESS}, {"email": [ADDRESS]}, {"id": ADDRESS, "email": ADDRESS}, {}, True, -1, 1.5],
    )
    def test_a_user_without_a_number_and_a_name_is_refused_and_not_shown(self, bring, logs, user):
        output = bring([task(0, annotation(1, user, "needed"))], code=1)
        assert "row 1, annotation 1" in output
        assert "@" not in output
        assert not logs()

    @pytest.mark.parametrize(
        "text", [f"7={ADDRESS}", ADDRESS, "=li", "7=", "x=li", "07=li", "7=a,7=b", f"{ADDRESS}=li"]
    )
    def test_names_that_are_none_are_refused_without_repeating_an_address(self, text):
        with pytest.raises(ValueError, match="expected") as refused:
            parse_names(text)
        assert "@" not in str(refused.value)

    def test_a_name_that_cannot_name_a_file_is_refused(self, bring, tmp_path):
        output = bring([task(0, annotation(1, 7, "needed"))], "--annotators", "7=../li", code=1)
        assert "since it names a file" in output
        assert not (tmp_path / "annotations" / "round_2").exists()

    def test_two_accounts_of_one_person_are_one_annotator(self, bring, logs):
        tasks = [task(0, annotation(1, 7, "needed", 1), annotation(2, 8, "unsure", 2))]
        bring(tasks, "--annotators", "7=li,8=li")
        assert labels(logs()["li"]) == [("item00", "unsure")]


class TestRefusals:
    def test_no_round_begins_by_a_wrong_number(self, bring, tmp_path):
        tasks = [task(0, annotation(1, 1, "needed"))]
        output = bring(tasks, "--round", "7", code=1)
        assert "round 7 does not exist; rounds so far: 1. Name one of these. --round 2 --new-round begins" in output
        assert not (tmp_path / "annotations" / "round_7").exists()

    def test_unknown_items_are_refused_with_their_number_and_the_first_place(self, bring, logs):
        tasks = [task(0, annotation(1, 1, "needed")), task(88, annotation(2, 1, "needed")), task(99)]
        output = bring(tasks, code=1)
        assert "row 2, annotation 1: expected an item of the questions, got 'item88'; 1 of 2 answers" in output
        assert not logs()
        assert "1 about unknown items" in bring(tasks, "--orphans", "report")
        assert labels(logs()["labelstudio_1"]) == [("item00", "needed")]

    def test_another_wording_than_the_rounds_is_refused(self, bring, logs, tmp_path):
        bring([task(0, annotation(1, 1, "needed"))])
        settled = tmp_path / "annotations" / "round_2" / "guidelines.json"
        assert json.loads(settled.read_text()) == {"version": VERSION, "file": "guidelines.md"}
        other = task(1, annotation(2, 1, "needed"))
        other["data"]["guidelines"] = "0123456789ab"
        before = logs()
        assert "this round follows guidelines" in bring([other], code=1)
        assert "expected tasks under one wording" in bring([task(2, annotation(3, 1, "needed")), other], code=1)
        assert logs() == before
        bring([other], "--allow-changed-guidelines")
        assert json.loads(settled.read_text())["changed_to"] == ["0123456789ab"]

    def test_a_round_that_others_share_takes_only_their_answers(self, bring, logs, tmp_path):
        write_json(
            tmp_path / "annotations" / "round_2" / "assignment.json",
            {"annotators": ["li", "wu"], "overlap": 1},
            answers=True,
        )
        tasks = [task(0, annotation(1, 7, "needed"))]
        assert "expected answers of li, wu, who share this round, got some of labelstudio_7" in bring(tasks, code=1)
        bring(tasks, "--annotators", "7=wu")
        assert list(logs()) == ["wu"]

    def test_a_review_takes_no_answers_from_elsewhere(self, bring, logs, tmp_path):
        write_json(
            tmp_path / "annotations" / "round_2" / "review.json",
            {"items": ["item00"], "suspects": ["item00"], "random": []},
            answers=True,
        )
        assert "this one is a review" in bring([task(0, annotation(1, 7, "needed"))], code=1)
        assert not logs()

    def test_a_log_that_is_being_written_is_left_alone(self, bring, logs, tmp_path):
        tasks = [task(0, annotation(1, 1, "needed"), annotation(2, 2, "needed"))]
        with LogWriter(log_path(tmp_path / "annotations", 2, "labelstudio_2")):
            assert "another process is writing this log" in bring(tasks, code=1)
        assert not logs()

    def test_nothing_is_written_where_the_last_annotation_is_malformed(self, bring, logs):
        good = task(0, annotation(1, 1, "needed"))
        for changes in (
            {"result": "needed"},
            {"result": ["needed"]},
            {"result": [{"from_name": "label", "value": {"choices": ["needed", "unsure"]}}]},
            {"result": [{"from_name": "label", "value": {"choices": [["needed"]]}}]},
            {"result": [{"from_name": "label", "value": {"choices": ["perhaps"]}}]},
            {"result": [{"from_name": "label", "value": {}}]},
            {"was_cancelled": "no"},
            {"id": "2"},
            {"id": True},
            {"updated_at": "yesterday"},
            {"updated_at": "2026-10-01T12:00:00"},
            {"updated_at": "0001-01-01T00:00:00+14:00"},
            {"updated_at": 12, "created_at": None},
        ):
            output = bring([good, task(1, annotation(2, 1, "needed", **changes))], code=1)
            assert "export.json: row 2, annotation 1: expected" in output, changes
        assert not logs()

    @pytest.mark.parametrize(
        ("content", "what"),
        [
            (b"", "export.json:1: expected JSON"),
            (b"\xff", "export.json: expected UTF-8, got byte 0xff"),
            (b"[" * 100_000, "nested too deep"),
            (b"[" + b"9" * 5_000 + b"]", "a number of thousands of digits"),
            (b"{}", "expected a list of tasks, got dict"),
            (b"[1]", 'row 1: expected a task with "annotations"'),
            (b'[{"data": {"item_id": "item00"}}]', 'row 1: expected a task with "annotations"'),
            (b'[{"annotations": []}]', 'row 1: expected "data" to be dict'),
            (b'[{"annotations": {}, "data": {}}]', 'row 1: expected "annotations" to be list'),
            (b'[{"annotations": [3], "data": {}}]', "row 1, annotation 1: expected an object"),
            (b'[{"annotations": [], "data": {}, "drafts": 3}]', 'row 1: expected "drafts" to be list'),
        ],
    )
    def test_other_files_are_refused_by_what_is_wrong(self, bring, logs, content, what):
        assert what in bring(content, code=1)
        assert not logs()

    @pytest.mark.parametrize("data", [{}, {"item_id": ""}, {"item_id": "item00", "guidelines": "../latest"}])
    def test_tasks_that_were_not_exported_here_are_refused(self, bring, logs, data):
        output = bring([task(0, annotation(1, 1, "needed"), data=data)], code=1)
        assert "row 1, annotation 1: expected" in output
        assert not logs()

    def test_a_file_that_is_too_big_is_not_read(self, bring, monkeypatch):
        monkeypatch.setattr(exchange, "MOST_BYTES", 10)
        assert "expected at most 10 bytes, got" in bring([task(0)], code=1)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["id", "email", "choices"]), inner),
    max_leaves=4,
)


def places(value, path=()):
    """Every place in a JSON value, as keys to follow."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inner for place in places(each, (*path, key)))]


WHOLE = [task(0, annotation(1, {"id": 7, "email": "a@b.c"}, "needed"), drafts=[1]), task(1, annotation(2, 7, None))]


@settings(max_examples=150, deadline=None)
@given(place=st.sampled_from(places(WHOLE)), value=VALUES)
def test_any_value_anywhere_is_read_or_refused(tmp_path_factory, place, value):
    rows = deepcopy(WHOLE)
    if place:
        at = rows
        for key in place[:-1]:
            at = at[key]
        at[place[-1]] = value
    else:
        rows = value
    path = tmp_path_factory.mktemp("any") / "export.json"
    write_json(path, rows)
    refused = None
    try:
        found = read_export(path)
    except DataError as error:
        refused = error.message
    if refused is None:
        assert all(answer.label.value in LABELS for answer in found[0])
    else:
        assert str(path) in refused
        assert "a@b.c" not in refused
