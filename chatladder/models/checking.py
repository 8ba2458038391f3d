"""Whether a model that was not trained here can be asked as the ladder asks, found out before it answers anything."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from chatladder.io.console import DataError
from chatladder.models.devices import QUANTIZED
from chatladder.models.encoding import check_prompts
from chatladder.models.folders import check_model_folder
from chatladder.models.loading import place, quiet
from chatladder.models.prompts import ANSWER_FORMS, LANGUAGES, Prompt, render
from chatladder.models.tokenizers import load_tokenizer, try_out, vocabulary

#: How configurations name the number of experts of a layer.
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
#: Orders of the options: with these item ids each option comes under each letter.
ORDERS = 12


def check_model(rung: Mapping[str, Any], folder: Path, language: str | None, answer: str | None) -> None:
    """Refuse a model that cannot be asked, or not as its rung says.

    Args:
        rung: Its description; ``chat_template``, ``load_in_4bit`` and ``load_in_8bit`` count where they are there.
        folder: That will be its base folder.
        language: Of the prompts; None checks each.
        answer: Form of the answer; None checks each.

    Raises:
        DataError: With what is wrong and what to do.
    """
    quiet()
    where = str(rung.get("repo") or rung.get("package") or rung.get("path"))
    model = place(folder, dict(rung))
    config = check_model_folder(model, own=model == folder)
    if any(config.get(name) for name in EXPERTS) and (
        small := next((name for name in QUANTIZED if rung.get(name)), "")
    ):
        raise DataError(
            f"{where}: expected a dense model for {small}, got a mixture: transformers keeps its experts in tensors "
            "that bitsandbytes leaves as they are."
        )
    try_out(model)
    tokenizer = load_tokenizer(model, str(rung.get("chat_template", "auto")))
    if tokenizer.chat_template is None and rung.get("chat_template") != "none":
        raise DataError(
            f"{where}: expected a chat template, got a tokenizer without one: it may be no chat model. "
            "base: {chat_template: none} (--chat-template none) asks it in plain text."
        )
    if tokenizer.eos_token_id is None:
        raise DataError(f"{where}: expected a token that ends a text, got none in its tokenizer and configuration.")
    try:
        check_prompts(tokenizer, [*_samples(language, answer)], vocabulary(config))
    except DataError as error:
        raise DataError(f"{where}: {error.message}") from error


def _samples(language: str | None, answer: str | None) -> Iterator[Prompt]:
    for tongue in (language,) if language else LANGUAGES:
        for form in (answer,) if answer else ANSWER_FORMS:
            for order in range(ORDERS):
                window = [("a", "好的 ok"), ("b", "它 it")]
                yield render(window, "a", "它 it?", item_id=str(order), language=tongue, answer=form, seed=0)
