r"""Apply a tuned model to new messages: does each need its context, and, if asked, the question rewritten with it.

Example:
    chatladder resolve chat.jsonl --rung embedded_700k --questions-only
    chatladder resolve chat.jsonl --model exported/qwen --questions-only --rewrite --out answers.jsonl

A chat is JSON lines {"sender", "text", "timestamp", "group"?}, any export that the pipeline reads, or a parquet file of
its turns or questions. Messages are masked, merged into turns and given their window as the model was trained on: the
settings are those in dvc.lock, or in the exported folder, and each option below overrides one.

Whether a turn needs its context is decided at the threshold that evaluate chose for the rung, which an exported folder
holds too; --threshold sets another, and so do --cost-missed and --cost-needless. It is of the log-odds
log(p_needed / p_not_needed).

What comes out is one JSON object a line, by group and time: "sender" and "text" of the turn, masked ("turn_id" for
parquet), "needed", "p_needed", and with --rewrite "rewrite", which is null where it is not needed. With a key of one's
own people have their pseudonyms; without one, they are numbered in the order in which they come.

The untouched model rewrites, greedily: the adapter has learned to choose one of three answers, not to write.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from chatladder.chat.options import ExportOptions
from chatladder.cli.answering import Gate, ModelOptions, load_model, settings_of
from chatladder.cli.export.record import Settings
from chatladder.io.console import (
    SETTINGS,
    UNPRINTABLE,
    DataError,
    InputFile,
    InputFolder,
    OutputFile,
    example,
    printable,
    stoppable,
)
from chatladder.io.files import whole_file
from chatladder.io.options import options_of
from chatladder.models.prompts import SPEAKERS, one_line
from chatladder.privacy.secret import KEY_VARIABLE, local_key

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from chatladder.cli.resolve.reading import Asked

#: Questions that are scored together: enough to batch them by length, few enough to show as they come.
CHUNK = 512
_PSEUDONYM = re.compile(r"\bu(?:[0-9a-f]{16}|[0-9a-f]{8})\b", re.ASCII)


def numbered(asked: Iterable["Asked"]) -> Iterator["Asked"]:
    """Show people by number, in the order in which they come: anybody can test names under the passing key."""
    numbers: dict[str, int] = {}

    def number(found: re.Match[str]) -> str:
        return f"user {numbers.setdefault(found[0], len(numbers) + 1)}"

    for each in asked:
        shown = {name: _PSEUDONYM.sub(number, each.place[name]) for name in ("sender", "text")}
        yield each._replace(place={**each.place, **shown})


def line_of(row: dict[str, Any]) -> str:
    """One line of the output: what would break it, or move what a terminal shows, is an escape of JSON."""
    return UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(row, ensure_ascii=False))


def answers(
    asked: Iterable["Asked"], gate: Gate, counts: Counter[str], *, rewritten: bool = False
) -> Iterator[dict[str, Any]]:
    """Rows of the output, a chunk of questions at a time.

    Args:
        asked: The questions to answer.
        gate: The model that answers.
        counts: Gains ``answered``, ``needed`` and ``shortened``.
        rewritten: Whether what is needed is written out too.
    """
    from tqdm import tqdm

    waiting = iter(asked)
    with tqdm(desc="resolve", unit=" turns", disable=None) as progress:
        while chunk := list(islice(waiting, CHUNK)):
            yield from _answer(chunk, gate, counts, rewritten)
            progress.update(len(chunk))


def _answer(chunk: list["Asked"], gate: Gate, counts: Counter[str], rewritten: bool) -> Iterator[dict[str, Any]]:
    given, shortened = gate.answer([each.row for each in chunk])
    counts.update(answered=len(chunk), needed=sum(answer.needed for answer in given), shortened=shortened)
    rows = [each.row for each, answer in zip(chunk, given, strict=True) if answer.needed and rewritten]
    written = rewrite(gate.model, gate.tokenizer, rows, gate.settings.language, gate.settings.max_length)
    for each, answer in zip(chunk, given, strict=True):
        row = {**each.place, **answer._asdict()}
        yield row | ({"rewrite": next(written) if answer.needed else None} if rewritten else {})


#: What is asked for, with places for the history and the question; one line is taken of what comes back.
PROMPTS = {
    "zh": (
        "下面是群聊记录和一个问题。把问题改写成不看记录也能看懂的一个问题：补上它指代或省略的东西，其余不变。"
        "只写改写后的问题。\n记录：\n",
        "\n问题：\n",
        "",
    ),
    "en": (
        "Below are messages of a group chat and a question. Rewrite the question so that it can be understood without "
        "the messages: fill in what it refers to or leaves out, and change nothing else. Write the rewritten question "
        "alone.\nMessages:\n",
        "\nQuestion:\n",
        "",
    ),
}
#: Tokens of a rewritten question; a question of a chat has some 20.
MOST_TOKENS = 96
#: Questions that are written at once.
BATCH = 8


def check_can_write(base: Path, name: str) -> None:
    """Refuse models that were never taught to follow a request, and to show pseudonyms that anybody can test.

    Raises:
        DataError: If the tokenizer has no chat template, or there is no key of one's own.
    """
    from chatladder.cli.export.merging import has_chat_template

    if not has_chat_template(base):
        raise DataError(
            f"{name}: expected a chat model to rewrite with, got one without a chat template. Embedded rungs only "
            "choose between answers and cannot write; take a rung whose base is a chat model, or leave --rewrite out."
        )
    if local_key() is None:
        raise DataError(
            "--rewrite: expected a key of your own, since rewritten questions hold pseudonyms, got none. Make one with "
            f'"chatladder secret", or set {KEY_VARIABLE}, and run again.'
        )


def instruction(row: dict[str, Any], language: str) -> str:
    """The request to rewrite one row of QUESTIONS; people are numbered as in the prompt that is scored."""
    said = [(turn["sender"], turn["text"]) for turn in row["window"]]
    speakers = dict.fromkeys([*(sender for sender, _ in said), row["sender"]])
    numbers = {sender: number for number, sender in enumerate(speakers, 1)}
    speaker = SPEAKERS[language]
    lines = [speaker.format(numbers[sender]) + one_line(text) for sender, text in said]
    before, between, end = PROMPTS[language]
    return before + "\n".join(lines) + between + speaker.format(numbers[row["sender"]]) + one_line(row["text"]) + end


def rewrite(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    rows: Sequence[dict[str, Any]],
    language: str,
    max_length: int,
) -> Iterator[str]:
    """One line for each row of QUESTIONS, in their order.

    Args:
        model: With an adapter on top, which is then set aside, or without.
        tokenizer: Its tokenizer, with a chat template.
        rows: The questions to rewrite.
        language: The language of the request.
        max_length: Most tokens of a prompt with its answer; what is longer loses its middle.
    """
    import torch
    from transformers import GenerationConfig

    from chatladder.models.batches import pad_left
    from chatladder.models.encoding import encode_prompts
    from chatladder.models.loading import within_context

    room = within_context(model, max_length) - MOST_TOKENS
    known = model.generation_config
    ends = getattr(known, "eos_token_id", None) or tokenizer.eos_token_id
    greedy = GenerationConfig(
        do_sample=False, max_new_tokens=MOST_TOKENS, eos_token_id=ends, pad_token_id=tokenizer.pad_token_id
    )
    plain = cast("Any", model).disable_adapter if hasattr(model, "peft_config") else nullcontext
    for start in range(0, len(rows), BATCH):
        asked = [instruction(row, language) for row in rows[start : start + BATCH]]
        prompts, _ = encode_prompts(tokenizer, asked, max(1, room))
        inputs = pad_left(prompts, cast("int", tokenizer.pad_token_id))
        del inputs["position_ids"]  # generate counts them itself
        inputs = {name: tensor.to(model.device) for name, tensor in inputs.items()}
        with torch.inference_mode(), plain():
            written = cast("Any", model).generate(**inputs, generation_config=greedy)
        for tokens in written[:, inputs["input_ids"].shape[1] :]:
            text = tokenizer.decode(tokens, skip_special_tokens=True)
            yield printable(next((line.strip() for line in str(text).splitlines() if line.strip()), ""))


@click.command(
    name="resolve",
    context_settings=SETTINGS,
    epilog=example(__doc__),
)
@click.argument("chat", type=InputFile)
@click.option("--rung", help="Key of the ladder: its base, and the adapter that the pipeline trained.")
@click.option("--questions-only", is_flag=True, help="Answer only what the judge of rules takes for questions.")
@click.option("--rewrite", is_flag=True, help="Write out what needs its context; chat models only.")
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
    rewrite: bool,
    out: Path | None,
    options: ExportOptions,
    names: Path | None,
    model_options: ModelOptions,
    given: Mapping[str, Any],
) -> None:
    """Say of every message of CHAT whether something said before must be filled into it.

    Names become pseudonyms and personal data is masked before the model reads anything, as in ingest.
    """
    folder = model_options.folder
    if (rung is None) == (folder is None):
        raise click.UsageError("expected either --rung or --model.")
    from chatladder.cli.resolve.reading import read_asked

    settings = settings_of(rung, model_options, given)
    if rewrite:
        check_can_write(folder or model_options.bases / str(rung), str(rung or folder))
    if rewrite and folder is not None:
        click.echo("--rewrite: the merged model writes, which was tuned to choose and not to write.", err=True)
    gate = Gate(*load_model(rung, model_options), settings)
    counts: Counter[str] = Counter()
    asked = read_asked(chat, settings, options, counts, questions_only=questions_only, lists=names)
    if local_key() is None:
        asked = numbered(asked)
    rows = answers(asked, gate, counts, rewritten=rewrite)
    with ExitStack() as stack:
        file = stack.enter_context(stack.enter_context(whole_file(out)).open("w", encoding="utf-8")) if out else None
        for row in rows:
            click.echo(line_of(row), file=file)
    click.echo(_summary(out, counts), err=out is None)


def _summary(out: Path | None, counts: Counter[str]) -> str:
    left_out = [
        f"{name.removeprefix('left_out_')} {count:,}"
        for name, count in counts.items()
        if name.startswith(("left_out_", "skipped_")) and count
    ]
    return (
        f"{out or 'answers'}: {counts['needed']:,} of {counts['answered']:,} turns need their context; left out: "
        f"{', '.join(left_out) or 'none'}; {counts['shortened']:,} prompts shortened"
    )


if __name__ == "__main__":
    resolve_command()
