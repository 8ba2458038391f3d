"""Every command of the README and of the documentation is run, and what pages show below one still has that form.

The tutorial runs first, in order, on a smaller chat and with shorter trainings. The project that it leaves serves the
commands of the other pages, each page from the tutorial's last commit, and each command once. What cannot run on any
machine is excused by name, with the reason; an excuse or a replacement that fits no command any more fails, too.
"""

import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from dataclasses import dataclass
from fcntl import ioctl

import pytest

from tests.conftest import ROOT

#: Seconds that one command gets, on a machine that does other things as well.
PATIENCE = 300
TUTORIAL = "docs/tutorial.md"
ROUNDS = "docs/how-to/rounds.md"
PAGES = ["README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(bash|console|sh)\n(.*?)^```$", flags=re.M | re.S)

#: What is not run, and why. Each must fit a command.
EXCUSED = {
    r"python3 -m venv .*": "minutes, from a package index; CI runs the one with pytest for every change",
    r"pip (install|wheel) .*": "asks a package index; tests/cli/test_upgrade.py builds and installs wheels without",
    r"vllm serve .*": "wants vLLM, a GPU and a download",
    r".* dvc repro train@qwen1_5_14b": "wants GPUs and a download",
    r"ray start .*": "wants several machines; tests/distributed/test_engine.py starts two nodes on one",
    r".*\bRAY_ADDRESS=.*": "wants a cluster; tests/distributed/test_engine.py starts two nodes on one",
    r"(sbatch|srun) .*|head=\$\(scontrol .*|sleep 15": "wants Slurm",
}
#: What is made cheaper or put in a place that is there. Each must change a command.
CHEAPER = {
    r"--lines 12000": "--lines 3000",
    r"\.\./chatladder/": "../clone/",
    r"embedded_700k": "embedded_331k",  # the project has the tutorial's two rungs
    r"-S ladder\.": "-S +ladder.",  # which the page says for a setting that is not there yet
    r"--rung qwen2_5_0_5b": "--rung embedded_331k",
    r"serve qwen2_5_0_5b": "serve embedded_331k",
    # The commands of this test have a process in front, which Ctrl+C would end alone.
    r"^chatladder serve": f"{sys.executable} -m chatladder.cli.serve.command",
    r"dvc exp run -S": "dvc exp run --queue -S",  # the tutorial's experiments are run to their end
    r"^chatladder secret": "mkdir ../elsewhere && cd ../elsewhere && chatladder secret",  # the project has one
    r"train\.learning_rate=1\.0e-3,2\.0e-3,4\.0e-3": "train.learning_rate=2.0e-3",
    r"-d shared /mnt/team/chatladder": "-f -d shared ../team",
    # An experiment takes seconds, and those of the tutorial are run: other pages start an empty queue.
    r"dvc exp run --run-all|dvc queue start --jobs 2": r"dvc queue remove --queued && \g<0>",
}
#: What is about this repository and not about a project: it runs in a clone.
IN_CLONE = r"chatladder simulate .*|python -m benchmarks\..*|first=.*|second=.*|.*\"\$second\".*"
#: What is answered at a terminal: the screen says the first of a pair, and gets the second.
AT_TERMINAL = {
    r"chatladder (annotate|review) .*": [("needed", "j"), ("z takes it back", "q")],
    r"chatladder adjudicate .*": [("needed", "kq")],
    r".* -m chatladder\.cli\.serve\.command .*": [("Ctrl+C stops the server", "\x03")],
    r"chatladder questions .*--mark .*": [("?", "y\n"), ("?", "q\n")],
}
#: What DVC says beside, which pages leave out.
NOISE = re.compile(
    r"> |Updating lock file|Generating lock file|.*' didn't change|Stage '.*' is cached|Left out, since git"
    r"|To track the changes|\tgit add|To enable auto|\tdvc config|Use `dvc push`|fold \d+ of "
    r"|The evidence hardly tells the labels apart|No threshold is on record"  # labels are few here
    r"|.* \(\d+ %\), \d+ min, "  # progress, on a machine that is slow
)
#: What ``check_scaling`` concludes of two label sets, and of growth with size.
VERDICT = r"^(?:round \d+|annotator_\w)\b.*?power to find 15 points [^)]*\)\.$|(?<=^gate: ).*?(?=^metrics/)"
#: What ``train`` says beside where it learned nothing, as the short trainings of this test may.
COIN = r"\. (?:It|Seeds? [\d, ]+) ended no better than a coin .*?num_train_epochs$"
SETTINGS = {"dialogues": 256, "num_train_epochs": 1, "draws": 100, "orders": 2, "seeds": "0,1"}


@dataclass(frozen=True)
class Step:
    """One command of a page, and what the page shows below it; None where it shows nothing of what is printed."""

    page: str
    line: int
    command: str
    shown: str | None = None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def steps_of(page, text):
    """The commands of a page's blocks, in order; assignments are put before the commands of their block."""
    for block in FENCE.finditer(text):
        first = text.count("\n", 0, block.start()) + 2
        lines = block[2].splitlines()
        given = ""
        at = 0
        while at < len(lines):
            start, line = at, lines[at]
            at += 1
            while line.endswith("\\"):
                line, at = line[:-1] + lines[at].lstrip(), at + 1
            if block[1] == "console":
                shown = []
                while at < len(lines) and not lines[at].startswith("$ "):
                    shown.append(lines[at])
                    at += 1
                yield Step(page, first + start, line.removeprefix("$ "), "\n".join(shown))
                continue
            line = re.split(r"(?:^|\s+)#", line)[0].rstrip(" &") if not line.startswith("#") else ""
            if re.fullmatch(r"\w+=\$\(.*\)", line) and not excuse(line):
                given += f"{line}; "
            elif line:
                yield Step(page, first + start, given + line)


def excuse(command):
    return next((reason for pattern, reason in EXCUSED.items() if re.fullmatch(pattern, command)), None)


def cheaper(command):
    for pattern, instead in CHEAPER.items():
        command = re.sub(pattern, instead, command)
    return command


STEPS = [step for page in PAGES for step in steps_of(page, (ROOT / page).read_text(encoding="utf-8"))]
OTHERS = [page for page in PAGES if page != TUTORIAL and any(step.page == page for step in STEPS)]


# What pages show, compared with what is printed.

NUMBER = r"[+-]?\d[\d,.]*(?:e[+-]?\d+)?[kMGT]?"
#: In the pages' text, first match first: what it stands for in what is printed.
FORMS = [
    (r"(?<=^Numbers: )[^\n]+", r"[^\n]+"),  # what this processor multiplies
    (r"\s*\.\.\.\s*", r"(?:\s.*?)?"),
    (rf"{NUMBER} \[{NUMBER}, {NUMBER}\]", rf"(?:{NUMBER}(?:\s+\[{NUMBER},\s+{NUMBER}\])?|not\s+defined)"),
    (r"\d[\d.]*(?:,\s+\d[\d.]*)+", r"\d[\d.]*(?:,\s+\d[\d.]*)*"),  # one for each seed
    (r"\b(?=[a-z]?[0-9a-f]*\d)[a-z]?[0-9a-f]{7,16}\b", r"[a-z]?[0-9a-f]{7,16}"),
    (r"\d+:\d\d [AP]M", r"\d+:\d\d\s+[AP]M"),
    (rf"(?<![\w]){NUMBER}|(?<=[≈(\[]){NUMBER}", rf"(?:{NUMBER}|-)"),
    (r"\b(?:inconclusive|pass|fail)\b", r"(?:inconclusive|pass|fail)"),
    (r"\b(?:true|false)\b", r"(?:true|false)"),  # what a model answers
    # Few items may leave none for validation, and after few steps AUROC may stay where answers or its interval move.
    (r"\.validation\.auroc(?=\s)", r"(?:\.validation)?\.(?:auroc|macro_f1)(?:_lo|_hi)?"),
    (r"\b[a-z]+-[a-z]+\b(?=\s|')", r"[\w-]+"),
    (r"-{5,}", r"-+"),  # below the head of a table
    # Its last column, which a test of few questions has not.
    (r"\s+pairs right|(?<=\])\s+\d\.\d{3}(?=\n)|\s{15,}\d\.\d{3}(?=\n)", r"(?:\s+pairs right|\s+\d\.\d{3})?"),
    (r"(?<=\dk)(?: \*)?\s+(?=\d+ k\s)", r"(?:\s\*)?\s+"),  # a rung that is not above what it is held against
    (r"\s+", r"\s+"),
]
LEXER = re.compile("|".join(f"({pattern})" for pattern, _ in FORMS), re.M)


def form_of(shown):
    """A pattern of what a page shows: numbers, ids, experiments' names, answers and the verdict may be others."""
    pattern, at = "", 0
    for found in LEXER.finditer(shown):
        pattern += re.escape(shown[at : found.start()]) + FORMS[found.lastindex - 1][1]
        at = found.end()
    return pattern + re.escape(shown[at:])


def talk(text):
    """Turns of a chat and what was said in them, as ``chatladder questions`` prints them, in one word."""
    return re.sub(r"(?:^[> ] (?:u[0-9a-f]{7,8} | {10})[^\n]*\n?)+", "(turns)\n", text, flags=re.M)


def matches(shown, said):
    return re.fullmatch(form_of(talk(shown + "\n").strip()), talk(said + "\n").strip(), flags=re.S) is not None


def by_stage(text):
    """What each stage of ``dvc repro`` printed: DVC runs those in any order that need not wait for each other."""
    head, *parts = re.split(r"^Running stage '(.+)':\n", text, flags=re.M)
    return head, dict(zip(parts[::2], parts[1::2], strict=True))


def difference(shown, printed):
    """What a page shows and was not printed in that form; empty if all was."""
    said = "\n".join(line for line in printed.splitlines() if line.strip() and not NOISE.match(line))
    shown, said = (re.sub(COIN, "", text, flags=re.M | re.S) for text in (shown, said))
    # Three dots on a line of their own between stages stand for other stages.
    shown = re.sub(r"\n\.\.\.\n(?=Running stage)", "\n", shown + "\n")
    (head, parts), (said_head, said_parts) = by_stage(shown), by_stage(said)
    wrong = [] if matches(head, said_head) else [(head, said_head)]
    for stage, part in parts.items():
        other = said_parts.get(stage, "")
        if "gate: " in part:  # a verdict's wording, and its advice, follow from the figures
            part, other = (re.sub(VERDICT, "", text, flags=re.M | re.S) for text in (part, other))
        if not matches(part, other):
            wrong.append((part, other))
    return "\n".join(f"shown:\n{shown}\nprinted:\n{said}" for shown, said in wrong)


# The pages themselves.


@pytest.mark.parametrize("pattern", EXCUSED)
def test_no_excuse_is_left_over(pattern):
    assert [step for step in STEPS if re.fullmatch(pattern, step.command)], "no page has such a command: remove it"


@pytest.mark.parametrize("pattern", CHEAPER)
def test_no_replacement_is_left_over(pattern):
    assert [step for step in STEPS if re.search(pattern, step.command)], "no page has such a command: remove it"


def test_no_excuse_covers_a_command_of_ours_that_needs_nothing():
    assert not [str(step) for step in STEPS if excuse(step.command) and step.command.startswith("chatladder ")]


def test_blocks_are_read_as_they_are_pasted():
    text = (
        '```bash\nchatladder a   # why\n# params.yaml: x\nx=$(git log)\ny "$x" \\\n  --z\n```\n'
        "```console\n$ dvc repro\nRunning stage 'a':\none\n$ cat b\n```\n```yaml\nno: command\n```\n"
    )
    assert list(steps_of("p", text)) == [
        Step("p", 2, "chatladder a"),
        Step("p", 5, 'x=$(git log); y "$x" --z'),
        Step("p", 9, "dvc repro", "Running stage 'a':\none"),
        Step("p", 12, "cat b", ""),
    ]


@pytest.mark.parametrize(
    ("shown", "printed", "is_equal"),
    [
        ("a: 1,338 of ud96c2568\n  wrapped 2", "a: 7 of u00000000 wrapped 12", True),
        ("a: 1 b", "a: 1 c", False),
        ("a: 1", "a: 1\nand more", False),
        ("a: 1\n...", "a: 1\nand more", True),
        ("a pass -1.1 [-0.1, +0.2]", "a fail not defined", True),
        ("a pass [-0.1, +0.2]", "a fail [+0.3, -3]", True),
        ("rung  gain\n------\na_150k  154 k  +0.1 [0, 1]", "rung  gain\n---\na_150k *  9 k  +0.1", True),
        ("rung  gain\n------\na_150k  154 k  +0.1 [0, 1]", "rung  gain\n---\na_150k +  9 k  +0.1", False),
        ("a 1\n...\nb 2", "a 1\nb 2", True),
        ("a 1\n...\nb 2", "a 1\nc 3\nb 2", True),
        ("a 1\n...\nb 2", "a 1\nc 3", False),
        ("Running stage 'a':\nx\nRunning stage 'b':\ny", "Running stage 'b':\n> cmd\ny\n\nRunning stage 'a':\nx", True),
        ("Running stage 'a':\nx 1\nRunning stage 'b':\ny", "Running stage 'a':\nx 2", False),
        ("a: 1 b", "a: 2 b. Seeds 0, 2 ended no better than a coin (0.7 nats): more train.num_train_epochs", True),
        ("t1234567 left\n  u1234abcd a\n> u1234abcd b", "t7654321 left\n  u0000abcd c\n            d\n", True),
        ("t1234567 left\n  u1234abcd hello", "t7654321 left: 3\n  u0000abcd one", False),
    ],
)  # fmt: skip
def test_what_counts_as_the_same_form(shown, printed, is_equal):
    assert (difference(shown, printed) == "") is is_equal


# A shell that runs them.


@dataclass(frozen=True)
class Done:
    code: int
    printed: str


class Shell:
    """Runs commands as somebody at a terminal would, one after the other, in a folder that ``cd`` changes."""

    def __init__(self, folder, clone, environment):
        self.start = folder
        self.folder, self.clone, self.environment = folder, clone, environment
        #: Names that DVC gives to experiments: the page's -> ours.
        self.names = {}
        self.done = {}

    def run(self, step):
        command = cheaper(step.command)
        for theirs, ours in self.names.items():
            command = command.replace(theirs, ours)
        if re.fullmatch(r"cd \S+", command):
            self.folder = (self.folder / command[3:]).resolve()
            done = Done(0, "") if self.folder.is_dir() else Done(1, f"no folder {self.folder}")
        else:
            self._before(step)
            keys = next((keys for pattern, keys in AT_TERMINAL.items() if re.fullmatch(pattern, command)), None)
            folder = self.clone if re.fullmatch(IN_CLONE, command) else self.folder
            done = self._typed(command, folder, keys) if keys else self._piped(command, folder)
            self._after(step, done)
        self.done[step.command] = done
        return done

    def back_to_the_tutorial(self):
        """The project as the tutorial left it, with what commands of other pages need from a reader."""
        self.folder = self.start / "group"
        again = "rm -rf exported data/other_chats/*.parquet && git checkout -q --force ."
        again += " && git clean -q --force -d && dvc checkout -q"
        assert self._piped(again, self.folder).code == 0
        shutil.copyfile(self.start / "new.jsonl", self.folder / "chat.jsonl")

    def _before(self, step):
        for name in re.findall(r"(?<=^cat )\.\./\S+", step.command):  # a file of the reader's own, as the page shows it
            (self.folder / name).write_text(step.shown + "\n", encoding="utf-8")
        if "label-studio import" in step.command:
            self._annotate_in_label_studio()
        if step.command.startswith("chatladder adjudicate"):  # the simulated adjudicator left nothing to settle
            for folder in (self.folder / "data" / "annotations").glob("round_*/adjudication"):
                shutil.rmtree(folder)

    def _annotate_in_label_studio(self):
        """The exported project of somebody who answered the first tasks there."""
        tasks = json.loads((self.folder / "tasks.json").read_text(encoding="utf-8"))
        choice = {"type": "choices", "from_name": "label", "to_name": "question", "value": {"choices": ["needed"]}}
        times = {"created_at": "2026-10-01T11:00:00.000000Z", "updated_at": "2026-10-01T12:00:00.000000Z"}
        for number, task in enumerate(tasks[:3]):
            answer = {"id": number, "completed_by": 1 + number % 2, "result": [choice], "was_cancelled": False, **times}
            task |= {"id": number, "annotations": [answer], "drafts": [], "predictions": []}
        (self.folder / "project.json").write_text(json.dumps(tasks[:3]), encoding="utf-8")

    def _after(self, step, done):
        queued = re.compile(r"Queued experiment '([\w-]+)'")
        self.names.update(zip(queued.findall(step.shown or ""), queued.findall(done.printed), strict=False))
        if step.command.startswith("dvc queue start"):
            self._wait()
        if step.page == TUTORIAL and step.command.startswith("chatladder init"):
            # Who disagrees with whom follows from the ids, and they from the key: under this one the annotators do.
            key = self.folder / "../group/.chatladder/privacy_key"
            key.write_text(f"tutorial-{5:064}\n", encoding="utf-8")
        if step.page == TUTORIAL and step.command.startswith("chatladder ladder"):
            self._shorten(self.folder / "params.yaml")

    def _piped(self, command, folder):
        call = ["bash", "-c", f"set -o pipefail; {command}"]
        with subprocess.Popen(
            call, cwd=folder, env=self.environment, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
        ) as process:  # fmt: skip
            try:
                printed, _ = process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        return Done(process.returncode, printed)

    def _typed(self, command, folder, keys):
        """Run at a terminal, and press each key once the screen says what it waits for."""
        ours, theirs = pty.openpty()
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        environment = {**self.environment, "TERM": "xterm-256color"}
        until = time.monotonic() + PATIENCE
        seen, all_seen, waiting = "", "", list(keys)
        with subprocess.Popen(
            ["bash", "-c", command], cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True,
        ) as process:  # fmt: skip
            os.close(theirs)
            while process.poll() is None:
                assert time.monotonic() < until, f"{command} waits: {all_seen[-2000:]}"
                if select.select([ours], [], [], 0.05)[0]:
                    with suppress(OSError):  # nobody holds the other end any more
                        said = os.read(ours, 65536).decode(errors="replace")
                        seen, all_seen = seen + said, all_seen + said
                if waiting and waiting[0][0] in seen:
                    os.write(ours, waiting.pop(0)[1].encode())
                    seen = ""
        os.close(ours)
        assert not waiting, f"{command} ended before {waiting}: {all_seen[-2000:]}"
        return Done(process.returncode, all_seen)

    def _wait(self):
        """Until no experiment waits or runs."""
        until = time.monotonic() + PATIENCE
        while re.search(r"\b(Queued|Running)\b", self._piped("dvc queue status", self.folder).printed):
            assert time.monotonic() < until, "experiments do not end"
            time.sleep(0.5)

    def _shorten(self, path):
        """Shorter trainings and fewer draws, where a reader would wait."""
        text = path.read_text(encoding="utf-8")
        for name, value in SETTINGS.items():
            text, count = re.subn(rf"^(  {name}: [\[\"]?)\d+(?:, ?\d+)*", rf"\g<1>{value}", text, flags=re.M)
            assert count == (2 if name == "seeds" else 1), f"params.yaml has {count} lines of {name}"
        path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def shell(tmp_path_factory, warm):
    folder = tmp_path_factory.mktemp("commands")
    person = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER")
              for what, value in (("NAME", "Li"), ("EMAIL", "li@example.org"))}  # fmt: skip
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "CHATLADDER_"))},
        **person,
        **warm,
        "BROWSER": "true",  # for what opens a page
        "GIT_EDITOR": "sed -i 1iA-message",
        "HF_HUB_OFFLINE": "1",
        "DVC_NO_ANALYTICS": "1",
        "OMP_NUM_THREADS": "1",  # models of this size only wait for more
        "COLUMNS": "200",
    }
    clone = folder / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True, env=environment)
    return Shell(clone, clone, environment)


@pytest.fixture(scope="module")
def tutorial(shell):
    """What each command of the tutorial did."""
    shell.start = shell.clone.parent
    return {step: shell.run(step) for step in STEPS if step.page == TUTORIAL}


@pytest.mark.slow
@pytest.mark.parametrize("step", [step for step in STEPS if step.page == TUTORIAL], ids=str)
def test_the_tutorial_does_what_it_shows(tutorial, step):
    done = tutorial[step]
    assert done.code == 0, f"{step.command}\n{done.printed}"
    if step.shown is not None and not step.command.startswith("cat "):
        wrong = difference(step.shown, done.printed)
        assert wrong == "", f"{step.command}\n{wrong}"


@pytest.mark.slow
@pytest.mark.parametrize("page", OTHERS)
def test_the_commands_of_the_other_pages_run(page, shell, tutorial):
    assert all(done.code == 0 for done in tutorial.values()), "the tutorial comes first"
    shell.back_to_the_tutorial()
    for step in [step for step in STEPS if step.page == page and not excuse(step.command)]:
        done = shell.done.get(step.command)  # each is run once, whichever page it is on
        if done is None:
            assert not step.shown, f"{step}: {step.command}: a page shows output of what the tutorial does not run"
            done = shell.run(step)
        assert done.code == 0, f"{step}: {step.command}\n{done.printed}"
        if step.shown:  # by one of the times that the tutorial runs it
            ran = [done for other, done in tutorial.items() if other.command == step.command]
            found = [difference(step.shown, done.printed) for done in ran]
            assert not all(found), f"{step}: {step.command}"


@pytest.mark.slow
def test_the_rounds_on_the_page_are_those_of_its_command(shell):
    step = next(step for step in STEPS if step.page == ROUNDS and '"$second"' in step.command)
    done = shell.done.get(step.command) or shell.run(step)
    printed = {tuple(line.split()) for line in done.printed.splitlines()}
    shown = (ROOT / ROUNDS).read_text(encoding="utf-8").split("<!-- rounds -->")[1].split("```")[1]
    rows = [tuple(line.split()) for line in shown.strip().splitlines()[1:]]
    assert rows
    assert [row for row in rows if row not in printed] == []
