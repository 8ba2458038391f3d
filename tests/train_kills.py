"""Kill a training at random moments, again and again, and hold what it ends in against a run that was never stopped.

Example:
    python -m tests.train_kills --kills 10 --seed 0

A tiny base and a few rows are made, and trained on once without a pause. Then the same training starts in process after
process, each forked from one that has the libraries loaded, with a checkpoint after each step. Each is killed with
SIGKILL: in its steps (three in five), while it still loads, or while it writes what it learned; the last one ends by
itself. It tells through a pipe, which a kill cannot empty, which steps it began. In the end its adapter and curves must
be those of the first run, byte for byte. Steps that were begun and are not in the checkpoint are lost; what kills leave
beside the two folders is counted.
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

#: Where a training may be killed, and how many of five kills land there.
LOADING, STEPS, WRITING = "loading", "steps", "writing"
SHARES = {STEPS: 3, LOADING: 1, WRITING: 1}
#: Seconds after which a process that says nothing is given up.
PATIENCE = 300
#: Of three steps each.
EPOCHS = 24


def work(pipe, arguments):
    """Train, and tell of every step that it begins; and when all are done, and when all is written."""
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
        folder: It runs in there, so that its checkpoints lie there too.
        command: Arguments of ``stages.train``.
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
        """Train in this process; gives its exit status."""
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
        """Take in what is told within so many seconds; False once the process has ended."""
        if not select.select([self._pipe], [], [], seconds)[0]:
            return True
        said = os.read(self._pipe, 1 << 16)
        *lines, self._rest = (self._rest + said).split(b"\n")
        self.told.update(line.decode() for line in lines)
        return bool(said)

    def hear(self, word, times):
        """Wait until a word was told so often; False if the process ended before."""
        begun = time.monotonic()
        while self.told[word] < times:
            if not self.listen(1):
                return False
            if time.monotonic() - begun > PATIENCE:
                self.end(0)
                raise RuntimeError(f"expected {times} times {word!r} of a training within {PATIENCE} s")
        return True

    def end(self, seconds):
        """Kill it after so many seconds; gives its exit status."""
        time.sleep(seconds)
        os.kill(self._process, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(self._process, 0)[1])
        while self.listen(0):
            pass
        os.close(self._pipe)
        return status


def run_whole(folder, command):
    """One training without a pause: its steps, and the seconds that it spends in each place."""
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
    """Where each kill is to land, in random order; at least half of them in the steps."""
    cycle = [place for place, share in SHARES.items() for _ in range(share)]
    places = [cycle[number % len(cycle)] for number in range(kills)]
    moments.shuffle(places)
    return places


def kill_one(life, place, left, wanted, seconds, moments):
    """Kill one training at a place.

    Args:
        life: It.
        place: Where.
        left: Steps that it has to do.
        wanted: Kills in the steps that are to come, this one counted.
        seconds: That a training spends in each place.
        moments: Draws.

    Returns:
        Its exit status, and where it really was; None where all was written before.
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
    """What lies about beside what was asked for: temporary folders, temporary files of checkpoints, anything else."""
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
    """A tiny base, a few rows, and the arguments that train it on them."""
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
    """Train under kills; gives counts."""
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
    """Steps that the checkpoint holds; 0 where there is none."""
    from safetensors import safe_open

    paths = list((folder / ".chatladder" / "checkpoints").glob("*.safetensors"))
    if not paths:
        return 0
    with safe_open(paths[0], framework="numpy") as file:
        return json.loads(file.metadata()["progress"])["step"]


def run(folder, kills, seed):
    """Kill so often, then compare.

    Returns:
        Counts: killed and lost (steps that were begun and had to be begun again) by where the kill landed, failed
        (processes that ended with an error), stale folders and checkpoints left over by kills, other left-overs; and
        whether adapter and curves are the same.
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
