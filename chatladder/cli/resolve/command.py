r"""Apply a tuned model to new messages: does each need its context, and, if asked, the question rewritten with it.

Example:
    chatladder resolve chat.jsonl --rung embedded_700k --questions-only
    chatladder resolve chat.jsonl --model exported/qwen --questions-only --rewrite --out answers.jsonl

A chat is JSON lines {"sender", "text", "timestamp", "group"?}, any export that the pipeline reads, or a parquet file of
its turns or questions. Messages are masked, merged into turns and given their window as the model was trained on: the
settings are those in dvc.lock, or in the exported folder, and each option below overrides one.

Whether a turn needs its context is decided at the threshold that evaluate chose for the rung, which an exported folder
holds too; --threshold sets another. It is of the log-odds log(p_needed / p_not_needed).

What comes out is one JSON object a line, by group and time: "line" and "lines" (where the turn's messages stand in the
input; "turn_id" for parquet), "needed", "p_needed", and with --rewrite "rewrite", which is null where it is not needed.

The untouched model rewrites, greedily: the adapter has learned to choose one of three answers, not to write.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import click

from chatladder.chat.options import ExportOptions
from chatladder.cli.export.record import REQUIRED, Lock, Settings, checked, exported_settings, locked_settings
from chatladder.io.console import (
    SETTINGS,
    DataError,
    InputFile,
    InputFolder,
    OutputFile,
    OutputFolder,
    example,
    printable,
    stoppable,
)
from chatladder.io.files import whole_file
from chatladder.io.options import options_of
from chatladder.models.prompts import SPEAKERS, PromptSettings, one_line, render_row
from chatladder.vocabulary import ANSWERS, likeliest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from chatladder.cli.resolve.reading import Asked

#: Questions that are scored together: enough to batch them by length, few enough to show as they come.
CHUNK = 512
#: Decimals of a probability; beyond, the batch that a prompt shared shows.
DIGITS = 5


class Model(NamedTuple):
    """A model and how it answers."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    settings: Settings
    rewrite: bool


def answers(asked: Iterable["Asked"], model: Model, counts: Counter[str]) -> Iterator[dict[str, Any]]:
    """Rows of the output, a chunk of questions at a time.

    Args:
        asked: The questions to answer.
        model: The model that answers.
        counts: Gains ``answered``, ``needed`` and ``shortened``.
    """
    from tqdm import tqdm

    waiting = iter(asked)
    with tqdm(desc="resolve", unit=" turns", disable=None) as progress:
        while chunk := list(islice(waiting, CHUNK)):
            yield from _answer(chunk, model, counts)
            progress.update(len(chunk))


def _answer(chunk: list["Asked"], model: Model, counts: Counter[str]) -> Iterator[dict[str, Any]]:
    from chatladder.models.scoring import probabilities, score

    settings = model.settings
    prompt = PromptSettings(settings.language, settings.answer, settings.seed, settings.wording)
    prompts = [render_row(each.row, prompt) for each in chunk]
    scores, shortened = score(model.model, model.tokenizer, prompts, settings.max_length, settings.orders)
    shares = probabilities(scores)
    needed = [answer == "needed" for answer in named(shares, settings.threshold)]
    counts.update(answered=len(chunk), needed=sum(needed), shortened=shortened)
    rows = [each.row for each, yes in zip(chunk, needed, strict=True) if yes and model.rewrite]
    written = rewrite(model.model, model.tokenizer, rows, settings.language, settings.max_length)
    for each, yes, share in zip(chunk, needed, shares[:, ANSWERS.index("needed")], strict=True):
        said = {**each.place, "needed": yes, "p_needed": round(float(share), DIGITS)}
        yield said | ({"rewrite": next(written) if yes else None} if model.rewrite else {})


def named(shares: "NDArray[np.float64]", threshold: float | None) -> list[str]:
    """Return answers as evaluate decides them: at a threshold, or without one the most probable option.

    Args:
        shares: Probability of each answer, shape (n, 3), columns as ``ANSWERS``.
        threshold: The log-odds above which the answer is "needed".
    """
    if threshold is None:
        return [likeliest(row) for row in shares.tolist()]
    from chatladder.evaluation.predictions import log_odds_of
    from chatladder.evaluation.threshold import answers_at

    needed, not_needed, unknown = shares.T
    return [ANSWERS[code] for code in answers_at(log_odds_of(needed, not_needed), unknown, threshold)]


def settings_of(rung: str | None, folder: Path | None, lock: Path, given: Mapping[str, Any]) -> Settings:
    """The settings that the model was trained with, but for those that were given.

    Raises:
        click.UsageError: If one is neither on record nor given.
        DataError: If the record is damaged.
    """
    found: dict[str, Any] = {}
    if any(name not in given for name in REQUIRED):
        if folder is not None:
            found = exported_settings(folder)
        elif lock.is_file():
            found = locked_settings(Lock(lock), str(rung))
    found.update(given)
    missing = ["--" + name.replace("_", "-") for name in REQUIRED if name not in found]
    if missing:
        place = folder if folder is not None else lock
        raise click.UsageError(f"{place} does not say what the model was trained with; give {', '.join(missing)}.")
    return checked(found, str(folder if folder is not None else lock))


def load_model(
    rung: str | None, folder: Path | None, bases: Path, adapters: Path, *, rewrite: bool
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Model and tokenizer of a rung with its adapter, or of an exported folder.

    Raises:
        DataError: If it cannot be loaded, or cannot write though it should.
    """
    from chatladder.cli.export.merging import check_adapter, has_chat_template, load_folder
    from chatladder.cli.resolve.reading import pseudonyms_for
    from chatladder.models.loading import load

    base, adapter = (bases / str(rung), adapters / str(rung)) if folder is None else (folder, folder / "adapter")
    if folder is None:
        check_adapter(adapter, base)
    elif not (folder / "config.json").is_file():
        raise DataError(
            f"{folder}: expected a merged model that chatladder export wrote, got no config.json. An adapter alone is "
            "applied to its base with --rung."
        )
    if rewrite:
        check_can_write(has_chat_template(base), str(rung or folder))
        pseudonyms_for(shown=True)
    return load_folder(folder) if folder is not None else load(base, adapter)


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


def check_can_write(has_chat_template: bool, name: str) -> None:
    """Refuse models that were never taught to follow a request.

    Raises:
        DataError: If the tokenizer has no chat template.
    """
    if not has_chat_template:
        raise DataError(
            f"{name}: expected a chat model to rewrite with, got one without a chat template. Embedded rungs only "
            "choose between answers and cannot write; take a rung whose base is a chat model, or leave --rewrite out."
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
@click.option("--model", "folder", type=InputFolder, help="Or a folder that chatladder export wrote.")
@click.option("--questions-only", is_flag=True, help="Answer only what the judge of rules takes for questions.")
@click.option("--rewrite", is_flag=True, help="Write out what needs its context; chat models only.")
@click.option("--out", type=OutputFile, help="Answers to write (JSON lines); without it they are printed.")
@options_of(ExportOptions, "options")
@click.option("--names", type=InputFolder, help="Folder of *.deny and *.keep, as data/raw may hold them.")
@click.option("--bases", type=OutputFolder, default="data/bases", show_default=True)
@click.option("--adapters", type=OutputFolder, default="data/adapters", show_default=True)
@click.option("--lock", type=OutputFile, default="dvc.lock", show_default=True)
@options_of(Settings, "given", partial=True)
@stoppable("No file was written; the same command starts over.")
def resolve_command(
    chat: Path,
    rung: str | None,
    folder: Path | None,
    questions_only: bool,
    rewrite: bool,
    out: Path | None,
    options: ExportOptions,
    names: Path | None,
    bases: Path,
    adapters: Path,
    lock: Path,
    given: Mapping[str, Any],
) -> None:
    """Say of every message of CHAT whether something said before must be filled into it.

    Names become pseudonyms and personal data is masked before the model reads anything, as in ingest.
    """
    if (rung is None) == (folder is None):
        raise click.UsageError("expected either --rung or --model.")
    from chatladder.cli.resolve.reading import read_asked

    settings = settings_of(rung, folder, lock, given)
    if settings.threshold is None:
        click.echo("No threshold is on record, so an answer is the most probable option.", err=True)
    model, tokenizer = load_model(rung, folder, bases, adapters, rewrite=rewrite)
    if rewrite and folder is not None:
        click.echo("--rewrite: the merged model writes, which was tuned to choose and not to write.", err=True)
    counts: Counter[str] = Counter()
    asked = read_asked(chat, settings, options, counts, questions_only=questions_only, lists=names)
    rows = answers(asked, Model(model, tokenizer, settings, rewrite), counts)
    with ExitStack() as stack:
        file = stack.enter_context(stack.enter_context(whole_file(out)).open("w", encoding="utf-8")) if out else None
        for row in rows:
            click.echo(json.dumps(row, ensure_ascii=False), file=file)
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
