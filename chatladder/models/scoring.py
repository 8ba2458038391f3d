"""Score the options of each prompt by log-probability: one forward pass, nothing generated, nothing parsed.

An option's score is the sum of the log-probabilities of its tokens after the prompt. The end-of-text token is not
counted: no option begins another, so the text alone decides, and a chat model that would go on to explain its answer
is not marked down for it. A model also likes what stands first, or last: so an item is asked with its options in
several orders, and an option's score is the mean over them.

Workers each load the base for themselves from the project's folder. Prompts are batched by length over all of them
before they are shared out, so no batch and no byte depends on how many workers there are. What comes back is the bytes
of one machine alone if the workers' processors or GPUs are of its kind, and their releases of the libraries are the
same; those are checked.
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
from chatladder.models.loading import load, read_rung, within_context
from chatladder.models.prompts import Prompt, orders_of
from chatladder.vocabulary import ANSWERS, CHANCES, likeliest

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


#: Tokens in one forward pass: prompts, their options, and the padding of a batch.
TOKENS_A_BATCH = 4096
#: Rows of the output layer that are turned into float32 at once.
VOCABULARY_SLICE = 16384


class Order(NamedTuple):
    """The options in one order, in tokens.

    Attributes:
        end: Last tokens of the prompt; at least one.
        options: Token ids of each option, as ``ANSWERS``.
    """

    end: list[int]
    options: list[list[int]]


class Row(NamedTuple):
    """What is read of one item in one row: what its prompts share, then each of its orders, blind to the others.

    Attributes:
        shared: First tokens of all the prompts.
        orders: At least one; as many in every row of a batch.
    """

    shared: list[int]
    orders: list[Order]

    @property
    def length(self) -> int:
        """The number of tokens that are read; the last one of an option is only predicted."""
        ends = sum(len(order.end) + sum(len(ids) - 1 for ids in order.options) for order in self.orders)
        return len(self.shared) + ends


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

    def score(self, batches: Sequence[Sequence[int]]) -> tuple[list[int], np.ndarray]:
        """Score some batches.

        Returns:
            Indices of the prompts in their orders (all orders of the first prompt come first), and their scores, shape
            (n, answers).
        """
        import torch

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
                rows = [self._rows[index] for index in batch]
                rows = [row._replace(shared=row.shared[self._shared :]) for row in rows]
                scores.append(score_rows(self._model, rows, self._filler, self._prefix).reshape(-1, len(ANSWERS)))
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
        prompts: In any order; they are batched by length.
        max_length: Most tokens of a prompt with its answer, or the model's context where that is less; longer ones
            lose their oldest history, the same in all orders.
        orders: How many orders of the options to average over, the prompt's own first.

    Returns:
        Sums over an option's tokens, in nats, as the mean over the orders; shape (n, answers), columns as ``ANSWERS``.
        And the number of prompts that were shortened.

    Raises:
        DataError: If the tokenizer does not keep the options apart from the prompt and from each other, or a prompt
            that does not end in its options is wanted in several orders.
    """
    scoring = PromptBatches(model, tokenizer, prompts, max_length, orders)
    scores = np.zeros((len(prompts) * orders, len(ANSWERS)))
    indices, values = scoring.score(scoring.batches)
    scores[indices] = values
    return over_orders(scores, orders), scoring.shortened


def over_orders(scores: np.ndarray, orders: int) -> np.ndarray:
    """The mean over so many neighbouring rows, shape (n, answers)."""
    means: np.ndarray = scores.reshape(-1, orders, scores.shape[1]).mean(axis=1)
    return means


@contextmanager
def float32_logits(model: "PreTrainedModel") -> Iterator[None]:
    """While it lasts, the output layer computes in float32 what it makes of the model's rounded hidden states.

    Logits in bfloat16 have three digits: options of like probability would tie. Whatever the architecture does to its
    logits afterwards, such as capping them, follows as ever. A layer that is quantized, adapted or not in memory stays
    as it is.
    """
    import torch
    from torch.nn.functional import linear

    layer = model.get_output_embeddings()

    def widened(layer: "torch.nn.Linear", inputs: "tuple[torch.Tensor, ...]", _: "torch.Tensor") -> "torch.Tensor":
        hidden = inputs[0].to(layer.weight.device, torch.float32)
        logits = hidden.new_empty((*hidden.shape[:-1], layer.out_features))
        # All weights at once would take twice their memory again.
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
    """Softmax over the options, shape (n, answers)."""
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
    """Scores of one batch in which each prompt has one order; see ``score_rows``.

    Args:
        model: On its device, in evaluation mode.
        prompts: Token ids, n rows.
        options: Token ids of the options of each row.
        filler: Token id for padding.
        prefix: What all prompts begin with, which is then not in ``prompts``; for architectures that take it.

    Returns:
        Sums of log-probabilities in nats, shape (n, answers).
    """
    rows = [Row(ids[:-1], [Order(ids[-1:], list(row))]) for ids, row in zip(prompts, options, strict=True)]
    return score_rows(model, rows, filler, prefix)[:, 0]


def score_rows(model: "PreTrainedModel", rows: Sequence[Row], filler: int, prefix: Prefix | None = None) -> np.ndarray:
    """Scores of one batch: a row is read once where the architecture allows, else once for each option.

    Args:
        model: On its device, in evaluation mode.
        rows: With one order each, for architectures that do not take blocks.
        filler: Token id for padding.
        prefix: What all rows begin with, which is then not in ``rows``; for architectures that take it.

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
    """Each row is read as one, and the logits are computed where they predict an option's token, no further."""
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
        # The columns of a longer option in another row are left over.
        chosen = [
            (at[place], token)
            for ids, own in zip(options, places, strict=True)
            for place, token in zip(own, ids, strict=False)
        ]
        slots = [slot for slot, ids in enumerate(options) for _ in ids]
        # Row by row: the logarithms of all at once would take the memory of the logits again.
        values = logits[number].float().log_softmax(-1)[torch.tensor(chosen, device=logits.device).unbind(1)]
        scores[number].index_add_(0, torch.tensor(slots), values.cpu().double())
    return scores.reshape(len(rows), len(columns), len(ANSWERS)).numpy()


def _as_tree(
    rows: Sequence[Row], filler: int, dtype: "torch.dtype"
) -> "tuple[dict[str, torch.Tensor], list[list[list[int]]]]":
    """Lay rows out as trees: the shared part, then for each order its end and the options side by side.

    An end sees the shared part, an option sees that and the end before it; neither sees its neighbours. The last token
    of an option is only predicted, so options of one token add nothing to the row.

    Returns:
        Inputs of shape (n, length) with a mask of shape (n, 1, length, length), or (n, length) where nothing branches;
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
    # A row of padding that sees nothing at all would be divided by zero.
    mask = (allowed & attention[:, None]) | torch.eye(len(of), dtype=torch.bool)
    additive = torch.zeros(mask.shape, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min)
    return inputs | {"attention_mask": additive[:, None]}, columns


class _Block(NamedTuple):
    """Neighbouring columns of a batch.

    Attributes:
        pieces: Token ids of each row.
        before: How many tokens each row's piece follows.
        sees: Numbers of the blocks that it sees beside itself.
        on_left: Whether it is padded on the left, so that the last tokens share a column.
    """

    pieces: list[list[int]]
    before: list[int]
    sees: list[int]
    on_left: bool

    @property
    def width(self) -> int:
        return max(map(len, self.pieces))

    def padded(self, filler: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Token ids, their positions in the prompt, and which are no padding; each of shape (n, width)."""
        shape = (len(self.pieces), self.width)
        ids, positions, real = np.full(shape, filler), np.zeros(shape, np.int64), np.zeros(shape, np.bool_)
        for row, (piece, before) in enumerate(zip(self.pieces, self.before, strict=True)):
            start = self.width - len(piece) if self.on_left else 0
            place = (row, slice(start, start + len(piece)))
            ids[place], real[place] = piece, True
            positions[place] = range(before, before + len(piece))
        return ids, positions, real


def need_of(base: Path) -> Need:
    """Return what a call takes that loads a rung.

    Raises:
        DataError: If the folder is not a base folder.
    """
    rung = read_rung(base)
    return need_of_model(rung.get("params"), embedded=rung["source"] == "embedded")


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
        indices: Indices of the prompts in their orders, all orders of the first prompt first.
        scores: Shape (indices, answers).
        shortened: The number of all prompts that were too long.
        room: Most tokens of a prompt with its answer.
    """

    indices: list[int]
    scores: np.ndarray
    shortened: int
    room: int


class PromptScorer:
    """A rung and what it is to score. The model is loaded where the first part is scored, and stays for the others."""

    def __init__(
        self, base: Path, adapter: Path | None, prompts: Sequence[Prompt], max_length: int, orders: int = 1
    ) -> None:
        """See ``score_rung``; paths are absolute."""
        self._base, self._adapter = base, adapter
        self._prompts, self._max_length, self._orders = prompts, max_length, orders
        self._worker = WorkerCheck(base, *([adapter] if adapter else []))

    @cached_property
    def _scoring(self) -> PromptBatches:
        self._worker.check()
        return PromptBatches(*load(self._base, self._adapter), self._prompts, self._max_length, self._orders)

    def part(self, number: int, parts: int) -> ScoredPart:
        """Return the scores of every so many-th batch, from 0: lengths fall, so parts are alike."""
        scoring = self._scoring
        return ScoredPart(*scoring.score(scoring.batches[number::parts]), scoring.shortened, scoring.room)


def score_part(number: int, scorer: PromptScorer, parts: int) -> ScoredPart:
    """On a worker: return the scores of one part."""
    return scorer.part(number, parts)


def score_rung(
    base: Path,
    adapter: Path | None,
    prompts: Sequence[Prompt],
    max_length: int,
    pool: Workers,
    orders: int = 1,
) -> tuple[np.ndarray, int, int]:
    """Return the log-probability of each option of each prompt; the weights are loaded by the workers.

    Args:
        base: A folder written by ``stages.base``.
        adapter: A folder written by ``stages.train``; None for the untouched model.
        prompts: At least one.
        max_length: See ``score``.
        pool: The workers.
        orders: See ``score``.

    Returns:
        Scores as of ``score``, shape (n, answers); how many prompts were shortened, and to how many tokens.

    Raises:
        DataError: As ``load`` and ``score``; or if a worker does not see the folders, or has other libraries.
    """
    need = need_of(base)
    scorer = PromptScorer(base.resolve(), adapter.resolve() if adapter else None, prompts, max_length, orders)
    parts = min(pool.parts(need), len(prompts))
    scores = np.zeros((len(prompts) * orders, len(ANSWERS)))
    shortened = room = 0
    # A single part has a bar of its own.
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
        scores: Log-probability of each answer, shape (n, answers), columns as ``ANSWERS``.
        seed: Of the model's own training.
    """
    return [
        {
            "item_id": item["item_id"],
            "seed": seed,
            **{name: float(share) for name, share in zip(CHANCES, row, strict=True)},
            "answer": likeliest(row.tolist()),
            # Options are scored, not read from generated text: there is nothing to misread.
            "parsed": True,
        }
        for item, row in zip(items, probabilities(scores), strict=True)
    ]
