"""Several people at once, full disks and folders that cannot be written, for each command that asks for answers."""

import json
import os
import pty
import select
import shutil
import subprocess
import time
from contextlib import contextmanager, suppress

import pytest
from click.testing import CliRunner

from chatladder.cli.annotate import running
from chatladder.cli.annotate.adjudicate import adjudicate_command
from chatladder.cli.annotate.command import annotate_command
from chatladder.cli.annotate.review import review_command
from chatladder.io.console import DataError
from chatladder.io.rows import LABELLED, QUESTIONS, write_rows
from chatladder.labels.answer import Answer, Label
from chatladder.labels.log import create, replay
from chatladder.labels.rounds import adjudication_path, log_path
from tests.conftest import ROOT

AT = "2023-10-01T12:00:00Z"
COMMANDS = {"annotate": annotate_command, "review": review_command, "adjudicate": adjudicate_command}
every_command = pytest.mark.parametrize("what", COMMANDS)
ITEMS = [f"item{number:04}" for number in range(100)]
N, S = Label.NEEDED, Label.NOT_NEEDED


def question(item_id):
    return {
        "item_id": item_id, "turn_id": f"t{item_id}", "group": "g", "conversation": item_id, "sender": "u1",
        "text": "why?", "timestamp": 1_696_150_800, "window": [],
    }  # fmt: skip


def labelled(item_id):
    return {**question(item_id), "label": "needed", "agreement": 1.0, "split": "train", "check_label": "needed"}


class Place:
    """Questions that two annotators disagree on, each of them: there is work for all three commands."""

    def __init__(self, folder, annotations):
        self.paths = {name: folder / name for name in ("questions.parquet", "queue.jsonl", "labelled.parquet")}
        self.annotations = annotations
        write_rows(self.paths["questions.parquet"], [question(item_id) for item_id in ITEMS], QUESTIONS)
        write_rows(self.paths["labelled.parquet"], [labelled(item_id) for item_id in ITEMS], LABELLED)
        self.paths["queue.jsonl"].write_text("".join(f'{{"item_id": "{item_id}"}}\n' for item_id in ITEMS))
        for who, label in (("li", N), ("wu", S)):
            create(log_path(annotations, 1, who), [Answer(item_id, who, 1, label, AT) for item_id in ITEMS])

    def arguments(self, what, who):
        """For a second round, or, of an adjudicator, for the first."""
        given = {"questions": self.paths["questions.parquet"], "annotations": self.annotations}
        if what == "review":
            given |= {"queue": self.paths["queue.jsonl"], "labelled": self.paths["labelled.parquet"]}
        given |= {"adjudicator": who} if what == "adjudicate" else {"annotator": who, "round": 2}
        new = ["--new-round"] if what == "annotate" else []
        return [*new, *(f"--{name}={value}" for name, value in given.items())]

    def log(self, what, who):
        return adjudication_path(self.annotations, 1, who) if what == "adjudicate" else log_path(
            self.annotations, 2, who
        )  # fmt: skip

    def files(self):
        return {path: path.read_bytes() for path in self.annotations.rglob("*") if path.is_file()}


@pytest.fixture
def run(monkeypatch):
    """Run a command with a function in place of the screen: what came of it, and how often questions were shown."""

    monkeypatch.chdir(ROOT)  # where params.yaml is

    def run(place, what, keys=lambda session: None):
        shown = []

        def screen(session, *_args, **_options):
            shown.append(session)
            keys(session)

        monkeypatch.setattr(running, "show", screen)
        monkeypatch.setattr(running, "in_terminal", lambda: True)
        result = CliRunner().invoke(COMMANDS[what], place.arguments(what, "chen"))
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result, len(shown)

    return run


class Terminal:
    """A command in a terminal of its own."""

    def __init__(self, python, what, arguments):
        self.shown = b""
        self._child, self._handle = pty.fork()
        if self._child == 0:
            os.chdir(ROOT)
            os.environ.update(TERM="xterm-256color", COLUMNS="100", LINES="30")
            module = f"chatladder.cli.annotate.{what if what != 'annotate' else 'command'}"
            os.execv(python, [python, "-m", module, *arguments])

    def see(self, text):
        """Wait until the terminal shows it."""
        deadline = time.monotonic() + 60
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown[-2_000:]
            if select.select([self._handle], [], [], 0.2)[0]:
                self.shown += os.read(self._handle, 65_536)

    def type(self, keys):
        os.write(self._handle, keys)

    def end(self):
        """Wait until the command ends: its exit code, and its last words on one line."""
        with suppress(OSError):  # what a terminal says whose last program is gone
            while some := os.read(self._handle, 65_536):
                self.shown += some
        os.close(self._handle)
        _, status = os.waitpid(self._child, 0)
        return os.waitstatus_to_exitcode(status), " ".join(self.shown.decode(errors="replace").split())


@every_command
def test_two_people_at_once_have_a_whole_log_each_and_each_of_them_one_window(what, tmp_path, python):
    place = Place(tmp_path, tmp_path / "annotations")
    people = {who: Terminal(python, what, place.arguments(what, who)) for who in ("chen", "zhao")}
    for terminal in people.values():
        terminal.see(b"definition")
    code, said = Terminal(python, what, place.arguments(what, "chen")).end()
    assert code == 1
    assert "in another window. Close that one, or go on under another name." in said
    assert "Traceback" not in said
    for _ in range(6):
        for terminal in people.values():
            terminal.type(b"jkz")
    for who, terminal in people.items():
        terminal.type(b"q")
        code, said = terminal.end()
        assert (code, "6 of 100 items" in said) == (0, True)
        rows = [json.loads(line) for line in place.log(what, who).read_text("utf-8").splitlines()]
        assert [(row["annotator"], row["label"], row.get("undo", False)) for row in rows] == 6 * [
            (who, "needed", False), (who, "not_needed", False), (who, "not_needed", True),
        ]  # fmt: skip
        assert [answer.label for answer in replay(place.log(what, who)).answers.values()] == [N] * 6


def mount(*arguments):
    """Mount something, which takes root; the test is skipped, with the reason, where it does not succeed."""
    if shutil.which("mount") is None:
        pytest.skip("there is no mount command")
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 64 kB in pages of 4 kB."""
    if os.sysconf("SC_PAGE_SIZE") > 4096:
        pytest.skip("a page is larger than the logs of this test")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", folder)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(path):
    """Write until nothing fits any more."""
    with suppress(OSError), path.open("ab", buffering=0) as out:
        while True:
            out.write(b"x" * 512)


@every_command
def test_a_disk_that_fills_up_loses_no_answer_and_doubles_none(what, tmp_path, small_disk, run):
    place = Place(tmp_path, small_disk / "annotations")
    ballast = small_disk / "ballast"
    told = []

    def go_on(session):
        while not session.is_finished:
            item_id = session.current
            session.answer(N)
            told.append(item_id)

    def keys(session):
        told.append(session.current)
        session.answer(N)
        fill(ballast)
        with pytest.raises(DataError, match=r"chen\.jsonl: .* the disk is full\. Free some space and answer again\."):
            go_on(session)
        item_id = session.current
        # The page that the log began had room for some; of the next answer a part may have fitted.
        assert 10 < len(told) < len(ITEMS)
        assert (session.label(item_id), session.progress().done) == (None, len(told))
        with pytest.raises(DataError, match="the disk is full"):
            session.answer(S)
        assert [*replay(place.log(what, "chen")).answers] == told
        ballast.unlink()
        session.answer(S)

    result, _ = run(place, what, keys)
    assert result.exit_code == 0, result.output
    log = replay(place.log(what, "chen"))
    assert [answer.label for answer in log.history] == [N] * len(told) + [S]
    assert [*log.lines.values()] == list(range(1, len(told) + 2))
    assert log.torn is None


@every_command
def test_where_nothing_can_be_written_from_the_start_the_reason_is_said(what, tmp_path, small_disk, run):
    place = Place(tmp_path, small_disk / "annotations")
    before = place.files()
    fill(small_disk / "ballast")
    result, _ = run(place, what, lambda session: session.answer(N))
    assert result.exit_code == 1
    assert "the disk is full" in result.output
    assert place.files() == before


@pytest.mark.parametrize("failing", ["write", "fsync"])
@every_command
def test_a_disk_that_fills_up_in_mid_line_is_said_and_the_same_run_goes_on(what, failing, tmp_path, run, monkeypatch):
    """As above, where nothing can be mounted."""
    place = Place(tmp_path, tmp_path / "annotations")
    call = getattr(os, failing)

    def full(handle, *content):
        if failing == "write":
            call(handle, content[0][:20])  # a full disk takes what still fits
        raise OSError(28, os.strerror(28))

    def keys(session):
        session.answer(N)
        with monkeypatch.context() as patched:
            patched.setattr(os, failing, full)
            for action in (lambda: session.answer(S), session.undo):
                with pytest.raises(DataError, match="the disk is full"):
                    action()
        session.answer(S)

    assert run(place, what, keys)[0].exit_code == 0
    log = replay(place.log(what, "chen"))
    assert ([answer.label for answer in log.history], log.torn) == ([N, S], None)
    assert len(place.log(what, "chen").read_bytes().splitlines()) == 2


@contextmanager
def read_only(folder):
    """A folder that cannot be written for a while; root, whom no permission stops, needs a mount for that."""
    if os.geteuid() == 0:
        mount("--bind", folder, folder)
        try:
            mount("-o", "remount,bind,ro", folder)
            yield
        finally:
            subprocess.run(["umount", str(folder)], check=True)
        return
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    try:
        for each in folders:
            each.chmod(0o555)
        for path in folder.rglob("*.jsonl"):
            path.chmod(0o444)
        yield
    finally:
        for each in folders:
            each.chmod(0o755)


@every_command
@pytest.mark.parametrize("begun", [False, True])
def test_in_a_folder_that_cannot_be_written_the_reason_is_said_before_a_question_is_shown(what, begun, tmp_path, run):
    place = Place(tmp_path, tmp_path / "annotations")
    if begun:
        assert run(place, what, lambda session: session.answer(N))[0].exit_code == 0
    before = place.files()
    with read_only(place.annotations):
        result, shown = run(place, what)
    assert (result.exit_code, shown) == (1, 0)
    assert "Read-only file system" in result.output or "Permission denied" in result.output
    assert str(place.annotations) in result.output
    assert place.files() == before
