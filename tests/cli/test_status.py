"""The next step in every state of a project, from an empty one to all done, and the figures that it follows from."""

import json
import re
import shlex
import subprocess
from dataclasses import replace

import model_fixtures
import pyarrow as pa
import pytest
from click.testing import CliRunner

from chatladder.cli import status
from chatladder.cli.annotate.round_records import assigned, settle_assignment, settle_sample
from chatladder.cli.status import (
    Labels,
    RoundAnswers,
    Staleness,
    Standing,
    Tuned,
    Worker,
    answers_of,
    count_labels,
    exports,
    gather,
    largest_tuned,
    next_step,
    stages_in_words,
    staleness,
    verdict,
)
from chatladder.io.console import UNPRINTABLE, DataError
from chatladder.io.rows import QUESTIONS, row_writer, write_rows
from chatladder.labels.answer import Answer, Label
from chatladder.labels.log import create
from chatladder.labels.review import Review, begin
from chatladder.labels.rounds import adjudication_path, log_path
from tests.conftest import ROOT
from tests.logs import append

EMPTY = Standing(stale=("ingest", "pick_questions", "label", "train@a"))
RAW = replace(EMPTY, exports=2, private=2, has_secret=True)
PICKED = replace(RAW, questions=400, counted=1, stale=("label", "train@a"))
BEGUN = replace(PICKED, answered=1, workers=(Worker("li", 400, 400), Worker("wu", 120, 400)))
LABELLED = replace(BEGUN, workers=(Worker("li", 400, 400), Worker("wu", 400, 400)))
RUN = replace(LABELLED, stale=(), gate="pass", tuned=Tuned("large", 0.81))
HALF = replace(RUN, workers=BEGUN.workers)
REVIEW = replace(LABELLED, round=2, answered=2, is_review=True)
ANNOTATE_NAME = "chatladder annotate --round 1 --annotator NAME"
REVIEW_NAME = "chatladder review --annotator NAME"
ADJUDICATE = "chatladder adjudicate --adjudicator NAME"
RESOLVE = "chatladder resolve CHAT --rung large"
LEVEL = Tuned("large", 0.81, "words")
EXPORT = "chatladder export large --out exported/large"


@pytest.mark.parametrize(
    ("now", "command", "why"),
    [
        (Standing(), "cp EXPORT data/raw/", "no export of a chat yet"),
        (EMPTY, "cp EXPORT data/raw/", "no export of a chat yet"),
        (replace(EMPTY, absent=3), "dvc pull", "DVC keeps 3 of the exports"),
        (replace(RAW, absent=1), "dvc pull", "DVC keeps 1 of the exports"),
        (replace(BEGUN, absent=1, busy=True, stale=None), "chatladder annotate --round 1 --annotator wu", "280 of 400"),
        (replace(RAW, has_secret=False), "chatladder secret", "a key of your own"),
        (replace(RAW, has_secret=False, busy=True, stale=None), "chatladder secret", "a key of your own"),
        (replace(RAW, private=0, has_secret=False), "dvc repro pick_questions", "no questions are picked yet"),
        (RAW, "dvc repro pick_questions", "no questions are picked yet"),
        (replace(RAW, answered=2), "dvc repro", "no questions are picked yet"),
        (replace(RAW, busy=True, stale=None), "chatladder status", "another DVC command is running"),
        (replace(PICKED, stale=("score@rules",)), "dvc repro pick_questions", "has changed"),
        (replace(BEGUN, stale=("ingest",)), "dvc repro pick_questions", "has changed"),
        (replace(LABELLED, stale=("ingest",)), "dvc repro", "stale: ingest, and what depends on them"),
        (replace(PICKED, questions=0), "chatladder questions --rejected", "no turn was picked"),
        (PICKED, ANNOTATE_NAME, "400 questions wait"),
        (replace(PICKED, round=3), "chatladder annotate --round 3 --annotator NAME", "400 questions wait"),
        (
            replace(PICKED, workers=(Worker("li", 0, 267), Worker("wu", 0, 264))),
            "chatladder annotate --round 1 --annotator li",
            "li has 267 of 267 questions left",
        ),
        (BEGUN, "chatladder annotate --round 1 --annotator wu", "wu has 280 of 400 questions left"),
        (replace(BEGUN, busy=True, stale=None), "chatladder annotate --round 1 --annotator wu", "280 of 400"),
        (replace(BEGUN, undecided=9), "chatladder annotate --round 1 --annotator wu", "280 of 400"),
        (replace(LABELLED, undecided=9), ADJUDICATE, "9 undecided: settle them before models are trained"),
        (LABELLED, "dvc repro", "stale: label, train"),
        (replace(LABELLED, counted=None), "dvc repro", "stale: label, train"),
        (replace(LABELLED, busy=True, stale=None), "chatladder status", "another DVC command is running"),
        (replace(LABELLED, stale=None, trouble="no"), "chatladder doctor", "DVC does not report what is stale"),
        (replace(LABELLED, stale=()), "dvc repro", "not checked with the models yet"),
        (replace(RUN, tuned=None), "dvc repro", "not checked with the models yet"),
        (replace(LABELLED, counted=2), "set annotation.round to 1 in params.yaml, then dvc repro", "only 1 has"),
        (replace(REVIEW, workers=()), REVIEW_NAME, "nobody has answered yet"),
        (replace(REVIEW, workers=(Worker("li", 3, 40),)), "chatladder review --annotator li", "37 of 40"),
        (REVIEW, "set annotation.round to 2 in params.yaml, then dvc repro", "round 2 is answered and does not count"),
        (replace(REVIEW, counted=2), "dvc repro", "stale: label, train"),
        (replace(RUN, gate="fail"), REVIEW_NAME, "larger models agree less"),
        (replace(RUN, gate="fail", undecided=9), REVIEW_NAME, "larger models agree less"),
        (replace(RUN, gate="inconclusive", items_needed=1200, tuned=LEVEL), REVIEW_NAME, "(about 1,200 would do)"),
        (replace(HALF, gate="fail"), REVIEW_NAME, "larger models agree less"),
        (replace(HALF, gate="inconclusive", tuned=LEVEL), "chatladder annotate --round 1 --annotator wu", "280 of 400"),
        (replace(HALF, gate="inconclusive"), RESOLVE, "above the baselines"),
        (replace(HALF, gate="inconclusive", is_review=True), "chatladder review --annotator wu", "280 of 400"),
        (HALF, EXPORT, "the gate passes and nothing is stale"),
        (replace(BEGUN, labels=Labels((250, 600), 300)), "chatladder annotate --round 1 --annotator wu", "280 of 400"),
        (replace(BEGUN, labels=Labels((270, 600), 300)), "dvc repro", "stale: label, train"),
        (replace(BEGUN, labels=Labels((60, 62), 30, 335)), "dvc repro", "stale: label, train"),
        (
            replace(REVIEW, workers=(Worker("li", 3, 40),), labels=Labels((270, 600), 300)),
            "chatladder review --annotator li",
            "37 of 40",
        ),
        (replace(HALF, stale=("label",)), "chatladder annotate --round 1 --annotator wu", "280 of 400"),
        (replace(RUN, gate="inconclusive", tuned=LEVEL), REVIEW_NAME, "too few labels or models to tell"),
        (replace(RUN, gate="inconclusive", tuned=LEVEL, undecided=9), ADJUDICATE, "each settled one adds a label"),
        (replace(RUN, gate="inconclusive", undecided=9), RESOLVE, "above the baselines"),
        (replace(RUN, undecided=9), ADJUDICATE, "each settled one adds a label"),
        (RUN, EXPORT, "the gate passes and nothing is stale"),
        (replace(RUN, exported=True), "chatladder resolve CHAT --rung large", "all is done"),
        (replace(RUN, stale=("train@a",)), "dvc repro", "stale: train"),
    ],
)
def test_the_next_step_of_every_state(now, command, why):
    step = next_step(now)
    assert step.command == command
    assert why in step.why
    said = status.lines(now)
    assert len(said) <= 10
    assert said[-1] == f"Next:      {command}   # {step.why}"
    assert sum(line.startswith("Next:") for line in said) == 1


def test_a_tuned_rung_that_words_do_as_well_is_said_to_be_so(tmp_path):
    scores = {"macro_f1": 0.8}
    rung = {"params": 9, "tuned": scores, "above_baselines": {"best": "line", "macro_f1_lo": -0.1}}
    path = tmp_path / "models.json"
    path.write_text(json.dumps({"large": rung, "small": {**rung, "params": 1}, "floor": scores, "test_items": 3}))
    tuned = largest_tuned(path)
    assert tuned == Tuned("large", 0.8, "words: line")
    said = status.lines(replace(RUN, tuned=tuned))
    assert "Tuned:     macro-F1 0.800 of large, not above words: line" in said


def test_every_command_that_is_advised_exists():
    from chatladder.cli.app import main as chatladder

    states = [EMPTY, replace(RAW, has_secret=False), RAW, PICKED, BEGUN, LABELLED, REVIEW, RUN]
    states += [replace(RUN, gate="fail"), replace(RUN, undecided=1), replace(RUN, exported=True)]
    states += [replace(PICKED, questions=0), replace(LABELLED, stale=None)]
    advised = [shlex.split(next_step(now).command) for now in states]
    named = {words[1]: words for words in advised if words[0] == "chatladder"}
    assert {"secret", "annotate", "review", "adjudicate", "export", "resolve", "questions", "doctor"} <= named.keys()
    for name, words in named.items():
        known = {option for parameter in chatladder.commands[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known


def test_the_figures_of_a_project_in_the_middle():
    now = replace(RUN, stale=("train@a", "train@b", "evaluate"), undecided=12, gate="fail", exports=1, private=0)
    assert status.lines(now)[:-1] == [
        "Exports:   1 file in data/raw, only the demo",
        "Questions: 400",
        "Round 1:   li 400 of 400, wu 400 of 400; 12 undecided",
        "Labels:    not counted: dvc repro label says why",
        "Gate:      fail, from an earlier run",
        "Tuned:     macro-F1 0.810 of large, from an earlier run",
        "Stale:     train (2), evaluate",
    ]


@pytest.mark.parametrize(
    ("stale", "age"),
    [
        ((), ""),
        (("label",), ", from an earlier run"),
        (("data/raw/chat.txt.dvc",), ", from an earlier run"),
        (None, ", from the last completed run"),
    ],
)
def test_a_figure_is_old_once_anything_has_changed(stale, age):
    said = status.lines(replace(RUN, gate="fail", stale=stale))
    assert said[4:6] == [f"Gate:      fail{age}", f"Tuned:     macro-F1 0.810 of large{age}"]


BESIDE = "; on two real chats 52 beside 664 of another and 122 beside 335 of another were above words"
RESTS_ON = "; on one real chat 522 were level with words, 786 above"


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (PICKED, "none yet"),
        (replace(PICKED, answered=1, questions=None), "not counted without questions"),
        (
            replace(BEGUN, labels=Labels((100, 222), 90)),
            f"322 outside the test, 90 in it, worth 300 since 100 are needed: too few yet{RESTS_ON}",
        ),
        (
            replace(BEGUN, labels=Labels((180, 341), 90)),
            f"521 outside the test, 90 in it: too few yet{RESTS_ON}",
        ),
        (
            replace(BEGUN, labels=Labels((180, 342), 90)),
            f"522 outside the test, 90 in it: may be enough{RESTS_ON}",
        ),
        (
            replace(BEGUN, labels=Labels((500, 286), 9)),
            f"786 outside the test, 9 in it: enough to go on{RESTS_ON}",
        ),
        (
            replace(BEGUN, labels=Labels((1000, 9), 9)),
            f"1,009 outside the test, 9 in it, worth 27 since 9 are not needed: too few yet{RESTS_ON}",
        ),
        (
            replace(BEGUN, labels=Labels((30, 22), 30, 664)),
            f"52 outside the test, 30 in it, 664 of other chats: may be enough{BESIDE}",
        ),
        (
            replace(BEGUN, labels=Labels((30, 22), 30, 663)),
            f"52 outside the test, 30 in it, 663 of other chats: too few yet{BESIDE}",
        ),
        (
            replace(BEGUN, labels=Labels((60, 62), 30, 335)),
            f"122 outside the test, 30 in it, 335 of other chats: may be enough{BESIDE}",
        ),
        (
            replace(BEGUN, labels=Labels((500, 286), 9, 10)),
            f"786 outside the test, 9 in it, 10 of other chats: enough to go on{BESIDE}",
        ),
        (
            replace(RUN, labels=Labels((30, 60), 30)),
            "90 outside the test, 30 in it: enough to go on, the tuned model is above the baselines",
        ),
        (
            replace(RUN, labels=Labels((30, 60), 30), stale=("label",)),
            f"90 outside the test, 30 in it: too few yet{RESTS_ON}",
        ),
        (
            replace(RUN, labels=Labels((30, 60), 30), tuned=Tuned("large", 0.81, ("words",))),
            f"90 outside the test, 30 in it: too few yet{RESTS_ON}",
        ),
    ],
)
def test_it_says_whether_there_are_labels_enough_and_what_that_rests_on(now, said):
    assert status.lines(now)[3] == f"Labels:    {said}"


def test_the_figures_of_one_real_chat_are_those_that_were_measured():
    curve = (ROOT / "benchmarks" / "real" / "results" / "learning.md").read_text(encoding="utf-8")
    above = {int(labels): (float(low), float(high)) for labels, low, high in re.findall(
        r"^\| gemma3_270m \| (\d+) \|.*\[(\S+), (\S+)\] \|$", curve, flags=re.M)}  # fmt: skip
    assert min(labels for labels, (_, high) in above.items() if high > 0) == status.LEVEL
    assert min(labels for labels, (low, _) in above.items() if low > 0) == status.ABOVE
    pattern = r"^\| qwen_0_5b, from (\d+) of \S+ \| (\d+) \|.*\[(\S+), \S+\] \|$"
    helped = [(int(own), int(others), float(low)) for others, own, low in re.findall(pattern, curve, flags=re.M)]
    assert {(own, others) for own, others, low in helped if low > 0} == {*status.BESIDE}


def test_labels_are_counted_apart_from_the_test_and_where_annotators_agree(tmp_path):
    talks = [f"c{number}" for number in range(40)]
    rows = [{**{field.name: None for field in QUESTIONS}, "item_id": f"q{talk}", "conversation": talk, "window": [],
             "timestamp": 1_700_000_000 + 86_400 * number} for number, talk in enumerate(talks)]  # fmt: skip
    write_rows(tmp_path / "data" / "questions.parquet", rows, QUESTIONS)
    (tmp_path / "params.yaml").write_text("split: {test: 0.25, test_from: '2023-12-14'}\n")
    labels = {"qc0": Label.NEEDED, "qc1": Label.NOT_NEEDED, "qc2": Label.NOT_NEEDED, "qc3": Label.NOT_A_QUESTION,
              "qc4": Label.NEEDED, "qc35": Label.NEEDED, "gone": Label.NEEDED}  # fmt: skip
    answered(tmp_path / "data" / "annotations", "li", labels)
    answered(tmp_path / "data" / "annotations", "wu", {"qc4": Label.NOT_NEEDED})
    assert count_labels(tmp_path, 1) == Labels((1, 2), 1)
    append(adjudication_path(tmp_path / "data" / "annotations", 1, "chen"), answer("qc4", "chen"))
    assert count_labels(tmp_path, 1) == Labels((2, 2), 1)
    (tmp_path / "params.yaml").write_text("split: {test: 0.0}\n")
    assert count_labels(tmp_path, 1) == Labels((3, 2), 0)
    (tmp_path / "params.yaml").write_text("split: {test_from: soon}\n")
    assert count_labels(tmp_path, 1) is None
    assert count_labels(tmp_path, 0) == Labels((0, 0), 0)
    model_fixtures.write_questions(tmp_path / "data/other_chats/theirs.parquet")
    assert count_labels(tmp_path, 0) == Labels((0, 0), 0, 24)


def test_of_many_annotators_those_with_most_left_are_named():
    now = replace(BEGUN, workers=tuple(Worker(f"a{number}", number, 9) for number in range(9)))
    line = status.lines(now)[2]
    assert line == "Round 1:   a0 0 of 9, a1 1 of 9, a2 2 of 9, a3 3 of 9, a4 4 of 9 and 4 more"


def test_nothing_hostile_is_printed():
    evil = "\x1b[2J\u202eli; rm -rf ~\n" + "x" * 300
    now = replace(
        BEGUN,
        workers=(Worker(evil, 1, 2),),
        stale=(f"data/raw/{evil}.dvc",),
        trouble=evil,
        tuned=Tuned(evil, 0.5),
        gate="pass",
    )
    for each in (now, replace(RUN, tuned=Tuned(evil, 0.5)), replace(now, stale=None)):
        said = status.lines(each)
        assert not any(UNPRINTABLE.search(line) for line in said)
        assert len(said) == 8
        # Pasted into a shell, the line names one annotator or rung, whatever stands in its name.
        words = shlex.split(said[-1])
        assert not any(word.startswith(("li;", "rm")) for word in words)
        assert any("li; rm -rf ~" in word for word in words)


def test_stages_in_words():
    assert stages_in_words(["label", "train@a", "train@b", "data/raw/li@home.txt.dvc"]) == (
        "label, train (2), data/raw/li@home.txt.dvc"
    )
    assert stages_in_words([f"s{number}" for number in range(9)]) == "s0, s1, s2, s3, s4, s5 and 3 more"
    assert stages_in_words([]) == ""


ITEMS = ["q1", "q2", "q3", "q4"]


def answer(item_id, name, label=Label.NEEDED, number=1):
    return Answer(item_id, name, number, label, "2023-10-01T12:00:00Z")


def answered(annotations, name, labels, number=1):
    create(log_path(annotations, number, name), [answer(i, name, label, number) for i, label in labels.items()])


def test_progress_and_what_is_undecided(tmp_path):
    answered(tmp_path, "li", dict.fromkeys([*ITEMS, "gone"], Label.NEEDED))
    answered(tmp_path, "wu", {"q1": Label.NOT_NEEDED, "q2": Label.NEEDED, "gone": Label.NOT_NEEDED})
    found = answers_of(tmp_path, ITEMS)
    assert found.workers == (Worker("li", 4, 4), Worker("wu", 2, 4))
    assert (found.answered, found.round, found.is_review, found.undecided) == (1, 1, False, 1)
    append(adjudication_path(tmp_path, 1, "chen"), answer("q1", "chen"))
    assert answers_of(tmp_path, ITEMS).undecided == 0


def test_who_shares_a_round_is_counted_on_their_share(tmp_path):
    folder = tmp_path / "round_1"
    folder.mkdir()
    settle_assignment(folder, ["chen", "li", "wu"], 2)
    shares = {name: [i for i in ITEMS if name in assigned(i, ["chen", "li", "wu"], 2)] for name in ("chen", "li", "wu")}
    answered(tmp_path, "li", dict.fromkeys(shares["li"], Label.NEEDED))
    found = answers_of(tmp_path, ITEMS)
    assert found.workers == (
        Worker("chen", 0, len(shares["chen"])),
        Worker("li", len(shares["li"]), len(shares["li"])),
        Worker("wu", 0, len(shares["wu"])),
    )
    assert sum(each.items for each in found.workers) == 2 * len(ITEMS)


def test_a_review_is_counted_on_its_own_list(tmp_path):
    answered(tmp_path, "li", dict.fromkeys(ITEMS, Label.NEEDED))
    (tmp_path / "round_2").mkdir()
    begin(tmp_path / "round_2", Review(("q3", "q1", "gone"), ("q3", "gone"), frozenset({"q1"})))
    assert answers_of(tmp_path, ITEMS) == RoundAnswers(1, 2, True, ())
    answered(tmp_path, "li", {"q3": Label.NEEDED}, number=2)
    assert answers_of(tmp_path, ITEMS) == RoundAnswers(2, 2, True, (Worker("li", 1, 2),))


def test_a_round_over_a_list_that_people_drew_is_counted_on_it_and_is_no_review(tmp_path):
    answered(tmp_path, "li", dict.fromkeys(ITEMS, Label.NEEDED))
    (tmp_path / "round_2").mkdir()
    begin(tmp_path / "round_2", Review(("q3", "q1"), random=frozenset({"q1"})))
    answered(tmp_path, "li", {"q3": Label.NEEDED}, number=2)
    assert answers_of(tmp_path, ITEMS) == RoundAnswers(2, 2, False, (Worker("li", 1, 2),))


def test_a_round_that_asks_a_sample_is_counted_on_it(tmp_path):
    (tmp_path / "round_1").mkdir()
    settle_sample(tmp_path / "round_1", ["q3", "q1", "q2", "q4"], 2)
    answered(tmp_path, "li", {"q1": Label.NEEDED, "q2": Label.NEEDED})
    assert answers_of(tmp_path, ITEMS).workers == (Worker("li", 1, 2),)


def test_a_round_that_was_opened_and_left_is_not_the_one_people_are_in(tmp_path):
    answered(tmp_path, "li", dict.fromkeys(ITEMS, Label.NEEDED))
    (tmp_path / "round_2").mkdir()
    assert answers_of(tmp_path, ITEMS) == RoundAnswers(1, 1, False, (Worker("li", 4, 4),))


def test_a_later_round_over_some_questions_is_done_once_all_have_those(tmp_path):
    answered(tmp_path, "li", dict.fromkeys(ITEMS, Label.NEEDED))
    answered(tmp_path, "li", {"q1": Label.NEEDED, "q2": Label.NEEDED}, number=2)
    answered(tmp_path, "wu", {"q1": Label.NEEDED}, number=2)
    assert answers_of(tmp_path, ITEMS).workers == (Worker("li", 2, 2), Worker("wu", 1, 2))


def test_exports_are_files_that_stages_would_read(tmp_path):
    for name in ("README.md", ".gitignore", "a.json", "b/c.txt", "b/photo.jpg", "x.deny", "y.keep", "z.zip.dvc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found, absent = exports(tmp_path)
    assert [path.name for path in found] == ["a.json", "c.txt"]
    assert absent == 1
    assert exports(tmp_path / "none") == ([], 0)


@pytest.mark.parametrize("content", ["{}", '{"gate": "\\u001b[2J"}', "[]", "nothing"])
def test_a_damaged_verdict_is_an_error_that_names_the_file(tmp_path, content):
    (tmp_path / "scaling.json").write_text(content)
    with pytest.raises(DataError, match=r"scaling\.json") as refused:
        verdict(tmp_path / "scaling.json")
    assert not UNPRINTABLE.search(refused.value.message)


def test_the_committed_metrics_are_read():
    gate, more = verdict(ROOT / "metrics" / "scaling.json")
    assert gate in ("pass", "fail", "inconclusive")
    assert more is None or more > 0
    rungs = json.loads((ROOT / "metrics" / "models.json").read_text())
    largest = max((key for key in rungs if "params" in (rungs[key] if isinstance(rungs[key], dict) else {})),
                  key=lambda key: rungs[key]["params"])  # fmt: skip
    assert largest_tuned(ROOT / "metrics" / "models.json")[:2] == (largest, rungs[largest]["tuned"]["macro_f1"])


@pytest.mark.parametrize(
    ("done", "expected"),
    [
        ((0, b'{"train@a": [{"changed deps": {}}], "label": []}', b""), Staleness(("train@a", "label"))),
        ((0, b"{}", b""), Staleness(())),
        ((0, b"[]", b""), Staleness(None, "DVC's answer has an unexpected form")),
        (
            (255, b"", b"ERROR: '/x/data' is busy, it is being blocked by:\n  (PID 7): dvc repro\n"),
            Staleness(None, "another DVC command is running", True),
        ),
        (
            (255, b"", b"ERROR: Unable to acquire lock. Most likely another DVC process is running\n"),
            Staleness(None, "another DVC command is running", True),
        ),
        (
            (255, b"", b"WARNING: w\nERROR: '\x1b[2Jdvc.yaml' is invalid.\n"),
            Staleness(None, "'\ufffd[2Jdvc.yaml' is invalid."),
        ),
    ],
)
def test_what_dvc_says(tmp_path, monkeypatch, done, expected):
    (tmp_path / ".dvc").mkdir()
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, *done))
    assert staleness(tmp_path) == expected


def test_without_dvc_the_rest_is_told(tmp_path):
    assert staleness(tmp_path) == Staleness(None, "there is no .dvc folder here: run dvc init")


def write_questions(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with row_writer(path, QUESTIONS) as writer:
        row = {field.name: None for field in QUESTIONS}
        rows = [row | {"item_id": item_id, "conversation": "c", "window": []} for item_id in ITEMS]
        writer.write(pa.Table.from_pylist(rows, schema=QUESTIONS))


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Our graph under a real DVC, and nothing in it yet."""
    for name in ("dvc.yaml", "params.yaml", ".dvcignore", ".dvc/config"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    config = tmp_path / ".dvc" / "config"
    config.write_text(config.read_text("utf-8").replace("[core]", "[core]\n    no_scm = true"), "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CHATLADDER_PRIVACY_KEY", raising=False)
    return tmp_path


def test_the_command_from_an_empty_project_on(project):
    def said():
        result = CliRunner().invoke(status.status_command, [])
        assert result.exit_code == 0, result.output
        return result.output.splitlines()

    assert said()[0] == "Exports:   none in data/raw"
    assert said()[-1].startswith("Next:      cp EXPORT data/raw/ ")
    assert said()[6].startswith("Stale:     ingest, merge, score (2), pick_questions, label, ")
    (project / "data" / "raw").mkdir(parents=True)
    (project / "data" / "raw" / "chat.txt").write_text("hello")
    assert said()[-1].startswith("Next:      chatladder secret ")
    write_questions(project / "data" / "questions.parquet")
    (project / ".chatladder").mkdir()
    (project / ".chatladder" / "privacy_key").write_text("k" * 64)
    answered(project / "data" / "annotations", "li", {"q1": Label.NEEDED})
    assert said()[1:3] == ["Questions: 4", "Round 1:   li 1 of 4"]
    # Asking writes nothing but what DVC keeps for itself.
    files = {path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file()}
    assert {name for name in files if not name.startswith(".dvc/")} == {
        ".chatladder/privacy_key",
        ".dvcignore",
        "data/annotations/round_1/li.jsonl",
        "data/questions.parquet",
        "data/raw/chat.txt",
        "dvc.yaml",
        "params.yaml",
    }


def test_a_folder_that_is_no_project_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(status.status_command, [])
    assert result.exit_code == 1
    assert "dvc.yaml: expected a project of chatladder here" in result.output
    assert "chatladder init FOLDER" in result.output


def test_a_damaged_log_is_named(project):
    answered(project / "data" / "annotations", "li", {"q1": Label.NEEDED})
    path = log_path(project / "data" / "annotations", 1, "li")
    path.write_text("{\n" + path.read_text())
    with pytest.raises(DataError, match=r"li\.jsonl:1: expected a JSON object"):
        gather(project)
