r"""Pick the turns that the judges take for questions, each with the talk before it.

How the judges' scores become one verdict is --join: all of them pass the turn (each has a threshold of its own), more
than half do, or their mean reaches the mean of the thresholds. What a conversation and a window are is told in
chatladder/questions/conversations.py: earlier questions stay in the window, and an image or a file shows as "[image]"
or "[file]". System notices, stickers and the like (kind "other") say nothing that a question could refer to: they are
in no window and break no silence.

Each turn that is no question is counted under the first reason that applies: not_text, too_short (without the
names it is addressed to), then below_<judge>, in the order in which the judges are given (or below_majority, or
below_mean).

Turns marked by hand (data/marks, see its README) give the precision and recall of the choice.

Example:
    python -m stages.pick_questions --turns data/turns.parquet --join all \
        --scores rules=data/scores/rules.parquet --threshold rules=5 \
        --scores punctuation=data/scores/punctuation.parquet --threshold punctuation=5 \
        --counts data/counts/ingest.json --counts data/counts/merge.json \
        --min-characters 7 --window 12 --conversation-gap 1800 --max-conversation-turns 500 --reply-reach 86400 \
        --out data/questions.parquet --metrics metrics/questions.json
"""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import click
from tqdm import tqdm

from chatladder.distributed import Workers, remote, workers
from chatladder.io.console import (
    NOTHING_KEPT,
    SETTINGS,
    DataError,
    InputFile,
    InputFolder,
    OutputFile,
    example,
    stoppable,
)
from chatladder.io.files import read_json, write_json
from chatladder.io.rows import QUESTIONS, TURNS, Rows, RowWriter, row_writer
from chatladder.questions.choosing import choose
from chatladder.questions.conversations import Conversations, Reach
from chatladder.questions.marks import Marks, read_marks
from chatladder.questions.spread import Spread
from chatladder.questions.verdicts import JOINS, Judge, Verdicts


class Picked(NamedTuple):
    """How the turns were counted."""

    questions: int
    left_out: dict[str, int]  # reason -> turns
    judges: dict[str, Any]  # see Verdicts.finish
    conversations: int
    conversations_with_questions: int


def pick(
    turns: Rows,
    verdicts: Verdicts,
    min_characters: int,
    reach: Reach,
    writer: RowWriter,
    marks: Marks | None = None,
    pool: Workers | None = None,
) -> Picked:
    """Pick the questions among turns.

    Args:
        turns: Rows of ``TURNS``, by group and in the order of time within each, of any kind.
        verdicts: What the judges say of them.
        min_characters: Shorter texts are left out; names it is addressed to do not count.
        reach: Of conversations and windows.
        writer: Takes the questions, rows of ``QUESTIONS``, in the order of the turns.
        marks: Learns which turns were picked.
        pool: Workers to do it; without them it is done here.

    Returns:
        Counts: the turns are the questions and those left out.

    Raises:
        DataError: If a judge's scores are not those of these turns, or no turn passes.
    """
    if pool is None:
        picked = _pick_here(turns, verdicts, min_characters, reach, writer, marks)
    else:
        picked = _pick_there(Spread(pool, turns, verdicts, reach), min_characters, writer, marks)
    if not picked.questions:
        listed = ", ".join(f"{reason} {count:,}" for reason, count in picked.left_out.items())
        raise DataError(
            f"expected questions, got none of {turns.num_rows:,} turns ({listed}). Lower the thresholds or "
            "--min-characters."
        )
    return picked


def _pick_here(
    turns: Rows, verdicts: Verdicts, min_characters: int, reach: Reach, writer: RowWriter, marks: Marks | None
) -> Picked:
    conversations = Conversations(reach)
    left_out: Counter[str] = Counter()
    questions = 0
    with tqdm(total=turns.num_rows, desc="questions", unit=" turns", disable=None) as progress:
        for part in turns.parts():
            kept, counts = choose(part, verdicts.of(part), min_characters)
            left_out.update(counts)
            if marks is not None:
                marks.look(part, kept)
            questions += int(kept.sum())
            writer.write(conversations.take(part, kept))
            progress.update(part.num_rows)
    writer.write(conversations.finish())
    found = conversations.conversations, len(conversations.with_questions)
    return Picked(questions, dict(left_out), verdicts.finish(), *found)


def _pick_there(spread: Spread, min_characters: int, writer: RowWriter, marks: Marks | None) -> Picked:
    left_out: Counter[str] = Counter()
    kept, verdicts = spread.choose(min_characters, left_out, marks)
    judges = verdicts.finish()
    conversations = with_questions = 0
    with tqdm(total=int(kept.sum()), desc="questions", disable=None) as progress:
        for talk in spread.talk(kept):
            writer.write(talk.questions)
            conversations += talk.conversations
            with_questions += talk.with_questions
            progress.update(talk.questions.num_rows)
    return Picked(int(kept.sum()), dict(left_out), judges, conversations, with_questions)


def summarize(
    picked: Picked, counts: dict[str, int], costs: dict[str, dict[str, int]], marked: dict[str, float] | None
) -> dict[str, Any]:
    """Counts at every step from raw lines to questions.

    ``left_out`` holds the raw lines that made no message (skipped_<reason>) and the turns that are no question;
    ``judges`` what each judge passed and cost, and how they agree; ``marked`` precision and recall on turns marked by
    hand.
    """
    nested = ("skipped_", "masked_")
    judges = dict(picked.judges)
    for name, cost in costs.items():
        judges[name] = {**judges[name], **cost}
    return {
        **{name: count for name, count in counts.items() if not name.startswith(nested)},
        "questions": picked.questions,
        "conversations": picked.conversations,
        "conversations_with_questions": picked.conversations_with_questions,
        "left_out": {
            **{name: count for name, count in counts.items() if name.startswith("skipped_")},
            **picked.left_out,
        },
        "judges": judges,
        "masked": {name[7:]: count for name, count in counts.items() if name.startswith("masked_")},
        **({"marked": marked} if marked else {}),
    }


def read_counts(paths: tuple[Path, ...], turns: int) -> dict[str, int]:
    """Join the counts of the stages before this one.

    Raises:
        DataError: If they are not flat counts, or two stages, or the turns, do not agree on a number.
    """
    joined: dict[str, int] = {}
    for path in paths:
        for name, count in _flat_counts(path).items():
            expected = joined.setdefault(name, turns if name == "turns" else count)
            if count != expected:
                raise DataError(f"{path}: expected {name} {expected}, got {count}. Run the stages before again.")
    return joined | {"turns": turns}


def _flat_counts(path: Path) -> dict[str, int]:
    counts = read_json(path)
    if not isinstance(counts, dict) or not all(isinstance(count, int) for count in counts.values()):
        raise DataError(f"{path}: expected a JSON object of whole numbers, the counts of a stage.")
    return counts


def _named(option: str, given: tuple[str, ...]) -> dict[str, str]:
    """NAME=VALUE options.

    Raises:
        click.BadParameter: If one is not of that form or a name is given twice.
    """
    values: dict[str, str] = {}
    for each in given:
        name, _, value = each.partition("=")
        if not (name and value) or name in values:
            raise click.BadParameter(f"expected NAME=VALUE, each name once, got {each!r}.", param_hint=option)
        values[name] = value
    return values


def _named_files(option: str, given: tuple[str, ...]) -> dict[str, Path]:
    paths = {name: Path(value) for name, value in _named(option, given).items()}
    for name, path in paths.items():
        if not path.is_file():
            raise click.BadParameter(f"expected NAME=PATH and the file there, got {name}={path}.", param_hint=option)
    return paths


def _judges(scores: tuple[str, ...], thresholds: tuple[str, ...]) -> list[Judge]:
    files, given = _named_files("--scores", scores), _named("--threshold", thresholds)
    if set(files) != set(given):
        raise click.BadParameter("expected one for each judge of --scores, and no other.", param_hint="--threshold")
    judges = []
    for name, path in files.items():
        try:
            judges.append(Judge(name, path, click.FloatRange(0, 10).convert(float(given[name]), None, None)))
        except (ValueError, click.BadParameter) as error:
            message = f"expected a score from 0 to 10 for {name}, got {given[name]!r}."
            raise click.BadParameter(message, param_hint="--threshold") from error
    return judges


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--turns", type=InputFile, required=True, help="Turns to pick from (parquet).")
@click.option(
    "--scores", multiple=True, required=True, metavar="NAME=PATH", help="Scores of one judge; repeat it for each."
)
@click.option(
    "--threshold",
    "thresholds",
    multiple=True,
    required=True,
    metavar="NAME=SCORE",
    help="From which the judge passes a turn.",
)
@click.option(
    "--join", type=click.Choice(JOINS), required=True, help="Who must pass a turn: all judges, most, or their mean."
)
@click.option(
    "--cost", "costs", multiple=True, metavar="NAME=PATH", help="What the judge cost (JSON); repeat it for each."
)
@click.option("--counts", type=InputFile, multiple=True, help="Counts of an earlier stage (JSON); repeat it.")
@click.option("--marks", type=InputFolder, help="Folder of turns marked by hand.")
@click.option("--min-characters", type=click.IntRange(0), required=True, help="Shorter texts are left out.")
@click.option("--window", type=click.IntRange(0), required=True, help="Turns before a question to keep.")
@click.option("--conversation-gap", type=click.IntRange(0), required=True, help="Silence that ends one, in seconds.")
@click.option("--max-conversation-turns", type=click.IntRange(2), required=True, help="Longer ones are cut.")
@click.option("--reply-reach", type=click.IntRange(0), required=True, help="How late a reply may be, in seconds.")
@click.option("--out", type=OutputFile, required=True, help="Questions to write (parquet).")
@click.option("--metrics", type=OutputFile, required=True, help="Counts at every step to write (JSON).")
@stoppable(NOTHING_KEPT)
def main(
    turns: Path,
    scores: tuple[str, ...],
    thresholds: tuple[str, ...],
    join: str,
    costs: tuple[str, ...],
    counts: tuple[Path, ...],
    marks: Path | None,
    min_characters: int,
    out: Path,
    metrics: Path,
    **reach: int,
) -> None:
    """Write the turns that the judges take for questions, with the turns before them."""
    rows = Rows(turns, TURNS)
    numbers = read_counts(counts, rows.num_rows)
    judges = _judges(scores, thresholds)
    cost = {name: _flat_counts(path) for name, path in _named_files("--cost", costs).items()}
    marked = read_marks(marks) if marks else None
    try:
        with workers() as any_pool, row_writer(out, QUESTIONS) as writer:
            pool = remote(any_pool)
            picked = pick(rows, Verdicts(judges, join), min_characters, Reach(**reach), writer, marked, pool)
    except DataError as error:
        raise DataError(f"{turns}: {error.message}") from error
    write_json(metrics, summarize(picked, numbers, cost, marked.summary() if marked else None))
    click.echo(
        f"{out}: {picked.questions:,} questions of {rows.num_rows:,} turns in "
        f"{picked.conversations:,} conversations; left out: "
        + ", ".join(f"{reason} {count:,}" for reason, count in picked.left_out.items())
    )


if __name__ == "__main__":
    main()
