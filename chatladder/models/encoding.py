"""Prompts and answers in tokens, as each model's own tokenizer and chat template write them."""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import permutations, zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

from chatladder.io.console import DataError
from chatladder.models.folders import reading
from chatladder.models.prompts import Prompt, without_oldest
from chatladder.models.tokenizers import Frame, frame, special_tokens
from chatladder.vocabulary import ANSWERS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


#: Items that are split into tokens together: of each, what its prompts share is then kept once.
SLICE = 1000


class Example(NamedTuple):
    """One training row in tokens.

    Attributes:
        prompt: Token ids that are read.
        answer: Token ids that are learned, the end-of-text token last.
        deciding: Index in ``answer`` of the first token that tells the options apart; -1 where there are none.
    """

    prompt: list[int]
    answer: list[int]
    deciding: int


class Encoded(NamedTuple):
    """Alpaca rows in tokens.

    Attributes:
        examples: One for each row.
        options: Token ids of each row's options, in the order of ``ANSWERS``; empty where rows have none.
        right: Index of the right option in ``ANSWERS``; empty where rows have none.
        shortened: How many prompts had to be shortened.
    """

    examples: list[Example]
    options: list[list[list[int]]]
    right: list[int]
    shortened: int


class Orders(NamedTuple):
    """The prompts of one item in tokens, which differ in the order of their options.

    Attributes:
        shared: Token ids that all of them begin with.
        ends: The other token ids of each; at least one.
    """

    shared: list[int]
    ends: list[list[int]]


def encode_prompts(
    tokenizer: "PreTrainedTokenizerBase", instructions: Sequence[str], max_length: int | Sequence[int]
) -> tuple[list[list[int]], int]:
    """Token ids of each prompt, and how many had to be shortened; see ``encode_orders``."""
    rows, shortened = encode_orders(tokenizer, [[instruction] for instruction in instructions], max_length)
    return [row.shared + row.ends[0] for row in rows], shortened


def encode_orders(
    tokenizer: "PreTrainedTokenizerBase", items: Sequence[Sequence[str]], max_length: int | Sequence[int]
) -> tuple[list[Orders], int]:
    """Token ids of each item's prompts as the model wants them, and how many items had to be shortened.

    A chat model's own template is applied where the tokenizer has one; else the answer follows on a new line. Where a
    prompt of an item has more than ``max_length`` tokens, all of the item lose the same: the oldest history lines,
    then, without any, the middle of what is left.

    Args:
        tokenizer: The model's tokenizer.
        items: The instructions of each item, equal but for the order of the options.
        max_length: Most tokens of a prompt, of all items or of each.

    Raises:
        DataError: If there is no room for a prompt at all.
    """
    limits = [max_length] * len(items) if isinstance(max_length, int) else max_length
    if (least := min(limits, default=1)) < 1:
        raise DataError(
            f"max_length: expected room for a prompt beside its answer, got {least} tokens. "
            "Raise max_length, or choose a model that reads more at once."
        )
    dressed = _dresser(tokenizer)
    orders, shortened = [], 0
    for start in range(0, len(items), SLICE):
        part = items[start : start + SLICE]
        flat = iter(_tokens(tokenizer, [dressed(instruction) for item in part for instruction in item]))
        for item, limit in zip(part, limits[start : start + SLICE], strict=True):
            rows = [next(flat) for _ in item]
            if max(map(len, rows)) > limit:
                rows = _shortened(tokenizer, item, rows, limit, dressed)
                shortened += 1
            # Something of each prompt is left to be read after what is shared.
            shared = min(deciding_index(rows), *(len(row) - 1 for row in rows))
            orders.append(Orders(rows[0][:shared], [row[shared:] for row in rows]))
    return orders, shortened


def _marks(tokenizer: "PreTrainedTokenizerBase") -> re.Pattern[str]:
    """Texts that no message may hold: special tokens, and others of the chat template, such as <think>."""
    template = str(tokenizer.chat_template or "")
    written = [str(token) for token in tokenizer.added_tokens_decoder.values() if str(token) in template]
    marks = {*special_tokens(tokenizer).values(), *written}
    # Line breaks and runs of spaces are tokens too, and no marks; a single character cannot be broken up.
    longest_first = sorted((mark for mark in marks if len(mark.strip()) > 1), key=lambda mark: (-len(mark), mark))
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


def _dresser(tokenizer: "PreTrainedTokenizerBase") -> Callable[[str], str]:
    """The function that writes an instruction as the model wants it, up to its answer."""
    marks = _marks(tokenizer)
    around = Frame(("", "\n")) if tokenizer.chat_template is None else frame(tokenizer)
    if around.parts[-1].endswith(("<think>", "<think>\n")):
        # Some templates begin a thought whatever they are told; the answer does not belong in it.
        around = around._replace(parts=[*around.parts[:-1], around.parts[-1].rstrip("\n") + "\n\n</think>\n\n"])

    def dressed(instruction: str) -> str:
        # The chat must not end the user's turn: a special token inside a message is broken up into plain text.
        return around.around(marks.sub(lambda mark: f"{mark[0][0]} {mark[0][1:]}", instruction))

    return dressed


def _tokens(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[list[int]]:
    if not texts:
        return []
    with reading("tokenizer", "one that splits every text"):
        rows = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
    # A chat template has written its own beginning-of-text token.
    opening = _opening(tokenizer) if tokenizer.chat_template is None else []
    return [opening + ids for ids in rows] if opening else rows


def _opening(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Tokens that the tokenizer itself puts before a text; those after one would stand before the answer."""
    bare, full = (tokenizer("a", add_special_tokens=added)["input_ids"] for added in (False, True))
    starts = (at for at in range(len(full)) if full[at : at + len(bare)] == bare)
    return list(full[: next(starts, 0)])


def _shortened(
    tokenizer: "PreTrainedTokenizerBase",
    instructions: Sequence[str],
    rows: list[list[int]],
    max_length: int,
    dressed: Callable[[str], str],
) -> list[list[int]]:
    shorter = [without_oldest(instruction) for instruction in instructions]
    while max(map(len, rows)) > max_length and None not in shorter:
        fewer = [text for text in shorter if text is not None]
        rows = _tokens(tokenizer, [dressed(text) for text in fewer])
        shorter = [without_oldest(text) for text in fewer]
    if (over := max(map(len, rows)) - max_length) > 0:
        rows = [ids[: max_length // 2] + ids[max_length // 2 + over :] for ids in rows]
    return rows


def encode_options(
    tokenizer: "PreTrainedTokenizerBase", options: Sequence[Mapping[str, str]], instruction: str = ""
) -> list[dict[str, list[int]]]:
    """Token ids of every option of every row, as they come out after a prompt; each distinct text is encoded once.

    Args:
        tokenizer: The model's tokenizer.
        options: The texts of each row's options.
        instruction: Any one of the prompts; its last line is what the options follow.

    Raises:
        DataError: If the tokenizer joins an option to what stands before it, or does not tell two options apart.
    """
    texts = sorted({text for row in options for text in row.values()})
    before = _dresser(tokenizer)(instruction.rpartition("\n")[2])
    start, *joined = _tokens(tokenizer, [before, *(before + text for text in texts)])
    ids = {}
    for text, whole in zip(texts, joined, strict=True):
        if whole[: len(start)] != start:
            alone = tokenizer(text, add_special_tokens=False)["input_ids"]
            raise DataError(_joined(tokenizer, text, start + alone, whole))
        ids[text] = whole[len(start) :]
    for row in sorted({tuple(row.values()) for row in options}):
        _check_apart(tokenizer, {text: ids[text] for text in row})
    return [{key: ids[text] for key, text in row.items()} for row in options]


def _joined(tokenizer: "PreTrainedTokenizerBase", option: str, apart: list[int], whole: list[int]) -> str:
    shared = next(at for at, pair in enumerate(zip_longest(apart, whole)) if pair[0] != pair[1])
    wanted, got = (tokenizer.convert_ids_to_tokens(ids[shared:]) for ids in (apart, whole))
    return (
        f"option {option!r}: expected a prompt with it to end in the tokens {wanted}, got {got}: the tokenizer joins "
        "the option to what stands before it, so that the model cannot be asked for the option alone. Choose the "
        "other prompt.answer (text or lettered), or another model."
    )


def _check_apart(tokenizer: "PreTrainedTokenizerBase", options: Mapping[str, list[int]]) -> None:
    """Refuse options of which one begins another: the longer one could never be the more likely.

    Raises:
        DataError: With their tokens.
    """
    for (text, ids), (other, longer) in permutations(options.items(), 2):
        if longer[: len(ids)] == ids:
            shown = [tokenizer.convert_ids_to_tokens(tokens) for tokens in (ids, longer)]
            raise DataError(
                f"options {text!r} and {other!r}: expected different tokens, got {shown[0]}, which begin {shown[1]}. "
                "This tokenizer has no tokens for them; choose another prompt.language, or another model."
            )


def check_prompts(tokenizer: "PreTrainedTokenizerBase", prompts: Sequence[Prompt], rows: int | None = None) -> None:
    """Refuse a tokenizer that does not write our prompts and options piece by piece.

    Args:
        tokenizer: The model's tokenizer.
        prompts: Prompts of every form that the model will be asked in.
        rows: Rows of the model's embedding; None where they are not known.

    Raises:
        DataError: If an option's tokens are others after a whole prompt than alone, or the model lacks one of them.
    """
    dressed = _dresser(tokenizer)
    for prompt in prompts:
        (options,) = encode_options(tokenizer, [prompt.options], prompt.instruction)
        text = dressed(prompt.instruction)
        (start,) = _tokens(tokenizer, [text])
        for key, option in prompt.options.items():
            (whole,) = _tokens(tokenizer, [text + option])
            if whole != start + options[key]:
                raise DataError(_joined(tokenizer, option, start + options[key], whole))
            if rows is not None and max(whole) >= rows:
                raise DataError(
                    f"tokenizer: expected tokens below {rows}, the rows of the model's embedding, got {max(whole)} "
                    f"({tokenizer.convert_ids_to_tokens(max(whole))!r}). It is the tokenizer of another model."
                )


def deciding_index(options: Sequence[Sequence[int]]) -> int:
    """How many first tokens all options share: the index of the token that tells them apart."""
    shared = 0
    for column in zip(*options, strict=False):
        if len(set(column)) > 1:
            break
        shared += 1
    return shared


def encode_rows(tokenizer: "PreTrainedTokenizerBase", rows: Sequence[Mapping[str, Any]], max_length: int) -> Encoded:
    """Alpaca rows in tokens, each with its answer no longer than ``max_length``.

    Raises:
        DataError: If the tokenizer does not keep the options apart from the prompt and from each other.
    """
    if rows and not rows[0]["options"]:
        return _encode_texts(tokenizer, rows, max_length)
    asked = str(rows[0]["instruction"]) if rows else ""
    texts = encode_options(tokenizer, [row["options"] for row in rows], asked)
    options = [[ids[key] for key in ANSWERS] for ids in texts]
    right = [[row["options"][key] for key in ANSWERS].index(row["output"]) for row in rows]
    room = max_length - 1 - max((len(ids) for row in options for ids in row), default=0)
    prompts, shortened = encode_prompts(tokenizer, [row["instruction"] for row in rows], room)
    examples = [
        Example(prompt, ids[index] + [tokenizer.eos_token_id], deciding_index(ids))
        for prompt, ids, index in zip(prompts, options, right, strict=True)
    ]
    return Encoded(examples, options, right, shortened)


def _encode_texts(tokenizer: "PreTrainedTokenizerBase", rows: Sequence[Mapping[str, Any]], max_length: int) -> Encoded:
    """Alpaca rows without options in tokens."""
    outputs = [str(row["output"]) for row in rows]
    before = _dresser(tokenizer)(str(rows[0]["instruction"]).rpartition("\n")[2])
    start, *joined = _tokens(tokenizer, [before, *(before + text for text in outputs)])
    alone = tokenizer(outputs, add_special_tokens=False)["input_ids"]
    # Where the tokenizer joins a text to what stands before it, the model writes it in the tokens that it has alone.
    answers = [
        whole[len(start) :] if whole[: len(start)] == start else ids for whole, ids in zip(joined, alone, strict=True)
    ]
    # Each prompt has the room that its own text leaves: one long text would take the history of all.
    room = [max_length - 1 - len(ids) for ids in answers]
    prompts, shortened = encode_prompts(tokenizer, [str(row["instruction"]) for row in rows], room)
    examples = [
        Example(prompt, [*ids, tokenizer.eos_token_id], -1) for prompt, ids in zip(prompts, answers, strict=True)
    ]
    return Encoded(examples, [], [], shortened)
