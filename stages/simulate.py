r"""Make the demo: a simulated group chat, and simulated annotators' answers to its questions.

Example:
    chatladder simulate --lines 58000 --seed 2024 --out data/raw/demo.txt.bz2 --truth data/demo/truth.jsonl.bz2
    chatladder simulate-answers --questions data/questions.parquet --truth data/demo/truth.jsonl.bz2 \
        --seed 2024 --out data/annotations
"""

import bz2
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click
import pyarrow as pa
from tqdm import tqdm

from stages.annotation.log import Answer, create, log_path
from stages.cli import SETTINGS, DataError, InputFile, OutputFile, OutputFolder, example
from stages.files import whole_file
from stages.privacy.pseudonyms import Pseudonyms
from stages.rows import QUESTIONS, read_rows
from stages.simulation.annotators import TrueItem, round_one, round_two
from stages.simulation.chat import Truth, simulate_chat
from stages.simulation.wechat_dump import dump_record

ANNOTATORS = ("annotator_a", "annotator_b")


@contextmanager
def _text_writer(path: Path) -> Iterator[IO[str]]:
    """A text file that appears whole at the end; compressed where the name ends in .bz2.

    bzip2 and not gzip: its output has been the same for equal input since 2010, so a test can compare bytes.
    """
    with whole_file(path) as temporary:
        opener = bz2.open if path.suffix == ".bz2" else open
        with opener(temporary, "wt", encoding="utf-8", newline="\n") as out:
            yield out


def write_chat(lines: int, seed: int, out: Path, truth: Path) -> int:
    """Write the chat and, apart from it, the true labels; returns how many questions the chat holds."""
    questions = 0
    with _text_writer(out) as chat_file, _text_writer(truth) as truth_file:
        messages = simulate_chat(lines, seed)
        for index, (part, known) in enumerate(tqdm(messages, total=lines, unit="line", disable=None)):
            chat_file.write(dump_record(part, index))
            if known is not None:
                truth_file.write(json.dumps(known._asdict(), ensure_ascii=False) + "\n")
                questions += 1
    return questions


def read_truth(path: Path) -> list[Truth]:
    """Read what ``write_chat`` wrote about the questions.

    Raises:
        DataError: If a line is not one of its rows.
    """
    opener = bz2.open if path.suffix == ".bz2" else open
    truths = []
    try:
        # Bytes, so that a wrong encoding is found at its own line and not a buffer earlier.
        with opener(path, "rb") as lines:
            for line in lines:
                truths.append(Truth(**json.loads(line.decode("utf-8"))))
    except (ValueError, TypeError, EOFError, OSError) as error:
        raise DataError(f"{path}:{len(truths) + 1}: expected a row of the simulator's truth: {error}.") from error
    return truths


def true_items(questions: pa.Table, truths: list[Truth]) -> list[TrueItem]:
    """Join picked questions with the truth, by sender and time of the first message.

    What the simulator did not write as a question is "not a question", and easy to see.
    """
    pseudonyms = Pseudonyms()
    known = {(pseudonyms.person(truth.sender), truth.timestamp): truth for truth in truths}
    items = []
    columns = questions.select(["item_id", "sender", "timestamp"]).to_pydict()
    for item_id, sender, timestamp in zip(*columns.values(), strict=True):
        truth = known.get((sender, timestamp))
        label, hardness = (truth.label, truth.hardness) if truth else ("not_a_question", 0.1)
        items.append(TrueItem(item_id, label, hardness))
    return items


def write_answers(answers: list[Answer], out: Path) -> None:
    """Write answers as the log that annotating by hand appends to: one file an annotator and round."""
    for number in sorted({answer.round for answer in answers}):
        for annotator in ANNOTATORS:
            own = [answer for answer in answers if (answer.round, answer.annotator) == (number, annotator)]
            create(log_path(out, number, annotator), own)


@click.command(context_settings=SETTINGS, short_help="Write a simulated group chat.", epilog=example(__doc__))
@click.option("--lines", type=click.IntRange(1), required=True, help="Raw messages, for instance 58000.")
@click.option("--seed", type=int, required=True, help="The same seed gives the same bytes.")
@click.option("--out", type=OutputFile, required=True, help="Chat to write; .bz2 compresses.")
@click.option(
    "--truth", type=OutputFile, required=True, help="True labels to write, kept apart from the chat; .bz2 compresses."
)
def chat(lines: int, seed: int, out: Path, truth: Path) -> None:
    """Write a simulated group chat in the WeChat callback form."""
    questions = write_chat(lines, seed, out, truth)
    click.echo(f"{out}: {lines:,} simulated lines with {questions:,} questions; their true labels in {truth}")


@click.command(context_settings=SETTINGS, short_help="Write simulated annotators' answers.", epilog=example(__doc__))
@click.option("--questions", type=InputFile, required=True, help="Questions that the pipeline picked (parquet).")
@click.option("--truth", type=InputFile, required=True, help="True labels that simulate wrote.")
@click.option("--seed", type=int, required=True, help="The same seed gives the same answers.")
@click.option("--out", type=OutputFolder, required=True, help="Folder for round_1 and round_2.")
def answers(questions: Path, truth: Path, seed: int, out: Path) -> None:
    """Write the answers of two simulated annotators, in two rounds."""
    items = true_items(read_rows(questions, QUESTIONS), read_truth(truth))
    first = round_one(items, ANNOTATORS, seed)
    second = round_two(items, first, ANNOTATORS, seed)
    write_answers(first + second, out)
    click.echo(f"{out}: {len(first):,} simulated answers in round 1, {len(second):,} in round 2")
