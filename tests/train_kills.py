"""Kill a training at random moments, again and again, and compare its result with a run that was never stopped.

Example:
    python -m tests.train_kills --kills 10 --seed 0

A tiny base and a few rows are made, and trained on once without interruption. Then the same training starts in process
after process, each forked from one that has the libraries loaded, with a checkpoint after each step. Each is killed
with SIGKILL: during its steps (three in five), while it still loads, or while it writes its outputs; the last one ends
normally. It reports the steps that it began through a pipe, which a kill cannot empty. In the end its adapter and
curves must be those of the first run, byte for byte. Steps that were begun but are not in the checkpoint are lost; the
files that kills leave next to the two folders are counted.
"""

import argparse
import json
import os
import random
import select
import signal
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

#: The phases in which a training may be killed, and their shares of five kills.
LOADING, STEPS, WRITING = "loading", "steps", "writing"
SHARES = {STEPS: 3, LOADING: 1, WRITING: 1}
#: The timeout for a report of a process, in seconds.
PATIENCE = 300
#: Epochs, of three steps each.
EPOCHS = 24


def work(pipe, arguments):
    """Train, and report each step that begins, the end of the steps, and the end of writing."""
    import stages.train
    from chatladder.training import runs, trainer

    fit, step, train = trainer.fit, trainer._Run.step, runs.train_rung

    def tell(word):
        os.write(pipe, word.encode() + b"\n")

    def told_step(*given):
        tell("began")
        return step(*given)

    def told_fit(*given):
        model = fit(*given)
        tell("fitted")
        return model

    def told_train(*given):
        said = train(*given)
        tell("written")
        return said

    trainer._Run.step, trainer.fit, runs.train_rung = told_step, told_fit, told_train
    stages.train.main(arguments)


class Life:
    """One process that trains, from start to kill or end.

    Args:
        folder: The working folder, where its checkpoints lie.
        command: The arguments of ``stages.train``.
    """

    def __init__(self, folder, command):
        self._pipe, writer = os.pipe()
        self.told = Counter()
        self._rest = b""
        self._process = os.fork()
        if not self._process:
            os.close(self._pipe)
            os._exit(self._work(folder, writer, command))
        os.close(writer)

    def _work(self, folder, writer, command):
        """Train in this process; return its exit status."""
        os.chdir(folder)
        (folder / "tmp").mkdir(exist_ok=True)
        tempfile.tempdir = str(folder / "tmp")
        for stream, path in ((1, Path(os.devnull)), (2, folder / "errors.txt")):
            with path.open("ab") as file:
                os.dup2(file.fileno(), stream)
        try:
            work(writer, command)
        except SystemExit as ended:
            return ended.code or 0
        except BaseException:
            traceback.print_exc()
            return 1
        return 0

    def listen(self, seconds):
        """Read reports for at most ``seconds``; return False once the process has ended."""
        if not select.select([self._pipe], [], [], seconds)[0]:
            return True
        said = os.read(self._pipe, 1 << 16)
        *lines, self._rest = (self._rest + said).split(b"\n")
        self.told.update(line.decode() for line in lines)
        return bool(said)

    def hear(self, word, times):
        """Wait until a word was reported ``times`` times; return False if the process ended before."""
        begun = time.monotonic()
        while self.told[word] < times:
            if not self.listen(1):
                return False
            if time.monotonic() - begun > PATIENCE:
                self.end(0)
                raise RuntimeError(f"expected {times} times {word!r} of a training within {PATIENCE} s")
        return True

    def end(self, seconds):
        """Kill the process after ``seconds``; return its exit status."""
        time.sleep(seconds)
        os.kill(self._process, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(self._process, 0)[1])
        while self.listen(0):
            pass
        os.close(self._pipe)
        return status


def run_whole(folder, command):
    """Run one training without interruption; return its number of steps, and the seconds of each phase."""
    life = Life(folder, command)
    begun = time.monotonic()
    life.hear("began", 1)
    first = time.monotonic()
    life.hear("fitted", 1)
    last = time.monotonic()
    life.hear("written", 1)
    ended = time.monotonic()
    life.hear("nothing more", 1)
    if life.end(0):
        raise RuntimeError((folder / "errors.txt").read_text("utf-8"))
    return life.told["began"], {LOADING: first - begun, STEPS: last - first, WRITING: ended - last}


def plan(kills, moments):
    """Return the phase of each kill, in random order; at least half of them are in the steps."""
    cycle = [place for place, share in SHARES.items() for _ in range(share)]
    places = [cycle[number % len(cycle)] for number in range(kills)]
    moments.shuffle(places)
    return places


def kill_one(life, place, left, wanted, seconds, moments):
    """Kill one training in a phase.

    Args:
        life: The process.
        place: The phase.
        left: The number of remaining steps.
        wanted: The number of remaining kills in the steps, including this one.
        seconds: The seconds of a training in each phase.
        moments: The random generator.

    Returns:
        The exit status, and the actual phase; None if all was written before.
    """
    after = {LOADING: 0, STEPS: moments.randint(1, max(1, min(left, 2 * left // (wanted + 1)))), WRITING: left}[place]
    if place == WRITING:
        life.hear("fitted", 1)
    else:
        life.hear("began", after)
    pause = seconds[place] / EPOCHS if place == STEPS else seconds[place]
    status = life.end(moments.uniform(0, pause))
    if life.told["written"]:
        return status, None
    return status, WRITING if life.told["fitted"] else STEPS if life.told["began"] else LOADING


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def left_over(folder):
    """Count the left-over paths: temporary folders, temporary files of checkpoints, and others."""
    counts = Counter(stale_folders=0, stale_checkpoints=0, other=0)
    known = {"base", "data", "whole", "whole-curves", "part", "part-curves", "errors.txt", "tmp", ".chatladder"}
    for path in folder.iterdir():
        if path.name not in known:
            counts["stale_folders" if path.name.startswith((".part.", ".part-curves.")) else "other"] += 1
    for path in [*(folder / ".chatladder").rglob("*"), *(folder / "tmp").rglob("*")]:
        if path.is_file():
            counts["stale_checkpoints" if ".safetensors." in path.name else "other"] += 1
    return counts


def prepare(folder):
    """Make a tiny base and a few rows; return the arguments that train on them."""
    from stages.base import main as base
    from stages.to_alpaca import main as to_alpaca
    from tests.model_fixtures import PROMPT, TINY, TRAINING, options, run, write_questions

    made = run(base, "--source", "embedded", *options(TINY), "--out", folder / "base")
    (folder / "data").mkdir()
    write_questions(folder / "data" / "labelled.parquet")
    labelled = folder / "data" / "labelled.parquet"
    rows = run(to_alpaca, "--labelled", labelled, *PROMPT, "--out", folder / "data" / "alpaca")
    for result in (made, rows):
        if result.exit_code:
            raise RuntimeError(result.output)
    settings = options({**TRAINING, "num-train-epochs": EPOCHS, "checkpoint-seconds": 0})
    return ["--base", str(folder / "base"), "--alpaca", str(folder / "data" / "alpaca"), *settings]


def run_killed(folder, command, steps, seconds, places, moments):
    """Train under kills; return the counts."""
    counts = Counter({f"killed_{place}": 0 for place in SHARES} | {f"lost_{place}": 0 for place in SHARES})
    kept = 0
    for number, place in enumerate(places):
        wanted = places[number:].count(STEPS)
        life = Life(folder, command)
        status, where = kill_one(life, place, steps - kept, wanted, seconds, moments)
        if where is None:
            counts["finished_before"] += 1
            kept = 0
            continue
        counts["failed"] += status != -signal.SIGKILL
        counts[f"killed_{where}"] += 1
        done = kept + life.told["began"]
        kept = steps_kept(folder)
        counts[f"lost_{where}"] += done - kept
    last = Life(folder, command)
    last.hear("nothing more", 1)
    counts["failed"] += last.end(0) != 0
    counts["again"] = last.told["began"] - (steps - kept)
    return counts


def steps_kept(folder):
    """Return the number of steps in the checkpoint; 0 without one."""
    from safetensors import safe_open

    paths = list((folder / ".chatladder" / "checkpoints").glob("*.safetensors"))
    if not paths:
        return 0
    with safe_open(paths[0], framework="numpy") as file:
        return json.loads(file.metadata()["progress"])["step"]


def run(folder, kills, seed):
    """Kill ``kills`` processes, then compare.

    Returns:
        The counts: killed and lost (steps that were begun and had to be repeated) by the phase of the kill, failed
        (processes that ended with an error), stale folders and checkpoints left over by kills, other left-overs; and
        whether adapter and curves are equal.
    """
    moments = random.Random(seed)
    command = prepare(folder)
    steps, seconds = run_whole(folder, [*command, "--out", "whole", "--curves", "whole-curves"])
    command += ["--out", "part", "--curves", "part-curves"]
    counts = run_killed(folder, command, steps, seconds, plan(kills, moments), moments)
    same = all(contents(folder / f"whole{end}") == contents(folder / f"part{end}") for end in ("", "-curves"))
    return {"kills": kills, "steps": steps, **counts, **left_over(folder), "same": same}


def main():
    """Print the counts."""
    parser = argparse.ArgumentParser(description="Kill a training at random moments and compare what it ends in.")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(run(Path(folder), options.kills, options.seed)))


if __name__ == "__main__":
    main()
