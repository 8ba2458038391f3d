"""Score the three options of each prompt by log-probability: one forward pass, nothing generated, nothing parsed.

An option's score is the sum of the log-probabilities of its tokens after the prompt. The end-of-text token is not
counted: no option begins another, so the text alone decides, and a chat model that would go on to explain its answer
is not marked down for it.

Workers each load the base for themselves from the project's folder. Prompts are batched by length over all of them
before they are shared out, so no batch and no byte depends on how many workers there are. What comes back is the bytes
of one machine alone if the workers' processors or GPUs are of its kind, and their releases of the libraries are the
same; those are checked.
"""

import platform
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chatladder.distributed import Need, Workers, check_seen
from chatladder.io.console import DataError
from chatladder.models.batches import (
    IGNORE_INDEX,
    Prefix,
    collate,
    continued,
    on_device,
    pad_left,
    shared_length,
    takes_blocks,
)
from chatladder.models.devices import LIBRARIES, prepare_torch
from chatladder.models.encoding import Example, encode_options, encode_prompts
from chatladder.models.loading import load, read_rung, within_context
from chatladder.models.prompts import Prompt
from chatladder.vocabulary import ANSWERS

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


#: Prompt tokens in one forward pass; the padding of a batch is counted in.
TOKENS_A_BATCH = 4096


class PromptBatches:
    """Prompts that one model is to score, in batches fixed by the lengths of all of them.

    So any share of the batches, scored anywhere, gives the numbers that scoring all of them at once gives.

    Attributes:
        batches: Indices of prompts.
        shortened: The number of prompts that were too long.
        room: Most tokens of a prompt with its answer.
    """

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        prompts: Sequence[Prompt],
        max_length: int,
    ) -> None:
        """Encode the prompts; see ``score``."""
        self._model, self._filler = model, tokenizer.pad_token_id
        self._prefix: Prefix | None = None
        self.room = within_context(model, max_length)
        asked = prompts[0].instruction if prompts else ""
        self._options = encode_options(tokenizer, [prompt.options for prompt in prompts], asked)
        longest = max((len(ids) for row in self._options for ids in row.values()), default=0)
        texts = [prompt.instruction for prompt in prompts]
        self._rows, self.shortened = encode_prompts(tokenizer, texts, self.room - longest)
        self._shared = shared_length(model, self._rows)
        self.batches = length_batches([len(ids) - self._shared for ids in self._rows])

    def score(self, batches: Sequence[Sequence[int]]) -> tuple[list[int], np.ndarray]:
        """Return the indices of the prompts of some batches, and their scores, shape (n, 3)."""
        import torch
        from tqdm import tqdm

        self._model.eval()
        indices = [index for batch in batches for index in batch]
        scores = [np.zeros((0, len(ANSWERS)))]
        with torch.inference_mode(), tqdm(total=len(indices), desc="score", disable=None) as bar:
            if batches and self._shared and self._prefix is None:
                self._prefix = Prefix(self._model, self._rows[0][: self._shared])
            for batch in batches:
                options = [[self._options[index][name] for name in ANSWERS] for index in batch]
                prompts = [self._rows[index][self._shared :] for index in batch]
                scores.append(score_batch(self._model, prompts, options, self._filler, self._prefix))
                bar.update(len(batch))
        return indices, np.concatenate(scores)


def score(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompts: Sequence[Prompt], max_length: int
) -> tuple[np.ndarray, int]:
    """Return the log-probability of each option of each prompt.

    Args:
        model: Any causal language model of transformers, with or without an adapter.
        tokenizer: The model's tokenizer.
        prompts: In any order; they are batched by length.
        max_length: Most tokens of a prompt with its answer, or the model's context where that is less; longer ones
            lose their oldest history.

    Returns:
        Sums in nats, shape (n, 3) with columns as ``ANSWERS``, and the number of prompts that were shortened.

    Raises:
        DataError: If the tokenizer does not keep the options apart from the prompt and from each other.
    """
    scoring = PromptBatches(model, tokenizer, prompts, max_length)
    scores = np.zeros((len(prompts), len(ANSWERS)))
    indices, values = scoring.score(scoring.batches)
    scores[indices] = values
    return scores, scoring.shortened


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Softmax over the three options, shape (n, 3)."""
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
    return shares


def length_batches(lengths: Sequence[int]) -> list[list[int]]:
    """Indices by falling length, so that the largest batch comes first and a too large one fails at once."""
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda at: -lengths[at]):
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= TOKENS_A_BATCH:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def score_batch(
    model: "PreTrainedModel",
    prompts: Sequence[list[int]],
    options: Sequence[Sequence[list[int]]],
    filler: int,
    prefix: Prefix | None = None,
) -> np.ndarray:
    """Scores of one batch: the prompt is read once where the architecture allows, else once for each option.

    Args:
        model: On its device, in evaluation mode.
        prompts: Token ids, n rows.
        options: Token ids of the three options of each row.
        filler: Token id for padding.
        prefix: What all prompts begin with, which is then not in ``prompts``; for architectures that take it.

    Returns:
        Sums of log-probabilities in nats, shape (n, 3).
    """
    one_token = all(len(ids) == 1 for row in options for ids in row)
    if one_token or takes_blocks(model.config):
        return _one_pass(model, prompts, options, filler, prefix)
    return _separate_passes(model, prompts, options, filler)


def _separate_passes(
    model: "PreTrainedModel", prompts: Sequence[list[int]], options: Sequence[Sequence[list[int]]], filler: int
) -> np.ndarray:
    columns = []
    for column in zip(*options, strict=True):
        examples = [Example(prompt, ids, 0) for prompt, ids in zip(prompts, column, strict=True)]
        batch = collate(examples, filler)
        logits = model(**on_device(batch.inputs, model.device), logits_to_keep=batch.labels.shape[1]).logits
        labels = batch.labels.to(logits.device)
        chosen = logits.float().log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
        columns.append(chosen.masked_fill(labels == IGNORE_INDEX, 0).double().sum(1).cpu().numpy())
    return np.stack(columns, axis=1)


def _one_pass(
    model: "PreTrainedModel",
    prompts: Sequence[list[int]],
    options: Sequence[Sequence[list[int]]],
    filler: int,
    prefix: Prefix | None,
) -> np.ndarray:
    """Each row is its prompt, then the three options side by side, each blind to the other two.

    The last token of an option is only predicted, so options of one token add nothing to the row.
    """
    import torch

    widths = [max(len(ids) for ids in column) - 1 for column in zip(*options, strict=True)]
    inputs = pad_left(prompts, filler)
    if sum(widths):
        inputs = _with_blocks(inputs, options, widths, filler, model.dtype)
    following = continued(inputs, prefix) if prefix else inputs
    logits = model(**on_device(following, model.device), logits_to_keep=1 + sum(widths)).logits
    log_probabilities = logits.float().log_softmax(-1).cpu()
    scores = torch.zeros(len(prompts), len(widths), dtype=torch.float64)
    start = 1
    for column, width in enumerate(widths):
        for row, texts in enumerate(options):
            ids = torch.tensor(texts[column])
            # The prompt's last position predicts the first token, the block's positions the others.
            places = torch.tensor([0, *range(start, start + len(ids) - 1)])
            scores[row, column] = log_probabilities[row, places, ids].double().sum()
        start += width
    return scores.numpy()


def _with_blocks(
    inputs: "dict[str, torch.Tensor]",
    options: Sequence[Sequence[list[int]]],
    widths: Sequence[int],
    filler: int,
    dtype: "torch.dtype",
) -> "dict[str, torch.Tensor]":
    """Put the options' tokens after the prompts, with a mask of shape (n, 1, length, length) that keeps them apart."""
    import torch

    blocks = [
        [token for ids, width in zip(row, widths, strict=True) for token in (ids[:-1] + [filler] * width)[:width]]
        for row in options
    ]
    input_ids = torch.cat([inputs["input_ids"], torch.tensor(blocks)], dim=1)
    offsets = torch.tensor([offset for width in widths for offset in range(1, width + 1)])
    positions = torch.cat([inputs["position_ids"], inputs["position_ids"][:, -1:] + offsets], dim=1)
    # Group 0 is the prompt, which everything sees; groups 1 to 3 are the options.
    prompt_length = inputs["input_ids"].shape[1]
    groups = torch.tensor([0] * prompt_length + [at for at, width in enumerate(widths, 1) for _ in range(width)])
    allowed = (groups[None, :] == 0) | (groups[None, :] == groups[:, None])
    allowed = allowed & torch.ones_like(allowed).tril()
    real = torch.cat([inputs["attention_mask"].bool(), torch.ones(len(options), sum(widths), dtype=torch.bool)], dim=1)
    mask = allowed[None] & real[:, None, :]
    # A row of padding that sees nothing at all would be divided by zero.
    mask = mask | torch.eye(mask.shape[1], dtype=torch.bool)
    additive = torch.zeros(mask.shape, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min)
    return {"input_ids": input_ids, "attention_mask": additive[:, None], "position_ids": positions}


def need_of(base: Path) -> Need:
    """Return what a call takes that loads a rung; embedded models run on processors everywhere.

    Raises:
        DataError: If the folder is not a base folder.
    """
    prepare_torch()
    import torch

    return Need(threads=torch.get_num_threads(), gpu=read_rung(base)["source"] != "embedded")


class WorkerCheck:
    """The files and the releases of libraries that a worker must have as the machine that hands out work has them.

    Args:
        paths: Absolute, on the storage that all nodes share.
    """

    def __init__(self, *paths: Path) -> None:
        self._paths = paths
        self._releases = _releases()

    def check(self) -> None:
        """Refuse to work on a machine that lacks one of them.

        Raises:
            DataError: If a file is not there, or a library is of another release.
        """
        for path in self._paths:
            check_seen(path)
        for name, release in _releases().items():
            if release != self._releases[name]:
                raise DataError(
                    f"{platform.node()}: expected {name} {self._releases[name]} as where the stage runs, got "
                    f"{release}. Install the same on every node: other releases give other digits."
                )


def _releases() -> dict[str, str]:
    """Releases of what computes, whatever the devices that they were built for: those end in +cpu, +cu130 and so on."""
    return {name: version(name).partition("+")[0] for name in LIBRARIES}


class ScoredPart(NamedTuple):
    """The scores of some prompts.

    Attributes:
        indices: Indices of the prompts.
        scores: Shape (indices, 3).
        shortened: The number of all prompts that were too long.
        room: Most tokens of a prompt with its answer.
    """

    indices: list[int]
    scores: np.ndarray
    shortened: int
    room: int


class PromptScorer:
    """A rung and what it is to score. The model is loaded where the first part is scored, and stays for the others."""

    def __init__(self, base: Path, adapter: Path | None, prompts: Sequence[Prompt], max_length: int) -> None:
        """See ``score_rung``; paths are absolute."""
        self._base, self._adapter = base, adapter
        self._prompts, self._max_length = prompts, max_length
        self._worker = WorkerCheck(base, *([adapter] if adapter else []))

    @cached_property
    def _scoring(self) -> PromptBatches:
        self._worker.check()
        return PromptBatches(*load(self._base, self._adapter), self._prompts, self._max_length)

    def part(self, number: int, parts: int) -> ScoredPart:
        """Return the scores of every so many-th batch, from 0: lengths fall, so parts are alike."""
        scoring = self._scoring
        return ScoredPart(*scoring.score(scoring.batches[number::parts]), scoring.shortened, scoring.room)


def score_part(number: int, scorer: PromptScorer, parts: int) -> ScoredPart:
    """On a worker: return the scores of one part."""
    return scorer.part(number, parts)


def score_rung(
    base: Path, adapter: Path | None, prompts: Sequence[Prompt], max_length: int, pool: Workers
) -> tuple[np.ndarray, int, int]:
    """Return the log-probability of each option of each prompt; the weights are loaded by the workers.

    Args:
        base: A folder written by ``stages.base``.
        adapter: A folder written by ``stages.train``; None for the untouched model.
        prompts: At least one.
        max_length: See ``score``.
        pool: The workers.

    Returns:
        Sums in nats, shape (n, 3) with columns as ``ANSWERS``; how many prompts were shortened, and to how many tokens.

    Raises:
        DataError: As ``load`` and ``score``; or if a worker does not see the folders, or has other libraries.
    """
    from tqdm import tqdm

    need = need_of(base)
    scorer = PromptScorer(base.resolve(), adapter.resolve() if adapter else None, prompts, max_length)
    parts = min(pool.parts(need), len(prompts))
    scores = np.zeros((len(prompts), len(ANSWERS)))
    shortened = room = 0
    # A single part has a bar of its own; other processes have no terminal.
    with tqdm(total=len(prompts), desc="score", disable=None if parts > 1 else True) as bar:
        for _, part in pool.as_done(score_part, range(parts), scorer, parts, need=need):
            scores[part.indices] = part.scores
            shortened, room = part.shortened, part.room
            bar.update(len(part.indices))
    return scores, shortened, room


def prediction_rows(items: Sequence[Mapping[str, Any]], scores: np.ndarray, seed: int = 0) -> list[dict[str, Any]]:
    """Return rows of ``predictions``, in the order of the items.

    Args:
        items: Questions.
        scores: Log-probability of each answer, shape (n, 3), columns as ``ANSWERS``.
        seed: Of the model's own training.
    """
    return [
        {
            "item_id": item["item_id"],
            "seed": seed,
            **{f"p_{name}": float(share) for name, share in zip(ANSWERS, row, strict=True)},
            "answer": ANSWERS[row.argmax()],
            # Options are scored, not read from generated text: there is nothing to misread.
            "parsed": True,
        }
        for item, row in zip(items, probabilities(scores), strict=True)
    ]
