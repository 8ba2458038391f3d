"""Fit a model to alpaca rows: cosine schedule, loss on the answer alone, the published hyper-parameters.

The loop is our own because it is short and because of what it leaves out: batches hold rows of like length, hardly
padded; what all rows begin with is read once a step; logits are computed for the answer alone; and a batch is split to
fit ``tokens_per_forward`` with the same gradient. Method: arXiv 2405.02817, section 4.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from chatladder.io.console import DataError
from chatladder.models.attention import BLOCK_MASK, takes_blocks
from chatladder.models.encoding import Encoded, Example
from chatladder.models.fitting import (
    IGNORE_INDEX,
    Losses,
    answer_losses,
    batches_by_length,
    collate,
    cosine,
    reproducible,
)
from chatladder.models.prefix import Prefix, continued, shared_length
from chatladder.models.scoring import length_batches, score_batch
from chatladder.training.checkpoints import Checkpoints, Progress
from chatladder.training.divergence import Watch
from chatladder.training.optimizers import make_optimizer
from chatladder.training.packing import packed_losses
from chatladder.training.processes import Processes
from chatladder.training.settings import TrainSettings

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

#: Receives the name of a curve, the step and the value.
Log = Callable[[str, int, float], None]
#: Longest gradient of one step; longer ones are scaled down to it.
MAX_GRADIENT = 1.0


def fit(
    model: "PreTrainedModel",
    filler: int,
    train: Encoded,
    validation: Encoded,
    settings: TrainSettings,
    log: Log,
    kept: Checkpoints | None = None,
    processes: Processes | None = None,
) -> "PreTrainedModel":
    """Train the weights that require gradients, in place.

    Args:
        model: With an adapter (see ``adapters.wrap``), or with all weights to be trained.
        filler: Token id for padding.
        train: Rows that are learned.
        validation: Rows that are only scored, after each epoch; may be empty.
        settings: Everything else.
        log: Receives ``train/loss`` and ``train/deciding_loss`` at each step (nats a token), and
            ``validation/loss``, ``validation/deciding_loss`` and ``validation/macro_f1`` at each epoch's last step.
        kept: Where the run's checkpoints are, so that it goes on where it was stopped; whoever has written what was
            learned clears them.
        processes: Those that train together; by default as the launcher set them up.

    Returns:
        The model, wrapped where its weights are spread over processes.

    Raises:
        DataError: If settings cannot go together, or the training diverges.
    """
    _check(model, validation, settings)
    run = _Run(model, filler, settings, processes or Processes())
    epochs = _epochs(train.examples, settings)
    total = sum(map(len, epochs))
    factor = cosine(total, settings.warmup_steps)
    checkpoints = None if run.processes.sharded else kept
    progress = (checkpoints.read(run.weights, run.optimizer) if checkpoints else None) or Progress()
    if progress.step and run.processes.index:
        # The checkpoint holds the first process's random numbers, and no two may draw the same.
        reproducible(settings.seed + run.processes.index + progress.step)
    watch = Watch(settings.learning_rate)
    for name, step, value in progress.logged:
        log(name, step, value)
        if name == "train/loss":
            watch.see(step, value)
    for step, rows, ends_epoch in _remaining(epochs, progress.step, run.processes, total):
        losses = run.step(rows, factor(step - 1))
        watch.see(step, losses["train/loss"])
        if ends_epoch:
            losses |= {f"validation/{name}": value for name, value in validate(run.bare, filler, validation).items()}
        for name, value in losses.items():
            log(name, step, value)
            progress.logged.append((name, step, value))
        progress.step = step
        if ends_epoch and settings.early_stopping_patience and _stops(progress, losses, run, settings):
            break
        if checkpoints and checkpoints.due() and run.processes.main:
            checkpoints.write(progress, run.weights, run.optimizer)
    _restore(progress, run)
    fitted: PreTrainedModel = run.model
    return fitted


def _check(model: "PreTrainedModel", validation: Encoded, settings: TrainSettings) -> None:
    if settings.early_stopping_patience and not validation.examples:
        raise DataError(
            "early_stopping_patience: expected validation rows to judge by, got none. Raise split.validation, or set "
            "it to 0."
        )
    if settings.packing and not takes_blocks(model.config):
        raise DataError(
            f"packing: expected an architecture that takes a mask of ours ({', '.join(BLOCK_MASK)}, by sdpa or eager "
            f"attention), got {model.config.model_type}. Set it to false."
        )


def _epochs(examples: Sequence[Example], settings: TrainSettings) -> list[list[list[Example]]]:
    """The rows of every step of every epoch."""
    rows = settings.per_device_train_batch_size * settings.gradient_accumulation_steps
    order = Random(settings.seed)
    return [list(batches_by_length(examples, rows, order)) for _ in range(settings.num_train_epochs)]


def _remaining(epochs: list[list[list[Example]]], done: int, processes: Processes, total: int) -> Any:
    """Number of each step that is still to be done, from 1, its rows, and whether it ends an epoch; with a bar."""
    from tqdm import tqdm

    steps = [(rows, at == len(epoch)) for epoch in epochs for at, rows in enumerate(epoch, start=1)]
    with tqdm(total=total, initial=done, desc="train", disable=None if processes.main else True) as bar:
        for step, (rows, ends_epoch) in enumerate(steps[done:], start=done + 1):
            yield step, rows, ends_epoch
            bar.update()


def _stops(progress: Progress, losses: dict[str, float], run: "_Run", settings: TrainSettings) -> bool:
    """Whether the validation loss of the deciding token has not fallen for too long; keeps the weights if it has."""
    now = losses["validation/deciding_loss"]
    if progress.best is None or now < progress.best:
        progress.best, progress.waited = now, 0
        progress.kept = {name: weight.detach().cpu().clone() for name, weight in run.weights.items()}
        return False
    progress.waited += 1
    return progress.waited >= settings.early_stopping_patience


def _restore(progress: Progress, run: "_Run") -> None:
    """Go back to the best epoch's weights, where they were kept."""
    import torch

    with torch.no_grad():
        for name, weight in progress.kept.items():
            run.weights[name].copy_(weight)


class _Run:
    """A model in training: what every step needs."""

    def __init__(self, model: "PreTrainedModel", filler: int, settings: TrainSettings, processes: Processes) -> None:
        reproducible(settings.seed + processes.index)
        if settings.gradient_checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        self.settings, self.filler, self.processes = settings, filler, processes
        self.model, self.optimizer = processes.prepare(model, make_optimizer(model, settings))
        #: The model without what spreads its weights.
        self.bare = processes.accelerator.unwrap_model(self.model) if processes.sharded else self.model
        self.weights = {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}
        for group in self.optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        # Recomputed activations have no cache, and spread weights no second backward pass.
        self._may_share = not settings.gradient_checkpointing and not processes.sharded

    def step(self, rows: Sequence[Example], factor: float) -> dict[str, float]:
        """Learn one batch at this share of the learning rate; gives its losses (nats a token)."""
        import torch

        self.model.train()
        # Before the gradients: DeepSpeed takes its step with the last of them.
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        sums = self._gradients(rows)
        self.processes.add_gradients(self.weights.values())
        torch.nn.utils.clip_grad_norm_(self.weights.values(), MAX_GRADIENT)
        self.optimizer.step()
        self.optimizer.zero_grad()
        tokens = sum(len(row.answer) for row in rows)
        return {"train/loss": float(sums[0]) / tokens, "train/deciding_loss": float(sums[1]) / len(rows)}

    def _gradients(self, rows: Sequence[Example]) -> "torch.Tensor":
        """Add up the gradients of this process's share of the rows; gives the sums of all processes' losses."""
        import torch

        extra = self.settings.deciding_weight - 1
        weight = sum(len(row.answer) for row in rows) + extra * len(rows)
        mine = rows[self.processes.index :: self.processes.count]
        may_share = self._may_share or (self.settings.packing and not self.processes.sharded)
        shared = shared_length(self.model, [row.prompt for row in mine]) if may_share else 0
        # A sequence of packed rows holds what they share itself.
        apart = shared if not self.settings.packing else 0
        prefix = Prefix(self.model, mine[0].prompt[:shared], gradients=True) if apart else None
        sums = torch.zeros(2, dtype=torch.float64)
        parts = self._parts(rows, shared)
        for number, part in enumerate(parts, start=1):
            losses = self._losses(part, shared, prefix)
            loss = losses.answer + extra * losses.deciding if extra else losses.answer
            self.processes.backward(loss / weight, last=number == len(parts))
            sums += torch.stack([losses.answer.detach(), losses.deciding.detach()]).double().cpu()
        if prefix:
            prefix.backward()
        return self.processes.add(sums)

    def _parts(self, rows: Sequence[Example], shared: int) -> list[list[Example]]:
        """This process's rows, cut to what one forward pass may hold; as many parts as in the others if spread."""
        settings, count = self.settings, self.processes.count
        shares = [
            split_rows(rows[index::count], settings.per_device_train_batch_size, settings.tokens_per_forward, shared)
            for index in range(count)
        ]
        parts = shares[self.processes.index]
        if self.processes.sharded and len({len(share) for share in shares}) > 1:
            parts = even_out(parts, max(map(len, shares)), rows[0])
        return parts

    def _losses(self, part: Sequence[Example], shared: int, prefix: Prefix | None) -> Losses:
        if self.settings.packing:
            return packed_losses(self.model, part, shared)
        return row_losses(self.model, part, self.filler, prefix)


def split_rows(rows: Sequence[Example], size: int, tokens: int, shared: int) -> list[list[Example]]:
    """Cut rows into parts of at most so many rows and, padded, so many tokens; one row is never cut.

    Args:
        rows: Of like length, so that little is padded.
        size: Most rows.
        tokens: Most tokens, those that the rows share counted once.
        shared: How many first tokens they share.
    """
    parts: list[list[Example]] = []
    longest = 0
    for row in rows:
        own = len(row.prompt) - shared + len(row.answer) - 1
        fits = parts and len(parts[-1]) < size and shared + max(longest, own) * (len(parts[-1]) + 1) <= tokens
        if fits:
            parts[-1].append(row)
            longest = max(longest, own)
        else:
            parts.append([row])
            longest = own
    return parts


def even_out(parts: Sequence[Sequence[Example]], count: int, any_row: Example) -> list[list[Example]]:
    """Cut parts further until there are so many, and add some that teach nothing where there are too few rows."""
    even = [list(part) for part in parts]
    while len(even) < count:
        largest = max(even, key=len, default=[])
        if len(largest) > 1:
            even.remove(largest)
            even += [largest[: len(largest) // 2], largest[len(largest) // 2 :]]
        else:
            even.append([any_row._replace(answer=[IGNORE_INDEX], deciding=0)])
    return even


def row_losses(model: "PreTrainedModel", rows: Sequence[Example], filler: int, prefix: Prefix | None) -> Losses:
    """Losses of rows side by side, which may continue a prefix that they share."""
    if prefix is None:
        return answer_losses(model, collate(rows, filler))
    batch = collate([row._replace(prompt=row.prompt[prefix.length :]) for row in rows], filler)
    return answer_losses(model, batch._replace(inputs=continued(batch.inputs, prefix)))


def validate(model: "PreTrainedModel", filler: int, rows: Encoded) -> dict[str, float]:
    """Losses (nats a token) and macro-F1 on rows that are not learned; nothing where there are none."""
    import torch

    if not rows.examples:
        return {}
    model.eval()
    sums = np.zeros(2)
    answers = np.zeros(len(rows.examples), dtype=np.int64)
    shared = shared_length(model, [example.prompt for example in rows.examples])
    # Not inference_mode: weights that were gathered for it could not be trained on.
    with torch.no_grad():
        prefix = Prefix(model, rows.examples[0].prompt[:shared]) if shared else None
        for batch in length_batches([len(example.prompt) - shared for example in rows.examples]):
            examples = [rows.examples[index] for index in batch]
            losses = row_losses(model, examples, filler, prefix)
            sums += np.array([losses.answer.item(), losses.deciding.item()])
            texts = [rows.options[index] for index in batch]
            prompts = [example.prompt[shared:] for example in examples]
            answers[batch] = score_batch(model, prompts, texts, filler, prefix).argmax(axis=1)
    tokens = sum(len(example.answer) for example in rows.examples)
    return {
        "loss": float(sums[0] / tokens),
        "deciding_loss": float(sums[1] / len(answers)),
        "macro_f1": macro_f1(np.array(rows.right), answers),
    }


def macro_f1(references: np.ndarray, answers: np.ndarray) -> float:
    """Mean F1 of "needed" and "not needed"; any other answer is wrong for both. Indices of ``ANSWERS``."""
    f1 = []
    for label in (0, 1):
        right = int(((references == label) & (answers == label)).sum())
        f1.append(2 * right / max(1, int((references == label).sum() + (answers == label).sum())))
    return sum(f1) / 2
