"""Score the options of each prompt by log-probability, in one forward pass, without generating or parsing text.

An option's score is the sum of the log-probabilities of its tokens after the prompt. The end-of-text token does not
count: no option is a prefix of another, so the text alone decides, and a chat model that would continue with an
explanation is not penalized. Models also favour the first or the last option, so an item is asked with its options in
several orders, and an option's score is the mean over them.

Each worker loads the base from the project's folder. All prompts are batched by length before the batches are
distributed, so the batches do not depend on the number of workers. The scores are identical to those of a single
machine, byte for byte, if the workers have the same kind of processors or GPUs and the same versions of the libraries;
the versions are checked.
"""

import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chatladder.distributed import Need, Workers, check_seen
from chatladder.io.console import DataError, bar
from chatladder.models.batches import (
    IGNORE_INDEX,
    Prefix,
    collate,
    continued,
    on_device,
    shared_length,
    takes_blocks,
)
from chatladder.models.devices import LIBRARIES, need_of_model
from chatladder.models.encoding import Example, encode_options, encode_orders
from chatladder.models.kept import KeptBatches, answers_run
from chatladder.models.loading import load, read_rung, within_context
from chatladder.models.prompts import Prompt, orders_of
from chatladder.vocabulary import ANSWERS, CHANCES, likeliest

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


#: The most tokens in one forward pass: prompts, their options, and padding.
TOKENS_A_BATCH = 4096
#: Rows of the output layer that are converted to float32 at once.
VOCABULARY_SLICE = 16384


class Order(NamedTuple):
    """The options in one order, in tokens.

    Attributes:
        end: The last tokens of the prompt; at least one.
        options: The token ids of each option, in the order of ``ANSWERS``.
    """

    end: list[int]
    options: list[list[int]]


class Row(NamedTuple):
    """One item as a row of a batch: the shared prefix of its prompts, then its orders, which do not see each other.

    Attributes:
        shared: The first tokens, which all of the item's prompts share.
        orders: The orders, at least one; the same number in every row of a batch.
    """

    shared: list[int]
    orders: list[Order]

    @property
    def length(self) -> int:
        """The number of input tokens; the last token of an option is only predicted."""
        ends = sum(len(order.end) + sum(len(ids) - 1 for ids in order.options) for order in self.orders)
        return len(self.shared) + ends


class PromptBatches:
    """Prompts for one model to score, in batches that the lengths of all prompts determine.

    So any part of the batches, scored on any machine, gets the same scores as in a run over all of them.

    Attributes:
        batches: The batches, as indices of prompts.
        shortened: The number of prompts that were too long.
        room: The most tokens of a prompt with its answer.
    """

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        prompts: Sequence[Prompt],
        max_length: int,
        orders: int = 1,
    ) -> None:
        """Encode the prompts; see ``score``."""
        self._model, self._filler = model, tokenizer.pad_token_id
        self._prefix: Prefix | None = None
        self.room = within_context(model, max_length)
        asked = [orders_of(prompt, orders) for prompt in prompts]
        options = encode_options(
            tokenizer, [each.options for item in asked for each in item], prompts[0].instruction if prompts else ""
        )
        longest = max((len(ids) for row in options for ids in row.values()), default=0)
        texts = [[each.instruction for each in item] for item in asked]
        encoded, self.shortened = encode_orders(tokenizer, texts, self.room - longest)
        ordered = iter([[row[name] for name in ANSWERS] for row in options])
        self._rows = [Row(item.shared, [Order(end, next(ordered)) for end in item.ends]) for item in encoded]
        if not takes_blocks(model.config):
            self._rows = [Row(row.shared, [order]) for row in self._rows for order in row.orders]
        self._shared = shared_length(model, [row.shared for row in self._rows])
        self.batches = length_batches([row.length - self._shared for row in self._rows])

    def score(self, batches: Sequence[Sequence[int]], kept: KeptBatches | None = None) -> tuple[list[int], np.ndarray]:
        """Score those of some batches that are not kept, and keep them.

        Returns:
            Indices into the prompts with their orders (all orders of the first prompt come first), and their scores,
            shape (n, answers).
        """
        import torch

        kept = kept or KeptBatches()
        self._model.eval()
        each = len(self._rows[0].orders) if self._rows else 1
        indices = [index * each + order for batch in batches for index in batch for order in range(each)]
        scores = [np.zeros((0, len(ANSWERS)))]
        with (
            torch.inference_mode(),
            float32_logits(self._model),
            bar("score", total=len(indices)) as shown,
        ):
            if batches and self._shared and self._prefix is None:
                self._prefix = Prefix(self._model, self._rows[0].shared[: self._shared])
            for batch in batches:
                if (values := kept.get(batch)) is None:
                    rows = [self._rows[index] for index in batch]
                    rows = [row._replace(shared=row.shared[self._shared :]) for row in rows]
                    values = score_rows(self._model, rows, self._filler, self._prefix).reshape(-1, len(ANSWERS))
                    kept.put(batch, values.tolist())
                scores.append(np.array(values))
                shown.update(len(batch) * each)
        return indices, np.concatenate(scores)


def score(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[Prompt],
    max_length: int,
    orders: int = 1,
) -> tuple[np.ndarray, int]:
    """Return the log-probability of each option of each prompt.

    Args:
        model: Any causal language model of transformers, with or without an adapter.
        tokenizer: The model's tokenizer.
        prompts: The prompts, in any order; they are batched by length.
        max_length: The most tokens of a prompt with its answer, limited by the model's context; longer prompts lose
            their oldest history, the same in all orders.
        orders: The number of orders of the options to average over, the prompt's own first.

    Returns:
        The sum over each option's tokens, in nats, averaged over the orders, shape (n, answers), columns as
        ``ANSWERS``; and the number of prompts that were shortened.

    Raises:
        DataError: If the tokenizer does not separate the options from the prompt and from each other, or ``orders`` is
            above 1 and a prompt does not end in its options.
    """
    scoring = PromptBatches(model, tokenizer, prompts, max_length, orders)
    scores = np.zeros((len(prompts) * orders, len(ANSWERS)))
    indices, values = scoring.score(scoring.batches)
    scores[indices] = values
    return over_orders(scores, orders), scoring.shortened


def over_orders(scores: np.ndarray, orders: int) -> np.ndarray:
    """Return the mean over each ``orders`` consecutive rows, shape (n, answers)."""
    means: np.ndarray = scores.reshape(-1, orders, scores.shape[1]).mean(axis=1)
    return means


@contextmanager
def float32_logits(model: "PreTrainedModel") -> Iterator[None]:
    """Make the output layer compute in float32, from the model's rounded hidden states, within the block.

    Logits in bfloat16 have three digits, so options of similar probability would tie. Later operations of the
    architecture on its logits, such as capping, still apply. A layer that is quantized, adapted or not in memory is
    left unchanged.
    """
    import torch
    from torch.nn.functional import linear

    layer = model.get_output_embeddings()

    def widened(layer: "torch.nn.Linear", inputs: "tuple[torch.Tensor, ...]", _: "torch.Tensor") -> "torch.Tensor":
        hidden = inputs[0].to(layer.weight.device, torch.float32)
        logits = hidden.new_empty((*hidden.shape[:-1], layer.out_features))
        # Converting all weights at once would take twice their memory in addition.
        for start in range(0, layer.out_features, VOCABULARY_SLICE):
            some = slice(start, start + VOCABULARY_SLICE)
            bias = None if layer.bias is None else layer.bias[some].float()
            logits[..., some] = linear(hidden, layer.weight[some].float(), bias)
        return logits

    rounded = (torch.bfloat16, torch.float16)
    if type(layer) is not torch.nn.Linear or layer.weight.dtype not in rounded or layer.weight.is_meta:
        yield
        return
    hook = layer.register_forward_hook(widened)
    try:
        yield
    finally:
        hook.remove()


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Return the softmax over the options, shape (n, answers)."""
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
    return shares


def length_batches(lengths: Sequence[int]) -> list[list[int]]:
    """Return batches of indices by descending length, so that a batch too large for memory fails first."""
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
    """Return the scores of one batch in which each prompt has one order; see ``score_rows``.

    Args:
        model: The model, on its device, in evaluation mode.
        prompts: The token ids of n prompts.
        options: The token ids of the options of each prompt.
        filler: The token id for padding.
        prefix: The common prefix, which is then not in ``prompts``; for architectures that support it.

    Returns:
        Sums of log-probabilities in nats, shape (n, answers).
    """
    rows = [Row(ids[:-1], [Order(ids[-1:], list(row))]) for ids, row in zip(prompts, options, strict=True)]
    return score_rows(model, rows, filler, prefix)[:, 0]


def score_rows(model: "PreTrainedModel", rows: Sequence[Row], filler: int, prefix: Prefix | None = None) -> np.ndarray:
    """Return the scores of one batch: in one pass if the architecture allows, else in one pass for each option.

    Args:
        model: The model, on its device, in evaluation mode.
        rows: The rows; with one order each for architectures that do not support blocks.
        filler: The token id for padding.
        prefix: The common prefix, which is then not in ``rows``; for architectures that support it.

    Returns:
        Sums of log-probabilities in nats, shape (n, orders, answers).
    """
    one_token = all(len(ids) == 1 for row in rows for order in row.orders for ids in order.options)
    if one_token or takes_blocks(model.config):
        return _one_pass(model, rows, filler, prefix)
    return _separate_passes(model, rows, filler)


def _separate_passes(model: "PreTrainedModel", rows: Sequence[Row], filler: int) -> np.ndarray:
    columns = []
    for column in range(len(ANSWERS)):
        examples = [Example(row.shared + row.orders[0].end, row.orders[0].options[column], 0) for row in rows]
        batch = collate(examples, filler)
        logits = model(**on_device(batch.inputs, model.device), logits_to_keep=batch.labels.shape[1]).logits
        labels = batch.labels.to(logits.device)
        chosen = logits.float().log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
        columns.append(chosen.masked_fill(labels == IGNORE_INDEX, 0).cpu().double().sum(1).numpy())
    return np.stack(columns, axis=1)[:, None]


def _one_pass(model: "PreTrainedModel", rows: Sequence[Row], filler: int, prefix: Prefix | None) -> np.ndarray:
    """Score each row in one pass, computing logits only at positions that predict an option's token."""
    import torch

    inputs, columns = _as_tree(rows, filler, model.dtype)
    following = continued(inputs, prefix) if prefix else inputs
    kept = sorted({place for order in columns for option in order for place in option})
    at = {place: number for number, place in enumerate(kept)}
    is_end = kept[0] + len(kept) == inputs["input_ids"].shape[1]
    logits_to_keep = len(kept) if is_end else torch.tensor(kept)
    logits = model(**on_device(following, model.device), logits_to_keep=logits_to_keep).logits
    scores = torch.zeros(len(rows), len(columns) * len(ANSWERS), dtype=torch.float64)
    for number, row in enumerate(rows):
        options = [ids for order in row.orders for ids in order.options]
        places = [option for order in columns for option in order]
        # Columns beyond this row's option belong to a longer option in another row.
        chosen = [
            (at[place], token)
            for ids, own in zip(options, places, strict=True)
            for place, token in zip(own, ids, strict=False)
        ]
        slots = [slot for slot, ids in enumerate(options) for _ in ids]
        # Row by row: the log-softmax of all rows at once would take as much memory as the logits.
        values = logits[number].float().log_softmax(-1)[torch.tensor(chosen, device=logits.device).unbind(1)]
        scores[number].index_add_(0, torch.tensor(slots), values.cpu().double())
    return scores.reshape(len(rows), len(columns), len(ANSWERS)).numpy()


def _as_tree(
    rows: Sequence[Row], filler: int, dtype: "torch.dtype"
) -> "tuple[dict[str, torch.Tensor], list[list[list[int]]]]":
    """Lay rows out as trees: the shared part, then for each order its end and all its options.

    An end attends to the shared part; an option attends to the shared part and its order's end, not to the other
    options. The last token of an option is only predicted, so options of one token add nothing to the row.

    Returns:
        Inputs of shape (n, length) with a mask of shape (n, 1, length, length), or (n, length) if nothing branches;
        and for each order and option the columns that predict the option's tokens.
    """
    import torch

    blocks = [_Block([row.shared for row in rows], [0] * len(rows), [], on_left=True)]
    columns: list[list[list[int]]] = []
    for order in range(len(rows[0].orders)):
        asked = [row.orders[order] for row in rows]
        end = _Block([each.end for each in asked], [len(row.shared) for row in rows], [0], on_left=True)
        through = [before + len(each.end) for before, each in zip(end.before, asked, strict=True)]
        sees = [0, len(blocks)]
        blocks.append(end)
        last = sum(block.width for block in blocks) - 1
        columns.append([])
        for option in range(len(ANSWERS)):
            block = _Block([each.options[option][:-1] for each in asked], through, sees, on_left=False)
            start = sum(other.width for other in blocks)
            columns[-1].append([last, *range(start, start + block.width)])
            blocks.append(block)
    tokens, positions, real = zip(*(block.padded(filler) for block in blocks), strict=True)
    input_ids, attention = torch.tensor(np.hstack(tokens)), torch.tensor(np.hstack(real))
    inputs = {"input_ids": input_ids, "position_ids": torch.tensor(np.hstack(positions))}
    if len(columns) == 1 and not any(block.width for block in blocks[2:]):
        return inputs | {"attention_mask": attention.long()}, columns
    of = torch.tensor(np.repeat(np.arange(len(blocks)), [block.width for block in blocks]))
    sight = torch.eye(len(blocks), dtype=torch.bool)
    for number, block in enumerate(blocks):
        sight[number, block.sees] = True
    allowed = sight[of][:, of].tril()
    # A padding position with an empty mask would divide by zero.
    mask = (allowed & attention[:, None]) | torch.eye(len(of), dtype=torch.bool)
    additive = torch.zeros(mask.shape, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min)
    return inputs | {"attention_mask": additive[:, None]}, columns


class _Block(NamedTuple):
    """Consecutive columns of a batch.

    Attributes:
        pieces: The token ids of each row.
        before: The number of tokens before each row's piece.
        sees: The indices of the other blocks that it attends to.
        on_left: True to pad on the left, so that the last tokens share a column.
    """

    pieces: list[list[int]]
    before: list[int]
    sees: list[int]
    on_left: bool

    @property
    def width(self) -> int:
        return max(map(len, self.pieces))

    def padded(self, filler: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return token ids, their positions in the prompt, and a mask without padding; each of shape (n, width)."""
        shape = (len(self.pieces), self.width)
        ids, positions, real = np.full(shape, filler), np.zeros(shape, np.int64), np.zeros(shape, np.bool_)
        for row, (piece, before) in enumerate(zip(self.pieces, self.before, strict=True)):
            start = self.width - len(piece) if self.on_left else 0
            place = (row, slice(start, start + len(piece)))
            ids[place], real[place] = piece, True
            positions[place] = range(before, before + len(piece))
        return ids, positions, real


def need_of(base: Path) -> Need:
    """Return the resources that a call needs to load a rung.

    Raises:
        DataError: If the folder is not a base folder.
    """
    rung = read_rung(base)
    return need_of_model(rung.get("params"), embedded=rung["source"] == "embedded")


class WorkerCheck:
    """The files and the versions of libraries that a worker must share with the driver.

    Args:
        paths: Absolute paths on storage that all nodes share.
    """

    def __init__(self, *paths: Path) -> None:
        self._paths = paths
        self._releases = _releases()

    def check(self) -> None:
        """Refuse to work on a machine that lacks one of them.

        Raises:
            DataError: If a file is missing, or a library has another version.
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
    """Return the versions of the numerical libraries without the build's device, such as +cpu or +cu130."""
    return {name: version(name).partition("+")[0] for name in LIBRARIES}


class ScoredPart(NamedTuple):
    """The scores of some prompts.

    Attributes:
        indices: Indices into the prompts with their orders, all orders of the first prompt first.
        scores: The scores, shape (indices, answers).
        shortened: The number of prompts that were too long, over all parts.
        room: The most tokens of a prompt with its answer.
    """

    indices: list[int]
    scores: np.ndarray
    shortened: int
    room: int


class PromptScorer:
    """A rung and its prompts. A worker loads the model for its first part, and keeps it for the others."""

    def __init__(
        self,
        base: Path,
        adapter: Path | None,
        prompts: Sequence[Prompt],
        max_length: int,
        orders: int = 1,
        kept: Path | None = None,
    ) -> None:
        """See ``score_rung``; paths are absolute, ``kept`` is where finished batches are kept."""
        self._base, self._adapter, self._kept = base, adapter, kept
        self._prompts, self._max_length, self._orders = prompts, max_length, orders
        self._worker = WorkerCheck(base, *([adapter] if adapter else []))

    @cached_property
    def _scoring(self) -> PromptBatches:
        self._worker.check()
        return PromptBatches(*load(self._base, self._adapter), self._prompts, self._max_length, self._orders)

    def part(self, number: int, parts: int) -> ScoredPart:
        """Return the scores of every ``parts``-th batch from ``number`` on; as lengths descend, parts are similar."""
        scoring = self._scoring
        kept = KeptBatches(self._kept, f"{number}_{parts}")
        return ScoredPart(*scoring.score(scoring.batches[number::parts], kept), scoring.shortened, scoring.room)


def score_part(number: int, scorer: PromptScorer, parts: int) -> ScoredPart:
    """Return the scores of one part; runs on a worker."""
    return scorer.part(number, parts)


def score_rung(
    base: Path,
    adapter: Path | None,
    prompts: Sequence[Prompt],
    max_length: int,
    pool: Workers,
    orders: int = 1,
    out: Path | None = None,
) -> tuple[np.ndarray, int, int]:
    """Return the log-probability of each option of each prompt; the weights are loaded by the workers.

    Args:
        base: A folder written by ``stages.base``.
        adapter: A folder written by ``stages.train``; None for the untouched model.
        prompts: The prompts, at least one.
        max_length: See ``score``.
        pool: The workers.
        orders: See ``score``.
        out: The file that the answers become, with those of other runs: finished batches of a model that is not small
            are kept for it, until ``clear_answers``.

    Returns:
        The scores as ``score`` returns them, shape (n, answers); the number of prompts that were shortened; and the
        most tokens of a prompt with its answer.

    Raises:
        DataError: As for ``load`` and ``score``; or if a worker does not see the folders, or has other versions of the
            libraries.
    """
    need = need_of(base)
    base, adapter = base.resolve(), adapter and adapter.resolve()
    kept = answers_run(out, base, adapter, [prompts, max_length, orders]) if out and not need.small else None
    scorer = PromptScorer(base, adapter, prompts, max_length, orders, kept)
    parts = min(pool.parts(need), len(prompts))
    scores = np.zeros((len(prompts) * orders, len(ANSWERS)))
    shortened = room = 0
    # A single part shows its own bar.
    with bar("score", total=len(scores), hidden=parts == 1) as shown:
        for _, part in pool.as_done(score_part, range(parts), scorer, parts, need=need):
            scores[part.indices] = part.scores
            shortened, room = part.shortened, part.room
            shown.update(len(part.indices))
    return over_orders(scores, orders), shortened, room


def prediction_rows(items: Sequence[Mapping[str, Any]], scores: np.ndarray, seed: int = 0) -> list[dict[str, Any]]:
    """Return rows of ``predictions``, in the order of the items.

    Args:
        items: Questions.
        scores: The log-probability of each answer, shape (n, answers), columns as ``ANSWERS``.
        seed: The training seed of the model or its adapter.
    """
    return [
        {
            "item_id": item["item_id"],
            "seed": seed,
            **{name: float(share) for name, share in zip(CHANCES, row, strict=True)},
            "answer": likeliest(row.tolist()),
            # Options are scored, so there is no generated text that could fail to parse.
            "parsed": True,
        }
        for item, row in zip(items, probabilities(scores), strict=True)
    ]
