"""Let a model generate text: the option that it names, as in arXiv 2405.02817, or a rewrite of a question.

Decoding is greedy, with the options in one order, and stops at the end of the text or a few tokens beyond the longest
option; without options, after ``MOST_TOKENS``. An answer is parsed as from a model behind an endpoint (``read_name``):
only an option's text and nothing else counts. A model that explains itself, or repeats the list, gives no answer.

Prompts are batched as for scoring: by length over all prompts, whatever the number of workers.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from chatladder.distributed import Workers
from chatladder.io.console import bar
from chatladder.models.batches import pad_left
from chatladder.models.encoding import encode_options, encode_prompts
from chatladder.models.kept import KeptBatches, answers_run
from chatladder.models.loading import load, within_context
from chatladder.models.prompts import Prompt
from chatladder.models.scoring import WorkerCheck, float32_logits, length_batches, need_of
from chatladder.models.served.reading import read_name
from chatladder.vocabulary import ANSWERS, CHANCES

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: Tokens beyond those of the longest option: enough for a full stop, or for a JSON object around the option.
MORE_TOKENS = 12
#: The most tokens of a generated text without options.
MOST_TOKENS = 128


class GeneratedPart(NamedTuple):
    """The texts that a model generated for some prompts.

    Attributes:
        indices: The indices of the prompts.
        texts: The answer to each prompt.
        shortened: The number of prompts that were too long, over all parts.
        room: The most tokens of a prompt with its answer.
    """

    indices: list[int]
    texts: list[str]
    shortened: int
    room: int


class PromptGenerator:
    """A rung and its prompts. A worker loads the model for its first part, and keeps it for the others."""

    def __init__(
        self, base: Path, adapter: Path | None, prompts: Sequence[Prompt], max_length: int, kept: Path | None
    ) -> None:
        """See ``generate_rung``; paths are absolute, ``kept`` is where finished batches are kept."""
        self._base, self._adapter, self._kept = base, adapter, kept
        self._prompts, self._max_length = prompts, max_length
        self._worker = WorkerCheck(base, *([adapter] if adapter else []))

    @cached_property
    def _loaded(self) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
        self._worker.check()
        return load(self._base, self._adapter)

    def part(self, number: int, parts: int) -> GeneratedPart:
        """Return the answers to every ``parts``-th batch from ``number`` on."""
        model, tokenizer = self._loaded
        kept = KeptBatches(self._kept, f"{number}_{parts}")
        return generate(model, tokenizer, self._prompts, self._max_length, number, parts, kept)


def generate(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[Prompt],
    max_length: int,
    number: int = 0,
    parts: int = 1,
    kept: KeptBatches | None = None,
) -> GeneratedPart:
    """Return the texts that a model generates for prompts, or for one part of them.

    Args:
        model: Any causal language model of transformers, with or without an adapter; it decodes greedily from then on.
        tokenizer: The model's tokenizer.
        prompts: The prompts, at least one, in any order.
        max_length: The most tokens of a prompt with its answer, limited by the model's context; longer prompts lose
            their oldest history.
        number: The index of the part, from 0.
        parts: The number of parts; a part is every ``parts``-th batch.
        kept: The batches that are done, to which the others are added.

    Raises:
        DataError: If the tokenizer does not separate the options from the prompt and from each other.
    """
    import torch
    from transformers import GenerationConfig

    room = within_context(model, max_length)
    most = MOST_TOKENS
    if prompts[0].options:
        options = encode_options(tokenizer, [prompt.options for prompt in prompts], prompts[0].instruction)
        most = max(len(ids) for row in options for ids in row.values()) + MORE_TOKENS
    rows, shortened = encode_prompts(tokenizer, [prompt.instruction for prompt in prompts], room - most)
    batches = length_batches([len(ids) + most for ids in rows])[number::parts]
    filler: Any = tokenizer.pad_token_id
    asked: Any = model.eval()
    # Replaces the model's generation settings, which are the defaults of every call: those of chat models sample, and
    # penalize repeated tokens.
    asked.generation_config = GenerationConfig(
        do_sample=False, max_new_tokens=most, pad_token_id=filler, eos_token_id=_ends(model, tokenizer)
    )
    indices = [index for batch in batches for index in batch]
    texts: list[str] = []
    kept = kept or KeptBatches()
    with (
        torch.inference_mode(),
        float32_logits(model),
        bar("generate", total=len(indices)) as shown,
    ):
        for batch in batches:
            if (answers := kept.get(batch)) is None:
                padded = pad_left([rows[index] for index in batch], filler)
                # Positions follow from the mask, for generated tokens too.
                inputs = {name: padded[name].to(model.device) for name in ("input_ids", "attention_mask")}
                written = asked.generate(**inputs)[:, inputs["input_ids"].shape[1] :]
                answers = tokenizer.batch_decode(written, skip_special_tokens=True)
                kept.put(batch, answers)
            texts += answers
            shown.update(len(batch))
    return GeneratedPart(indices, texts, shortened, room)


def _ends(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Return the tokens that end a text: the tokenizer's, and those that the model's configuration names."""
    config: Any = model.generation_config
    own = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    return [number for number in dict.fromkeys([tokenizer.eos_token_id, *own]) if number is not None]


def generate_part(number: int, generator: PromptGenerator, parts: int) -> GeneratedPart:
    """Return the answers of one part; runs on a worker."""
    return generator.part(number, parts)


def generate_rung(
    base: Path,
    adapter: Path | None,
    prompts: Sequence[Prompt],
    max_length: int,
    pool: Workers,
    out: Path | None = None,
) -> tuple[list[str], int, int]:
    """Return the text that a rung generates for each prompt; the weights are loaded by the workers.

    Args:
        base: A folder written by ``stages.base``.
        adapter: A folder written by ``stages.train``; None for the untouched model.
        prompts: The prompts, at least one.
        max_length: See ``generate``.
        pool: The workers.
        out: As for ``score_rung``.

    Returns:
        The answers, in the order of the prompts; the number of prompts that were shortened; and the most tokens of a
        prompt with its answer.

    Raises:
        DataError: As for ``load`` and ``generate``; or if a worker does not see the folders, or has other versions of
            the libraries.
    """
    need = need_of(base)
    base, adapter = base.resolve(), adapter and adapter.resolve()
    kept = answers_run(out, base, adapter, [prompts, max_length]) if out and not need.small else None
    generator = PromptGenerator(base, adapter, prompts, max_length, kept)
    parts = min(pool.parts(need), len(prompts))
    texts = [""] * len(prompts)
    shortened = room = 0
    with bar("generate", total=len(texts), hidden=parts == 1) as shown:
        for _, part in pool.as_done(generate_part, range(parts), generator, parts, need=need):
            for index, text in zip(part.indices, part.texts, strict=True):
                texts[index] = text
            shortened, room = part.shortened, part.room
            shown.update(len(part.indices))
    return texts, shortened, room


def named_rows(
    items: Sequence[Mapping[str, Any]], prompts: Sequence[Prompt], texts: Sequence[str], seed: int = 0
) -> list[dict[str, Any]]:
    """Return rows of ``predictions``, in the order of the items, without probabilities; unknown if no option is named.

    Args:
        items: Questions.
        prompts: The prompt of each question.
        texts: The answer to each question.
        seed: The training seed of the model or its adapter.
    """
    rows = []
    for item, prompt, text in zip(items, prompts, texts, strict=True):
        shares = read_name({"message": {"content": text}}, prompt.options).shares
        answer = ANSWERS[shares.index(max(shares))] if shares else "unknown"
        chances = dict.fromkeys(CHANCES)
        rows.append({"item_id": item["item_id"], "seed": seed, **chances, "answer": answer, "parsed": bool(shares)})
    return rows
