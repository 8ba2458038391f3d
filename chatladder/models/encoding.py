"""Tokens of prompts and answers, by each model's own tokenizer and chat template."""

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


#: The number of items to tokenize together; afterwards the common prefix of an item's prompts is kept only once.
SLICE = 1000


class Example(NamedTuple):
    """The tokens of one training row.

    Attributes:
        prompt: Token ids of the prompt.
        answer: Token ids to learn; the last is the end-of-text token.
        deciding: Index in ``answer`` of the first token that distinguishes the options; -1 without options.
    """

    prompt: list[int]
    answer: list[int]
    deciding: int


class Encoded(NamedTuple):
    """The tokens of alpaca rows.

    Attributes:
        examples: One example for each row.
        options: Token ids of each row's options, in the order of ``ANSWERS``; empty if rows have none.
        right: Index in ``ANSWERS`` of each row's right option; empty if rows have none.
        shortened: The number of prompts that were shortened.
    """

    examples: list[Example]
    options: list[list[list[int]]]
    right: list[int]
    shortened: int


class Orders(NamedTuple):
    """The tokens of one item's prompts, which differ in the order of their options.

    Attributes:
        shared: Token ids of their common prefix.
        ends: The remaining token ids of each prompt; at least one.
    """

    shared: list[int]
    ends: list[list[int]]


def encode_prompts(
    tokenizer: "PreTrainedTokenizerBase", instructions: Sequence[str], max_length: int | Sequence[int]
) -> tuple[list[list[int]], int]:
    """Return the token ids of each prompt, and the number of shortened prompts; see ``encode_orders``."""
    rows, shortened = encode_orders(tokenizer, [[instruction] for instruction in instructions], max_length)
    return [row.shared + row.ends[0] for row in rows], shortened


def encode_orders(
    tokenizer: "PreTrainedTokenizerBase", items: Sequence[Sequence[str]], max_length: int | Sequence[int]
) -> tuple[list[Orders], int]:
    """Return the token ids of each item's prompts in the model's format, and the number of shortened items.

    The tokenizer's chat template is applied if it has one; otherwise the answer follows on a new line. If a prompt has
    more than ``max_length`` tokens, all prompts of its item are shortened alike: the oldest history lines are dropped,
    then, if none are left, the middle of the prompt.

    Args:
        tokenizer: The model's tokenizer.
        items: The instructions of each item, equal except for the order of the options.
        max_length: The most tokens of a prompt, for all items or for each.

    Raises:
        DataError: If ``max_length`` leaves no room for a prompt.
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
            # At least one token of each prompt follows the shared ones, since the model needs an input after them.
            shared = min(deciding_index(rows), *(len(row) - 1 for row in rows))
            orders.append(Orders(rows[0][:shared], [row[shared:] for row in rows]))
    return orders, shortened


def _marks(tokenizer: "PreTrainedTokenizerBase") -> re.Pattern[str]:
    """Return a pattern for texts that no message may contain: special tokens, and the template's, such as <think>."""
    template = str(tokenizer.chat_template or "")
    written = [str(token) for token in tokenizer.added_tokens_decoder.values() if str(token) in template]
    marks = {*special_tokens(tokenizer).values(), *written}
    # Line breaks and runs of spaces are tokens too, but not marks; a single character cannot be split.
    longest_first = sorted((mark for mark in marks if len(mark.strip()) > 1), key=lambda mark: (-len(mark), mark))
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


def _dresser(tokenizer: "PreTrainedTokenizerBase") -> Callable[[str], str]:
    """Return the function that writes an instruction in the model's format, up to its answer."""
    marks = _marks(tokenizer)
    around = Frame(("", "\n")) if tokenizer.chat_template is None else frame(tokenizer)
    if around.parts[-1].endswith(("<think>", "<think>\n")):
        # Some templates always begin a thought; the answer must not be part of it.
        around = around._replace(parts=[*around.parts[:-1], around.parts[-1].rstrip("\n") + "\n\n</think>\n\n"])

    def dressed(instruction: str) -> str:
        # A message must not end the user's turn: a special token inside it is split into plain text.
        return around.around(marks.sub(lambda mark: f"{mark[0][0]} {mark[0][1:]}", instruction))

    return dressed


def _tokens(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[list[int]]:
    if not texts:
        return []
    with reading("tokenizer", "one that splits every text"):
        rows = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
    # A chat template writes the beginning-of-text token itself.
    opening = _opening(tokenizer) if tokenizer.chat_template is None else []
    return [opening + ids for ids in rows] if opening else rows


def _opening(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Return the tokens that the tokenizer puts before a text; any after it are left out, as the answer follows."""
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
    """Return the token ids of each row's options, encoded after a prompt; each distinct text is encoded once.

    Args:
        tokenizer: The model's tokenizer.
        options: The texts of each row's options.
        instruction: Any of the prompts; the options follow its last line.

    Raises:
        DataError: If the tokenizer merges an option with the text before it, or does not distinguish two options.
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
    """Refuse options if the tokens of one begin another's: the longer one could never be more likely.

    Raises:
        DataError: If they do, with their tokens.
    """
    for (text, ids), (other, longer) in permutations(options.items(), 2):
        if longer[: len(ids)] == ids:
            shown = [tokenizer.convert_ids_to_tokens(tokens) for tokens in (ids, longer)]
            raise DataError(
                f"options {text!r} and {other!r}: expected different tokens, got {shown[0]}, which begin {shown[1]}. "
                "This tokenizer has no tokens for them; choose another prompt.language, or another model."
            )


def check_prompts(tokenizer: "PreTrainedTokenizerBase", prompts: Sequence[Prompt], rows: int | None = None) -> None:
    """Refuse a tokenizer that does not encode our prompts and options as separate pieces.

    Args:
        tokenizer: The model's tokenizer.
        prompts: Prompts of every form that the model will get.
        rows: The rows of the model's embedding; None if unknown.

    Raises:
        DataError: If an option's tokens depend on the prompt before it, or the model lacks one of them.
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
    """Return the length of the options' common prefix, the index of the first token that distinguishes them."""
    shared = 0
    for column in zip(*options, strict=False):
        if len(set(column)) > 1:
            break
        shared += 1
    return shared


def encode_rows(tokenizer: "PreTrainedTokenizerBase", rows: Sequence[Mapping[str, Any]], max_length: int) -> Encoded:
    """Encode alpaca rows, each of at most ``max_length`` tokens including its answer.

    Raises:
        DataError: If the tokenizer merges an option with the prompt, or does not distinguish two options.
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
    """Encode alpaca rows without options."""
    outputs = [str(row["output"]) for row in rows]
    before = _dresser(tokenizer)(str(rows[0]["instruction"]).rpartition("\n")[2])
    start, *joined = _tokens(tokenizer, [before, *(before + text for text in outputs)])
    alone = tokenizer(outputs, add_special_tokens=False)["input_ids"]
    # If the tokenizer merges a text with the text before it, the model generates it in the tokens that it has alone.
    answers = [
        whole[len(start) :] if whole[: len(start)] == start else ids for whole, ids in zip(joined, alone, strict=True)
    ]
    # Each prompt gets the room that its own text leaves: otherwise one long text would cost all prompts their history.
    room = [max_length - 1 - len(ids) for ids in answers]
    prompts, shortened = encode_prompts(tokenizer, [str(row["instruction"]) for row in rows], room)
    examples = [
        Example(prompt, [*ids, tokenizer.eos_token_id], -1) for prompt, ids in zip(prompts, answers, strict=True)
    ]
    return Encoded(examples, [], [], shortened)
