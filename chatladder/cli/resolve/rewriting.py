"""Questions that can be understood alone, written by a chat model that reads the messages before them.

Greedy generation by the untouched model: the adapter has learned to choose one of three answers, not to write.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, cast

from chatladder.io.console import DataError, printable
from chatladder.models.prompts import SPEAKERS, one_line

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

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
