"""Prompts and answers in tokens, as each model's own tokenizer and chat template write them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from stages.models.prompts import ANSWERS, without_oldest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Example(NamedTuple):
    """One training row in tokens.

    Attributes:
        prompt: Token ids that are read.
        answer: Token ids that are learned, the end-of-text token last.
        deciding: Index in ``answer`` of the first token that tells the options apart.
    """

    prompt: list[int]
    answer: list[int]
    deciding: int


class Encoded(NamedTuple):
    """Alpaca rows in tokens.

    Attributes:
        examples: One for each row.
        options: Token ids of each row's options, in the order of ``ANSWERS``.
        right: Index of the right option in ``ANSWERS``.
        shortened: How many prompts had to be shortened.
    """

    examples: list[Example]
    options: list[list[list[int]]]
    right: list[int]
    shortened: int


def encode_prompts(
    tokenizer: "PreTrainedTokenizerBase", instructions: Sequence[str], max_length: int
) -> tuple[list[list[int]], int]:
    """Token ids of each prompt as its model wants it, and how many had to be shortened.

    A chat model's own template is applied where the tokenizer has one; else the answer follows on a new line. A prompt
    of more than ``max_length`` tokens loses its oldest history lines, then, without any, the middle of what is left.
    """
    texts = [_dressed(tokenizer, instruction) for instruction in instructions]
    rows: list[list[int]] = _tokens(tokenizer, texts) if texts else []
    long = [index for index, ids in enumerate(rows) if len(ids) > max_length]
    for index in long:
        rows[index] = _shortened(tokenizer, instructions[index], rows[index], max_length)
    return rows, len(long)


def _dressed(tokenizer: "PreTrainedTokenizerBase", instruction: str) -> str:
    # The chat must not end the user's turn: a special token inside a message is broken up into plain text.
    for token in tokenizer.all_special_tokens:
        if token in instruction:
            instruction = instruction.replace(token, f"{token[0]} {token[1:]}")
    if tokenizer.chat_template is None:
        return instruction + "\n"
    messages = [{"role": "user", "content": instruction}]
    # Models that may think aloud first are told not to: the answer is scored, not generated.
    return str(
        tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    )


def _tokens(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[list[int]]:
    # A chat template has written its own beginning-of-text token.
    plain = tokenizer.chat_template is None
    return tokenizer(list(texts), add_special_tokens=plain, return_attention_mask=False)["input_ids"]


def _shortened(tokenizer: "PreTrainedTokenizerBase", instruction: str, ids: list[int], max_length: int) -> list[int]:
    shorter = without_oldest(instruction)
    while len(ids) > max_length and shorter is not None:
        ids = _tokens(tokenizer, [_dressed(tokenizer, shorter)])[0]
        shorter = without_oldest(shorter)
    if len(ids) > max_length:
        ids = ids[: max_length // 2] + ids[len(ids) - (max_length - max_length // 2) :]
    return ids


def encode_options(
    tokenizer: "PreTrainedTokenizerBase", options: Sequence[Mapping[str, str]]
) -> list[dict[str, list[int]]]:
    """Token ids of every option of every row; each distinct text is encoded once."""
    texts = sorted({text for row in options for text in row.values()})
    ids = dict(zip(texts, tokenizer(texts, add_special_tokens=False)["input_ids"], strict=True)) if texts else {}
    return [{key: ids[text] for key, text in row.items()} for row in options]


def deciding_index(options: Sequence[Sequence[int]]) -> int:
    """How many first tokens all options share: the index of the token that tells them apart."""
    shared = 0
    for column in zip(*options, strict=False):
        if len(set(column)) > 1:
            break
        shared += 1
    return shared


def encode_rows(tokenizer: "PreTrainedTokenizerBase", rows: Sequence[Mapping[str, Any]], max_length: int) -> Encoded:
    """Alpaca rows in tokens, each with its answer no longer than ``max_length``."""
    texts = encode_options(tokenizer, [row["options"] for row in rows])
    options = [[ids[key] for key in ANSWERS] for ids in texts]
    right = [[row["options"][key] for key in ANSWERS].index(row["output"]) for row in rows]
    room = max_length - 1 - max((len(ids) for row in options for ids in row), default=0)
    prompts, shortened = encode_prompts(tokenizer, [row["instruction"] for row in rows], room)
    examples = [
        Example(prompt, ids[index] + [tokenizer.eos_token_id], deciding_index(ids))
        for prompt, ids, index in zip(prompts, options, right, strict=True)
    ]
    return Encoded(examples, options, right, shortened)
