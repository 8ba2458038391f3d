r"""Make the demo: a simulated group chat, and simulated annotators' answers to its questions.

Example:
    chatladder simulate --lines 58000 --seed 2024 --out data/raw/demo.txt.bz2 --truth data/demo/truth.jsonl.bz2
    chatladder simulate-answers --questions data/questions.parquet --truth data/demo/truth.jsonl.bz2 \
        --seed 2024 --out data/annotations
    chatladder simulate-review --truth data/demo/truth.jsonl.bz2 --seed 2024 \
        --annotator annotator_a --annotator annotator_b
"""

import bz2
import json
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import click
import pyarrow as pa
from tqdm import tqdm

from chatladder.cli.annotate.review import is_queue_of, next_round, own_items, read_queue
from chatladder.cli.annotate.round_records import settle_assignment
from chatladder.demo.annotators import TrueItem, adjudicate, look_again, round_one, second_look
from chatladder.demo.chat import Truth, dump_record, simulate_chat
from chatladder.io.console import SETTINGS, DataError, InputFile, OutputFile, OutputFolder, example
from chatladder.io.files import whole_file
from chatladder.io.options import options_of, setting
from chatladder.io.rows import QUESTIONS, read_rows
from chatladder.labels.answer import Answer
from chatladder.labels.log import create, refuse_existing
from chatladder.labels.review import FILE, Review, begin, read_review
from chatladder.labels.rounds import adjudication_path, latest_answered, log_path
from chatladder.privacy.pseudonyms import Pseudonyms
from chatladder.vocabulary import LABELS, POSITIVE

ANNOTATORS, ADJUDICATOR = ("annotator_a", "annotator_b"), "adjudicator"
DATA = Path("data")


@dataclass(frozen=True)
class Draw:
    """The truth that simulated annotators know, the seed of their errors, and their care."""

    truth: Path = setting("True labels that simulate wrote.", type=InputFile)
    seed: int = setting("Seed of the answers, the same for simulate-answers and simulate-review.")
    care: float = setting(
        "Care of the reviewers: 1 errs as often as the annotators of round 1, 3 a third as often.",
        above=0,
        default=1.0,
    )


@contextmanager
def _text_writer(path: Path) -> Iterator[IO[str]]:
    """Open a text file that appears whole at the end; compressed if the name ends in .bz2.

    bzip2 and not gzip: its output has been the same for equal input since 2010, so a test can compare bytes.
    """
    with whole_file(path) as temporary:
        opener = bz2.open if path.suffix == ".bz2" else open
        with opener(temporary, "wt", encoding="utf-8", newline="\n") as out:
            yield out


def write_chat(lines: int, seed: int, out: Path, truth: Path) -> int:
    """Write the chat and, apart from it, the true labels; return the number of questions in the chat."""
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
    """Read the truth about the questions that ``write_chat`` wrote.

    Raises:
        DataError: If a line is not one of its rows.
    """
    opener = bz2.open if path.suffix == ".bz2" else open
    truths = []
    try:
        # Bytes, so that a wrong encoding is found at its own line and not a buffer earlier.
        with opener(path, "rb") as lines:
            for line in lines:
                truths.append(_truth(json.loads(line.decode("utf-8"))))
    except (ValueError, TypeError, EOFError, OSError, RecursionError) as error:
        raise DataError(f"{path}:{len(truths) + 1}: expected a row of the simulator's truth: {error}.") from error
    return truths


def _truth(row: dict[str, Any]) -> Truth:
    truth = Truth(**row)
    texts = (truth.sender, truth.form, truth.label, truth.rewrite)
    numbers = (truth.timestamp, truth.hardness)
    if not all(isinstance(text, str) for text in texts) or not all(type(number) in (int, float) for number in numbers):
        raise ValueError("a field holds another kind of value")
    if truth.label not in LABELS or not 0 <= truth.hardness <= 1:
        raise ValueError(f"expected one of {', '.join(LABELS)}, and a hardness of 0 to 1")
    return truth


def true_items(questions: pa.Table, truths: list[Truth]) -> list[TrueItem]:
    """Join picked questions with the truth, by sender and time of the first message.

    A turn that the simulator did not write as a question is "not a question", and easy to recognise.

    Raises:
        DataError: If the simulator wrote none of them.
    """
    known = _known(questions, truths)
    if not known:
        raise DataError(
            f"expected questions of the simulated chat, got {questions.num_rows:,} of which its truth knows none. "
            "Simulated annotators answer nothing else; name the truth of this chat, and use the key that it was "
            "ingested with."
        )
    return [
        TrueItem(item_id, known[item_id].label, known[item_id].hardness)
        if item_id in known
        else TrueItem(item_id, "not_a_question", 0.1)
        for item_id in questions["item_id"].to_pylist()
    ]


def written_out(answers: Iterable[Answer], questions: pa.Table, truths: list[Truth]) -> list[Answer]:
    """Return the answers with the simulator's rewrite wherever somebody labelled a needed question as needed.

    It draws nothing, so that the answers stay those that were drawn.
    """
    known = _known(questions, truths)
    return [
        replace(answer, rewrite=known[answer.item_id].rewrite or None)
        if answer.label == POSITIVE and answer.item_id in known
        else answer
        for answer in answers
    ]


def _known(questions: pa.Table, truths: list[Truth]) -> dict[str, Truth]:
    """Return item -> its truth, for questions that the simulator wrote."""
    pseudonyms = Pseudonyms()
    asked = {(pseudonyms.person(truth.sender), truth.timestamp): truth for truth in truths}
    columns = (questions[name].to_pylist() for name in ("item_id", "sender", "timestamp"))
    return {
        item_id: asked[sender, timestamp]
        for item_id, sender, timestamp in zip(*columns, strict=True)
        if (sender, timestamp) in asked
    }


def by_log(answers: list[Answer], place: Callable[[Path, int, str], Path], out: Path) -> dict[Path, list[Answer]]:
    """Return the answers by the log that they belong in.

    Args:
        answers: Annotators' or adjudicators' answers.
        place: ``log_path`` or ``adjudication_path``.
        out: Folder of the rounds.

    Raises:
        DataError: If a log exists.
    """
    logs: dict[Path, list[Answer]] = {}
    for answer in answers:
        logs.setdefault(place(out, answer.round, answer.annotator), []).append(answer)
    for path in logs:
        refuse_existing(path)
    return logs


def write_answers(logs: dict[Path, list[Answer]]) -> None:
    """Write answers as annotation logs, one per person and round."""
    for path, log in logs.items():
        create(path, log)


def open_review(annotations: Path, made: Path, known: Collection[str]) -> tuple[int, Review]:
    """Return the review to answer, begun already or to be begun now, and its round.

    Args:
        annotations: Folder of the rounds.
        made: Folder of the pipeline's labels, and of its queue in ``review``.
        known: Ids of the questions.

    Raises:
        DataError: If it was answered already, or queue, rounds and questions do not fit together.
    """
    queue, answered = made / "review" / "queue.jsonl", latest_answered(annotations)
    number = next_round(None, answered, annotations)
    folder = annotations / f"round_{answered}"
    latest = read_review(folder)
    if latest is not None and latest.is_queue and queue.exists() and is_queue_of(queue, latest):
        raise DataError(
            f"{folder}: expected a review that nobody answered yet, but this one has answers and the queue is still "
            f"its own. Set annotation.round to {answered} in params.yaml and run dvc repro for the next queue."
        )
    begun = read_review(annotations / f"round_{number}")
    return number, begun if begun is not None else read_queue(queue, made / "labelled.parquet", known, number)


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--lines", type=click.IntRange(1), required=True, help="Number of raw messages, such as 58000.")
@click.option("--seed", type=int, required=True, help="Seed of the chat; the same seed gives the same bytes.")
@click.option("--out", type=OutputFile, required=True, help="Chat to write; .bz2 compresses.")
@click.option(
    "--truth", type=OutputFile, required=True, help="True labels to write, kept apart from the chat; .bz2 compresses."
)
def chat(lines: int, seed: int, out: Path, truth: Path) -> None:
    """Write a simulated group chat in the WeChat callback form."""
    questions = write_chat(lines, seed, out, truth)
    click.echo(f"{out}: {lines:,} simulated lines with {questions:,} questions; their true labels in {truth}")


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--questions", type=InputFile, required=True, help="Questions that the pipeline picked (parquet).")
@options_of(Draw, "draw")
@click.option("--out", type=OutputFolder, required=True, help="Folder of round_1 and round_2 to write.")
def answers(questions: Path, draw: Draw, out: Path) -> None:
    """Write the answers of two simulated annotators in two rounds, and of an adjudicator."""
    table, truths = read_rows(questions, QUESTIONS), read_truth(draw.truth)
    items = true_items(table, truths)
    first = round_one(items, ANNOTATORS, draw.seed)
    again = second_look(items, first)
    looked_at = [item for item in items if item.item_id in set(again.items)]
    second = look_again(looked_at, ANNOTATORS, 2, draw.seed, draw.care)
    settled = adjudicate(items, first + second, ADJUDICATOR, 2, draw.seed)
    given, rulings = (written_out(each, table, truths) for each in (first + second, settled))
    logs = {**by_log(given, log_path, out), **by_log(rulings, adjudication_path, out)}
    if again.items:
        refuse_existing(out / "round_2" / FILE)
        begin(out / "round_2", again)
    write_answers(logs)
    click.echo(
        f"{out}: {len(first):,} simulated answers in round 1, {len(second):,} in round 2, {len(settled):,} adjudicated"
    )


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--annotator", "annotators", multiple=True, required=True, help="Name of an annotator; repeatable.")
@options_of(Draw, "draw")
def review(annotators: tuple[str, ...], draw: Draw) -> None:
    """Write simulated annotators' answers to the next review, the round after the latest one with answers."""
    table, truths = read_rows(DATA / "questions.parquet", QUESTIONS), read_truth(draw.truth)
    items = {item.item_id: item for item in true_items(table, truths)}
    annotations = DATA / "annotations"
    number, wanted = open_review(annotations, DATA, items.keys())
    folder = annotations / f"round_{number}"
    names = list(dict.fromkeys(annotators))
    for name in names:
        log_path(annotations, number, name)  # refuses a name that cannot be a file's before all else
    looked_at = begin(folder, wanted)
    shared = settle_assignment(folder)
    given: list[Answer] = []
    for name in names:
        share = [items[item_id] for item_id in own_items(looked_at, frozenset(items), name, shared, folder)]
        given += look_again(share, [name], number, draw.seed, draw.care)
    write_answers(by_log(written_out(given, table, truths), log_path, annotations))
    click.echo(
        f"{folder}: {len(given):,} simulated answers to {len(looked_at.items):,} items of the review. "
        f"Set annotation.round to {number} in params.yaml, then dvc repro."
    )
