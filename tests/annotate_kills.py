"""Kill an annotator at random moments, again and again, and compare the log with the acknowledged answers.

Example:
    python tests/annotate_kills.py --kills 1000 --rate 20 --seed 1 --folder kills

A child answers, and undoes some answers, through the session and the log, at the given rate; after each it reports the
acknowledged answer through a pipe, which a kill cannot empty. The parent kills it with SIGKILL and starts another,
which resumes from the log. In the end every acknowledged line must be in the log, in order, with at most one
unacknowledged line for each kill between them, and no item may have two answers.
"""

import argparse
import json
import os
import random
import select
import signal
import time
from collections import Counter
from pathlib import Path

from chatladder.cli.annotate.session import Session
from chatladder.labels.answer import Label
from chatladder.labels.log import LogWriter, replay
from chatladder.labels.rounds import log_path


def work(path, order, rate, seed, pipe):
    """Answer until killed."""
    choose = random.Random(seed)
    with LogWriter(path) as log:

        def record(answer):
            log.append(answer)
            os.write(pipe, json.dumps([answer.item_id, answer.label.value, answer.undo]).encode() + b"\n")

        session = Session(dict.fromkeys(order, 1), replay(path).history, record, annotator="typist")
        while not session.is_finished:
            if choose.random() < 0.1:
                session.undo()
            else:
                session.answer(choose.choice(list(Label)))
            if rate:
                time.sleep(1 / rate)
    os._exit(0)


def life(path, order, rate, seed, seconds, early):
    """Run one child from start to kill; return the answers that it acknowledged, and its exit status."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work(path, order, rate, seed, writer)
        finally:
            os._exit(1)
    os.close(writer)
    if not early:
        select.select([reader], [], [], 60)  # wait until it works; an early kill hits it while it opens the log
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as pipe:
        lines = pipe.read().split(b"\n")
    return [tuple(json.loads(line)) for line in lines if line], os.waitstatus_to_exitcode(status)


def run(folder, kills, rate, seed):
    """Kill ``kills`` children, then compare.

    Returns:
        The counts: acknowledged, lost, unacknowledged, doubled, failed (children that ended by themselves with an
        error).
    """
    moments = random.Random(seed)
    path = log_path(folder, 1, "typist")
    order = [f"item{number:06}" for number in range(300 * kills)]  # more than all children can answer
    counts = Counter(kills=kills, failed=0, unacknowledged=0)
    acknowledged = []
    seen = 0
    for number in range(kills):
        early = moments.random() < 0.2
        seconds = moments.uniform(0, 0.4 if rate else 0.05)
        lines, code = life(path, order, rate, seed + number, seconds, early)
        counts["failed"] += code != -signal.SIGKILL
        acknowledged += lines
    logged = []
    with LogWriter(path):
        for line in path.read_text("utf-8").splitlines():
            row = json.loads(line)
            logged.append((row["item_id"], row["label"], row.get("undo", False)))
    for line in logged:
        if seen < len(acknowledged) and line == acknowledged[seen]:
            seen += 1
        else:
            counts["unacknowledged"] += 1
    answered = Counter()
    for item_id, _, undo in logged:
        answered[item_id] += -1 if undo else 1
    counts.update(
        acknowledged=len(acknowledged),
        lost=len(acknowledged) - seen,
        doubled=sum(times > 1 for times in answered.values()),
        undone=sum(undo for _, _, undo in logged),
        answers=len(replay(path).answers),
    )
    return counts


def main():
    """Print the counts."""
    parser = argparse.ArgumentParser(description="Kill an annotator at random moments and count what is lost.")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--rate", type=float, default=20, help="answers a second; 0: as fast as the disk allows")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    print(json.dumps(run(options.folder, options.kills, options.rate, options.seed)))


if __name__ == "__main__":
    main()
