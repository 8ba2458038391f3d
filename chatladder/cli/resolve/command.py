r"""Apply a tuned model to new messages: does each need its context, and if so, how does it read written out?

Example:
    chatladder resolve chat.jsonl --rung embedded_700k --questions-only
    chatladder resolve chat.jsonl --model exported/qwen --questions-only --out answers.jsonl

A chat is JSON lines {"sender", "text", "timestamp", "group"?}, any export that the pipeline reads, or a parquet file of
its turns or questions. Messages are masked, merged into turns and given their window as in training: the settings are
those in dvc.lock, or in the exported folder, and options override them.

The threshold that evaluate chose for the rung, which an exported folder contains too, decides whether a turn needs its
context; --threshold sets another, and so do --cost-missed and --cost-needless. It applies to the log-odds
log(p_needed / p_not_needed). With more than two labels, the answer is the most probable one.

The output is one JSON object per line, by group and time: "sender" and "text" of the turn, masked ("turn_id" for
parquet), "needed" and "p_needed" (with more than two labels "label" and "probabilities"); with a rung that was trained
to write (docs/how-to/rewrites.md) also "rewritten", which is null if context is not needed, and numbers people in the
order in which they speak. With a key of your own, people have the same pseudonyms as elsewhere; without one, they are
numbered in the order in which they appear.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chatladder.chat.options import ExportOptions
from chatladder.cli.answering import Gate, ModelOptions, load_model, settings_of
from chatladder.cli.export.record import Settings
from chatladder.io.console import (
    SETTINGS,
    UNPRINTABLE,
    InputFile,
    InputFolder,
    OutputFile,
    example,
    stoppable,
)
from chatladder.io.files import whole_file
from chatladder.io.options import options_of
from chatladder.io.rows import PSEUDONYM
from chatladder.privacy.secret import local_key
from chatladder.vocabulary import IS_BINARY, KINDS, POSITIVE

if TYPE_CHECKING:
    from chatladder.cli.resolve.reading import Asked

#: Questions to score together: enough to batch them by length, few enough to show answers early.
CHUNK = 512
_PSEUDONYM = re.compile(rf"\b{PSEUDONYM}\b", re.ASCII)


def numbered(asked: Iterable["Asked"]) -> Iterator["Asked"]:
    """Replace pseudonyms by numbers, in order of appearance, since with the passing key anybody could test names."""
    numbers: dict[str, int] = {}

    def number(found: re.Match[str]) -> str:
        return f"user {numbers.setdefault(found[0], len(numbers) + 1)}"

    for each in asked:
        shown = {name: _PSEUDONYM.sub(number, each.place[name]) for name in ("sender", "text")}
        yield each._replace(place={**each.place, **shown})


def line_of(row: dict[str, Any]) -> str:
    """Return one line of the output; characters that would break it, or affect a terminal, become JSON escapes."""
    return UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(row, ensure_ascii=False))


def answers(asked: Iterable["Asked"], gate: Gate, counts: Counter[str]) -> Iterator[dict[str, Any]]:
    """Yield rows of the output, a chunk of questions at a time.

    Args:
        asked: The questions to answer.
        gate: The model that answers.
        counts: Gains ``answered``, ``needed`` and ``shortened``.
    """
    from tqdm import tqdm

    waiting = iter(asked)
    with tqdm(desc="resolve", unit=" turns", disable=None) as progress:
        while chunk := list(islice(waiting, CHUNK)):
            told, shortened = _told([each.row for each in chunk], gate)
            needed = sum(answer.get("needed", False) for answer in told)
            counts.update(answered=len(chunk), needed=needed, shortened=shortened)
            for each, answer in zip(chunk, told, strict=True):
                row = {**each.place, **answer}
                yield row if gate.writes else {key: value for key, value in row.items() if key != "rewritten"}
            progress.update(len(chunk))


def _told(rows: list[dict[str, Any]], gate: Gate) -> tuple[list[dict[str, Any]], int]:
    """Return the fields of the answers to rows of QUESTIONS, and the number of prompts that were shortened."""
    if IS_BINARY:
        answers, shortened = gate.answer(rows)
        return [answer._asdict() for answer in answers], shortened
    choices, shortened = gate.choose(rows)
    return [choice._asdict() for choice in choices], shortened


@click.command(
    name="resolve",
    context_settings=SETTINGS,
    epilog=example(__doc__),
)
@click.argument("chat", type=InputFile)
@click.option("--rung", help="Key of the ladder: its base, and the adapter that the pipeline trained.")
@click.option("--questions-only", is_flag=True, help="Answer only what the judge of rules takes for questions.")
@click.option("--out", type=OutputFile, help="Answers to write (JSON lines); without it they are printed.")
@options_of(ExportOptions, "options")
@click.option("--names", type=InputFolder, help="Folder of *.deny and *.keep, as data/raw may hold them.")
@options_of(ModelOptions, "model_options")
@options_of(Settings, "given", partial=True)
@stoppable("No file was written; the same command starts over.")
def resolve_command(
    chat: Path,
    rung: str | None,
    questions_only: bool,
    out: Path | None,
    options: ExportOptions,
    names: Path | None,
    model_options: ModelOptions,
    given: Mapping[str, Any],
) -> None:
    """Answer the question of the task for every message of CHAT.

    Names become pseudonyms and personal data is masked before the model reads anything, as in ingest.
    """
    folder = model_options.folder
    if (rung is None) == (folder is None):
        raise click.UsageError("expected either --rung or --model.")
    from chatladder.cli.resolve.reading import read_asked

    settings = settings_of(rung, model_options, given)
    gate = Gate(*load_model(rung, model_options), settings)
    counts: Counter[str] = Counter()
    asked = read_asked(chat, settings, options, counts, questions_only=questions_only, lists=names)
    if local_key() is None:
        asked = numbered(asked)
    rows = answers(asked, gate, counts)
    with ExitStack() as stack:
        file = (
            stack.enter_context(stack.enter_context(whole_file(out)).open("w", encoding="utf-8", newline="\n"))
            if out
            else None
        )
        for row in rows:
            click.echo(line_of(row), file=file)
    click.echo(_summary(out, counts), err=out is None)


def _summary(out: Path | None, counts: Counter[str]) -> str:
    left_out = [
        f"{name.removeprefix('left_out_')} {count:,}"
        for name, count in counts.items()
        if name.startswith(("left_out_", "skipped_")) and count
    ]
    answered = f"{counts['answered']:,} turns"
    if IS_BINARY:
        answered = f'{counts["needed"]:,} of {answered} are "{KINDS[POSITIVE].words}"'
    return (
        f"{out or 'answers'}: {answered}; left out: "
        f"{', '.join(left_out) or 'none'}; {counts['shortened']:,} prompts shortened"
    )


if __name__ == "__main__":
    resolve_command()
