r"""Pick the turns that every judge takes for a question, each with the talk before it.

A conversation is a stretch of one group's turns without a long silence; a longer one is cut at a silence. A
question's window is the last turns before it in its conversation, whatever they are: earlier questions stay
in it, and an image or a file shows as "[image]" or "[file]". System notices, stickers and the like (kind
"other") say nothing that a question could refer to: they are in no window and break no silence.

Each turn that is no question is counted under the first reason that applies: not_text, too_short (without the
names it is addressed to), then below_<judge>, in the order in which the judges are given.

Example:
    python -m stages.pick_questions --turns data/turns.parquet \
        --scores rules=data/scores/rules.parquet --scores punctuation=data/scores/punctuation.parquet \
        --counts data/counts/ingest.json --counts data/counts/merge.json \
        --min-score 5 --min-characters 7 --window 12 --conversation-gap 1800 --max-conversation-turns 500 \
        --out data/questions.parquet --metrics metrics/questions.json
"""

import hashlib
import json
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from stages.cli import SETTINGS, DataError, InputFile, OutputFile, example
from stages.files import read_json, write_json
from stages.judges.text import ADDRESSED
from stages.rows import QUESTIONS, SCORES, TURNS, WINDOW, read_rows, write_rows

#: Kinds that take a place in windows and conversations.
SHOWN = ("text", "image", "file", "link")
#: Windows of this many questions are put together at once: one array of text holds 2 GiB at most.
BATCH_QUESTIONS = 50_000


class Limits(NamedTuple):
    """What a turn needs to be picked, and how far its conversation reaches."""

    min_score: float  # 0-10, of every judge
    min_characters: int  # of the text without the names it is addressed to
    window: int  # turns
    conversation_gap: int  # seconds
    max_conversation_turns: int


class Picked(NamedTuple):
    """Questions, and how each turn was counted."""

    questions: pa.Table  # QUESTIONS
    left_out: dict[str, int]  # reason -> turns
    judges: dict[str, Any]  # judge -> {"passed": text turns}, and "kappa"
    conversations: int


def pick(turns: pa.Table, scores: dict[str, pa.Table], limits: Limits) -> Picked:
    """Pick the questions among turns.

    Args:
        turns: Rows of stages.rows.TURNS, of any kind.
        scores: Rows of stages.rows.SCORES by judge; each must hold every text turn.
        limits: What to pick.

    Returns:
        The questions by group and time, and counts: the turns are the questions and those left out.

    Raises:
        DataError: If a judge's scores are not those of these turns, or no turn passes.
    """
    turns = in_order(turns)
    passed = {judge: _passes(turns, rows, judge, limits.min_score) for judge, rows in scores.items()}
    text = pc.equal(turns["kind"], "text").to_numpy()
    reasons = {"not_text": ~text, "too_short": _characters(turns) < limits.min_characters}
    reasons |= {f"below_{judge}": ~each for judge, each in passed.items()}
    kept, left_out = count_reasons(reasons, turns.num_rows)
    if not kept.any():
        listed = ", ".join(f"{reason} {count}" for reason, count in left_out.items())
        raise DataError(
            f"expected questions, got none of {turns.num_rows} turns ({listed}). Lower --min-score or --min-characters."
        )
    judges: dict[str, Any] = {judge: {"passed": int(each.sum())} for judge, each in passed.items()}
    if len(passed) > 1:
        judges["kappa"] = round(_kappa([each[text] for each in passed.values()]), 5)
    questions, conversations = _questions(turns, kept, limits)
    return Picked(questions, left_out, judges, conversations)


def in_order(turns: pa.Table) -> pa.Table:
    """Sort turns by group and, within a group, by time; one without a time stays behind the one before it."""
    group, at = _group_and_time(turns)
    order = np.lexsort((at, group))
    # Merged turns come in order; sorting them again would copy all their text.
    return turns if (np.diff(order) == 1).all() else turns.take(order)


def _group_and_time(turns: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Number of each turn's group, in order of appearance, and its time; without one, that of the turn before it."""
    group = turns["group"].combine_chunks().dictionary_encode().indices.to_numpy()
    timed = turns["timestamp"].is_valid().to_numpy()
    rows = np.arange(len(group))
    at = turns["timestamp"].fill_null(0).to_numpy().copy()
    for number in np.unique(group[~timed]):
        own = rows[group == number]
        before = np.maximum.accumulate(np.where(timed[own], np.arange(len(own)), 0))
        at[own] = at[own][before]
    return group, at


def _passes(turns: pa.Table, scores: pa.Table, judge: str, min_score: float) -> np.ndarray:
    """Whether the judge gives each turn at least the score; turns that are not text have none and do not pass."""
    found = pc.index_in(turns["turn_id"], value_set=scores["turn_id"].combine_chunks())
    known = found.is_valid().to_numpy()
    missing = int((pc.equal(turns["kind"], "text").to_numpy() & ~known).sum())
    if missing or scores.num_rows != known.sum():
        raise DataError(
            f"scores of {judge}: expected one for each text turn, got {scores.num_rows}, of which "
            f"{scores.num_rows - known.sum()} are of other turns, and {missing} lacking. Score these turns again."
        )
    passed = np.zeros(turns.num_rows, bool)
    passed[known] = scores["score"].to_numpy()[found.drop_null().to_numpy()] >= min_score
    return passed


def _characters(turns: pa.Table) -> np.ndarray:
    said = pc.replace_substring_regex(turns["text"].fill_null(""), ADDRESSED, "")
    return pc.utf8_length(pc.utf8_trim_whitespace(said)).to_numpy()


def count_reasons(reasons: dict[str, np.ndarray], rows: int) -> tuple[np.ndarray, dict[str, int]]:
    """Which rows no reason holds for, and for each reason the rows it is the first to hold for."""
    kept = np.ones(rows, bool)
    counts = {}
    for reason, holds in reasons.items():
        counts[reason] = int((kept & holds).sum())
        kept &= ~holds
    return kept, counts


def _kappa(passed: list[np.ndarray]) -> float:
    """Mean of Cohen's kappa over pairs of judges; a pair that agrees by never differing at all has 1."""
    kappas = []
    for one, other in combinations(passed, 2):
        agreed = (one == other).mean()
        by_chance = one.mean() * other.mean() + (~one).mean() * (~other).mean()
        kappas.append(1.0 if by_chance == 1 else (agreed - by_chance) / (1 - by_chance))
    return float(np.mean(kappas))


def _questions(turns: pa.Table, kept: np.ndarray, limits: Limits) -> tuple[pa.Table, int]:
    """Rows of QUESTIONS, and how many conversations there are with and without questions."""
    said = pc.is_in(turns["kind"], value_set=pa.array(SHOWN)).to_numpy()
    shown = turns.filter(said)
    asked = np.flatnonzero(kept[said])
    group, at = _group_and_time(shown)
    starts = split_conversations(group, at, limits.conversation_gap, limits.max_conversation_turns)
    ids = _item_ids(shown, asked)
    batches = []
    for begin in tqdm(range(0, len(asked), BATCH_QUESTIONS), desc="windows", disable=None):
        some = asked[begin : begin + BATCH_QUESTIONS]
        rows = shown.take(some)
        columns = {name: rows[name] for name in QUESTIONS.names if name in rows.column_names}
        columns["item_id"] = pa.array(ids[begin : begin + BATCH_QUESTIONS])
        columns["conversation"] = _conversation_ids(shown, starts[some])
        columns["window"] = _windows(shown, some, starts[some], limits.window)
        batches.append(pa.table({name: columns[name] for name in QUESTIONS.names}, schema=QUESTIONS))
    return pa.concat_tables(batches), len(np.unique(starts))


def split_conversations(group: np.ndarray, at: np.ndarray, gap: int, most: int) -> np.ndarray:
    """Where the conversation of each turn starts; turns are in order.

    A conversation ends where nobody speaks for more than ``gap`` seconds. One with more than ``most`` turns is
    cut at the longest silence in the second half of its first ``most``, and what follows the cut may be cut
    again. A cut depends on no turn beyond the first one too many, so turns added later never move it.

    Args:
        group: Which group each turn is of, shape ``(n,)``; turns of one group are neighbours.
        at: UTC seconds, ascending within a group, shape ``(n,)``.
        gap: Longest silence within a conversation, in seconds.
        most: Turns that a conversation may have.

    Returns:
        The position of the first turn of each turn's conversation, shape ``(n,)``.
    """
    silence = np.diff(at, prepend=at[:1])
    begins = np.flatnonzero((silence > gap) | (np.diff(group, prepend=group[:1]) != 0))
    starts: list[int] = []
    for start, end in pairwise([0, *begins.tolist(), len(at)]):
        starts.append(start)
        while end - starts[-1] > most:
            half = starts[-1] + (most + 1) // 2
            starts.append(half + int(np.argmax(silence[half : starts[-1] + most + 1])))
    return np.repeat(starts, np.diff([*starts, len(at)]))


def _conversation_ids(shown: pa.Table, starts: np.ndarray) -> list[str]:
    groups, turns = (shown[name].take(starts).to_pylist() for name in ("group", "turn_id"))
    return [_hash(group, turn) for group, turn in zip(groups, turns, strict=True)]


def _item_ids(shown: pa.Table, asked: np.ndarray) -> list[str]:
    """Ids of the questions at the positions ``asked``: hashes of group, sender, timestamp and text.

    A turn that repeats an earlier one in all four (a clock that shows minutes allows it) also has its number
    among them in its id, counted whether or not the earlier one is a question.
    """
    same_text = pc.is_in(shown["text"], value_set=shown["text"].take(asked).combine_chunks())
    may_repeat = np.flatnonzero(same_text.to_numpy())
    rows = shown.select(["group", "sender", "timestamp", "text"]).take(may_repeat)
    seen: Counter[tuple[Any, ...]] = Counter()
    ids = {}
    wanted = set(asked.tolist())
    for position, *key in zip(may_repeat.tolist(), *(column.to_pylist() for column in rows.columns), strict=True):
        repeated = seen[tuple(key)]
        seen[tuple(key)] += 1
        if position in wanted:
            ids[position] = _hash(*key, *([repeated] if repeated else []))
    return [ids[position] for position in asked.tolist()]


def _hash(*parts: str | int | None) -> str:
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()[:16]


def _windows(shown: pa.Table, asked: np.ndarray, starts: np.ndarray, most: int) -> pa.Array:
    """The last ``most`` turns before each question, oldest first."""
    # Never beyond the start of the conversation: conversations are what is split into training and test,
    # so no text of a test conversation can reach the window of a training question.
    lengths = np.minimum(asked - starts, most)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    positions = np.repeat(asked - lengths, lengths) + np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    rows = shown.select(["sender", "text", "timestamp", "kind"]).take(positions).combine_chunks()
    text = pc.if_else(pc.equal(rows["kind"], "text"), rows["text"], _label(rows)).combine_chunks()
    columns = [rows["sender"].combine_chunks(), text, rows["timestamp"].combine_chunks()]
    window = pa.StructArray.from_arrays(columns, fields=list(WINDOW.value_type))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), window)


def _label(rows: pa.Table) -> pa.ChunkedArray:
    """What an annotator sees of a turn that is not text: "[image]", "[file] report.pdf"."""
    kind = pc.binary_join_element_wise("[", rows["kind"], "]", "")
    return pc.utf8_rtrim_whitespace(pc.binary_join_element_wise(kind, rows["text"].fill_null(""), " "))


def summarize(picked: Picked, counts: dict[str, int]) -> dict[str, Any]:
    """Counts at every step from raw lines to questions.

    ``left_out`` holds the raw lines that made no message (skipped_<reason>) and the turns that are no question.
    """
    nested = ("skipped_", "masked_")
    return {
        **{name: count for name, count in counts.items() if not name.startswith(nested)},
        "questions": picked.questions.num_rows,
        "conversations": picked.conversations,
        "conversations_with_questions": len(pc.unique(picked.questions["conversation"])),
        "left_out": {
            **{name: count for name, count in counts.items() if name.startswith("skipped_")},
            **picked.left_out,
        },
        "judges": picked.judges,
        "masked": {name[7:]: count for name, count in counts.items() if name.startswith("masked_")},
    }


def read_counts(paths: tuple[Path, ...], turns: int) -> dict[str, int]:
    """Join the counts of the stages before this one.

    Raises:
        DataError: If they are not flat counts, or two stages, or the turns, do not agree on a number.
    """
    joined: dict[str, int] = {}
    for path in paths:
        counts = read_json(path)
        if not isinstance(counts, dict) or not all(isinstance(count, int) for count in counts.values()):
            raise DataError(f"{path}: expected a JSON object of whole numbers, the counts of a stage.")
        for name, count in counts.items():
            expected = joined.setdefault(name, turns if name == "turns" else count)
            if count != expected:
                raise DataError(f"{path}: expected {name} {expected}, got {count}. Run the stages before again.")
    return joined | {"turns": turns}


def _read_scores(given: tuple[str, ...]) -> dict[str, pa.Table]:
    """Read NAME=PATH options.

    Raises:
        click.BadParameter: If one is not of that form, is given twice, or its file does not exist.
    """
    scores: dict[str, pa.Table] = {}
    for option in given:
        judge, equals, name = option.partition("=")
        if not (judge and equals and name) or judge in scores or not Path(name).is_file():
            raise click.BadParameter(
                f"expected NAME=PATH, each name once and the file there, got {option!r}.", param_hint="--scores"
            )
        scores[judge] = read_rows(Path(name), SCORES)
    return scores


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.option("--turns", type=InputFile, required=True, help="Turns to pick from (parquet).")
@click.option(
    "--scores", multiple=True, required=True, metavar="NAME=PATH", help="Scores of one judge; repeat it for each."
)
@click.option("--counts", type=InputFile, multiple=True, help="Counts of an earlier stage (JSON); repeat it.")
@click.option("--min-score", type=click.FloatRange(0, 10), required=True, help="Score that every judge must give.")
@click.option("--min-characters", type=click.IntRange(0), required=True, help="Shorter texts are left out.")
@click.option("--window", type=click.IntRange(0), required=True, help="Turns before a question to keep.")
@click.option("--conversation-gap", type=click.IntRange(0), required=True, help="Silence that ends one, in seconds.")
@click.option("--max-conversation-turns", type=click.IntRange(2), required=True, help="Longer ones are cut.")
@click.option("--out", type=OutputFile, required=True, help="Questions to write (parquet).")
@click.option("--metrics", type=OutputFile, required=True, help="Counts at every step to write (JSON).")
def main(
    turns: Path, scores: tuple[str, ...], counts: tuple[Path, ...], out: Path, metrics: Path, **limits: float
) -> None:
    """Write the turns that every judge takes for a question, with the turns before them."""
    rows = read_rows(turns, TURNS)
    numbers = read_counts(counts, rows.num_rows)
    try:
        picked = pick(rows, _read_scores(scores), Limits(**limits))  # type: ignore[arg-type]
    except DataError as error:
        raise DataError(f"{turns}: {error.message}") from error
    write_rows(out, picked.questions, QUESTIONS)
    write_json(metrics, summarize(picked, numbers))
    click.echo(
        f"{out}: {picked.questions.num_rows:,} questions of {rows.num_rows:,} turns in "
        f"{picked.conversations:,} conversations; left out: "
        + ", ".join(f"{reason} {count:,}" for reason, count in picked.left_out.items())
    )


if __name__ == "__main__":
    main()
