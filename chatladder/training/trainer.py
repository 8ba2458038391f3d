"""Fit a model to alpaca rows: cosine schedule, loss on the answer alone, the published hyper-parameters.

The loop is our own because it is short and saves work: batches hold rows of similar length, with little padding; the
prefix that all rows share is processed once a step; logits are computed for the answer alone; and a batch is split to
fit ``tokens_per_forward`` with the same gradient. Method: arXiv 2405.02817, section 4.
"""

from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from chatladder.io.console import DataError, bar
from chatladder.models.batches import (
    IGNORE_INDEX,
    Losses,
    Prefix,
    answer_losses,
    batches_by_length,
    check_finite,
    collate,
    continued,
    cosine,
    reproducible,
    shared_length,
)
from chatladder.models.encoding import Encoded, Example
from chatladder.models.scoring import length_batches, score_batch
from chatladder.training.checkpoints import Checkpoints, TrainingProgress
from chatladder.training.processes import Processes
from chatladder.training.settings import TrainSettings
from chatladder.vocabulary import SCORED

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


#: Receives the name of a curve, the step and the value.
Log = Callable[[str, int, float], None]
#: Largest gradient norm of one step; larger gradients are scaled down to it.
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
        model: The model with an adapter (see ``adapters.wrap``), or with all weights to be trained.
        filler: Token id for padding.
        train: Rows to train on.
        validation: Rows that are only scored, after each epoch; may be empty.
        settings: The hyper-parameters.
        log: Receives ``train/loss`` and ``train/deciding_loss`` at each step (nats per token), and
            ``validation/loss``, ``validation/deciding_loss`` and ``validation/macro_f1`` at each epoch's last step; for
            rows without options only the two named ``loss``.
        kept: The run's checkpoint, from which it resumes; the caller clears it once the result is written.
        processes: The processes that train together; by default as the launcher set them up.

    Returns:
        The model, wrapped where its weights are sharded over processes.

    Raises:
        DataError: If settings conflict, or the training diverges.
    """
    if settings.early_stopping_patience and not validation.examples:
        raise DataError(
            "early_stopping_patience: expected validation rows to judge by, got none. Raise split.validation, or set "
            "it to 0."
        )
    run = _Run(model, filler, settings, processes or Processes())
    epochs = _epochs(train.examples, settings)
    total = sum(map(len, epochs))
    factor = cosine(total, settings.warmup_steps)
    checkpoints = None if run.processes.sharded else kept
    progress = (checkpoints.read(run.weights, run.optimizer) if checkpoints else None) or TrainingProgress()
    if progress.step and run.processes.index:
        # The checkpoint holds the first process's random state, and no two processes may draw the same numbers.
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


def _epochs(examples: Sequence[Example], settings: TrainSettings) -> list[list[list[Example]]]:
    """Return the rows of every step of every epoch."""
    rows = settings.per_device_train_batch_size * settings.gradient_accumulation_steps
    order = Random(settings.seed)
    return [batches_by_length(examples, rows, order) for _ in range(settings.num_train_epochs)]


def _remaining(epochs: list[list[list[Example]]], done: int, processes: Processes, total: int) -> Any:
    """Yield the number of each remaining step, from 1, its rows, and whether it ends an epoch; with a progress bar."""
    steps = [(rows, at == len(epoch)) for epoch in epochs for at, rows in enumerate(epoch, start=1)]
    with bar("train", total=total, initial=done, hidden=not processes.main) as shown:
        for step, (rows, ends_epoch) in enumerate(steps[done:], start=done + 1):
            yield step, rows, ends_epoch
            shown.update()


def _stops(progress: TrainingProgress, losses: dict[str, float], run: "_Run", settings: TrainSettings) -> bool:
    """Return True if the validation loss has not fallen for too long; if it has fallen, copy the weights.

    The loss is that of the deciding token, or of the whole answer if there are no options.
    """
    now = losses.get("validation/deciding_loss", losses["validation/loss"])
    if progress.best is None or now < progress.best:
        progress.best, progress.waited = now, 0
        progress.kept = {name: weight.detach().cpu().clone() for name, weight in run.weights.items()}
        return False
    progress.waited += 1
    return progress.waited >= settings.early_stopping_patience


def _restore(progress: TrainingProgress, run: "_Run") -> None:
    """Restore the best epoch's weights, if there is a copy."""
    import torch

    with torch.no_grad():
        for name, weight in progress.kept.items():
            run.weights[name].copy_(weight)


class _Run:
    """A model in training, with all that a step needs."""

    def __init__(self, model: "PreTrainedModel", filler: int, settings: TrainSettings, processes: Processes) -> None:
        reproducible(settings.seed + processes.index)
        if settings.gradient_checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        self.settings, self.filler, self.processes = settings, filler, processes
        self.model, self.optimizer = processes.prepare(model, make_optimizer(model, settings))
        #: The model without the wrapper that shards its weights.
        self.bare = processes.accelerator.unwrap_model(self.model) if processes.sharded else self.model
        self.weights = {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}
        for group in self.optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        # Recomputed activations have no cache, and sharded weights no second backward pass.
        self._may_share = not settings.gradient_checkpointing and not processes.sharded

    def step(self, rows: Sequence[Example], factor: float) -> dict[str, float]:
        """Train on one batch at a share of the learning rate; return its losses (nats per token)."""
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
        told = {"train/loss": float(sums[0]) / tokens}
        return told | {"train/deciding_loss": float(sums[1]) / len(rows)} if _has_options(rows) else told

    def _gradients(self, rows: Sequence[Example]) -> "torch.Tensor":
        """Sum the gradients of this process's share of the rows; return the sums of all processes' losses."""
        import torch

        extra = self.settings.deciding_weight - 1 if _has_options(rows) else 0
        weight = sum(len(row.answer) for row in rows) + extra * len(rows)
        mine = rows[self.processes.index :: self.processes.count]
        shared = shared_length(self.model, [row.prompt for row in mine]) if self._may_share else 0
        prefix = Prefix(self.model, mine[0].prompt[:shared], gradients=True) if shared else None
        sums = torch.zeros(2, dtype=torch.float64)
        parts = self._parts(rows, shared)
        for number, part in enumerate(parts, start=1):
            losses = row_losses(self.model, part, self.filler, prefix)
            loss = losses.answer + extra * losses.deciding if extra else losses.answer
            self.processes.backward(loss / weight, last=number == len(parts))
            # Apple's GPUs have no float64.
            sums += torch.stack([losses.answer.detach(), losses.deciding.detach()]).cpu().double()
        if prefix:
            prefix.backward()
        return self.processes.add(sums)

    def _parts(self, rows: Sequence[Example], shared: int) -> list[list[Example]]:
        """Return this process's rows in parts that fit one forward pass; as many parts as the others if sharded."""
        settings, count = self.settings, self.processes.count
        shares = [
            split_rows(rows[index::count], settings.per_device_train_batch_size, settings.tokens_per_forward, shared)
            for index in range(count)
        ]
        parts = shares[self.processes.index]
        if self.processes.sharded and len({len(share) for share in shares}) > 1:
            parts = even_out(parts, max(map(len, shares)), rows[0])
        return parts


def _has_options(rows: Sequence[Example]) -> bool:
    return rows[0].deciding >= 0


def split_rows(rows: Sequence[Example], size: int, tokens: int, shared: int) -> list[list[Example]]:
    """Cut rows into parts of at most ``size`` rows and, with padding, ``tokens`` tokens; a row is never cut.

    Args:
        rows: Rows of similar length, so that little is padded.
        size: The most rows of a part.
        tokens: The most tokens of a part, with the shared prefix counted once.
        shared: The number of tokens in the prefix that the rows share.
    """
    parts: list[list[Example]] = []
    longest = 0
    for row in rows:
        length = len(row.prompt) - shared + len(row.answer) - 1
        fits = parts and len(parts[-1]) < size and shared + max(longest, length) * (len(parts[-1]) + 1) <= tokens
        if fits:
            parts[-1].append(row)
            longest = max(longest, length)
        else:
            parts.append([row])
            longest = length
    return parts


def even_out(parts: Sequence[Sequence[Example]], count: int, any_row: Example) -> list[list[Example]]:
    """Cut parts further until there are ``count``; if there are too few rows, add parts that have no loss."""
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
    """Return the losses of a batch of rows, which may continue a shared prefix."""
    if prefix is None:
        return answer_losses(model, collate(rows, filler))
    batch = collate([row._replace(prompt=row.prompt[prefix.length :]) for row in rows], filler)
    return answer_losses(model, batch._replace(inputs=continued(batch.inputs, prefix)))


def validate(model: "PreTrainedModel", filler: int, rows: Encoded) -> dict[str, float]:
    """Return the losses (nats per token) and macro-F1 on validation rows, as far as they are defined."""
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
            if not rows.options:
                continue
            texts = [rows.options[index] for index in batch]
            prompts = [example.prompt[shared:] for example in examples]
            answers[batch] = score_batch(model, prompts, texts, filler, prefix).argmax(axis=1)
    tokens = sum(len(example.answer) for example in rows.examples)
    told = {"loss": float(sums[0] / tokens)}
    if not rows.options:
        return told
    return told | {
        "deciding_loss": float(sums[1] / len(answers)),
        "macro_f1": macro_f1(np.array(rows.right), answers),
    }


def macro_f1(references: np.ndarray, answers: np.ndarray) -> float:
    """Return the mean F1 of the labels over indices of ``ANSWERS``; "unknown" is wrong for each of them."""
    f1 = []
    for label in range(len(SCORED)):
        right = int(((references == label) & (answers == label)).sum())
        f1.append(2 * right / max(1, int((references == label).sum() + (answers == label).sum())))
    return sum(f1) / len(f1)


#: The number of steps to average over, since single batches are noisy.
STEPS = 10
#: The rise of the loss that counts as divergence, in nats per token: answers are e times less likely than at first.
RISE = 1.0


class Watch:
    """Detects divergence by comparing the loss with that of the first steps.

    Args:
        learning_rate: The learning rate of the run, for the advice.
    """

    def __init__(self, learning_rate: float) -> None:
        self._first: list[float] = []
        self._latest: deque[float] = deque(maxlen=STEPS)
        self.advice = (
            f"try learning_rate {learning_rate / 10:.1e}, a tenth of what it was (for a model of 4B, 2.0e-4 cost "
            "11.5 points of F1 and 2.0e-5 only 3.4: arXiv 2405.02817), or more warmup_steps"
        )

    def see(self, step: int, loss: float) -> None:
        """Record the loss of a step, in nats per token.

        Raises:
            DataError: If it is not finite, or has risen far above that of the first steps.
        """
        check_finite(loss, step, self.advice)
        self._latest.append(loss)
        if len(self._first) < STEPS:
            self._first.append(loss)
            return
        first, latest = sum(self._first) / STEPS, sum(self._latest) / STEPS
        if latest > first + RISE:
            raise DataError(
                f"step {step}: expected a loss near or below that of the first {STEPS} steps, {first:.2f} nats a "
                f"token, got {latest:.2f} on average over the last {STEPS}. The training diverged: {self.advice}."
            )


def make_optimizer(model: "PreTrainedModel", settings: TrainSettings) -> "torch.optim.Optimizer":
    """Return AdamW for the model's trainable weights, with LoRA+'s two learning rates if the settings say so.

    Raises:
        DataError: If its library is not installed, or LoRA+ is requested without LoRA.
    """
    kind = _adamw(settings.optim)
    rate, decay, ratio = settings.learning_rate, settings.weight_decay, settings.loraplus_lr_ratio
    if not ratio:
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        optimizer: torch.optim.Optimizer = kind(weights, lr=rate, weight_decay=decay)
        return optimizer
    if settings.method != "lora":
        raise DataError("loraplus_lr_ratio: expected 0 with method: full, which has no adapter; set it to 0.")
    from peft.optimizers import create_loraplus_optimizer

    adapted: Any = model
    return create_loraplus_optimizer(adapted, kind, lr=rate, loraplus_lr_ratio=ratio, loraplus_weight_decay=decay)


def _adamw(name: str) -> Any:
    """Return the class of an optimizer; the published scripts of arXiv 2405.02817 train with the 8-bit one."""
    if name == "adamw_torch":
        from torch.optim import AdamW

        return AdamW
    try:
        from bitsandbytes.optim import PagedAdamW8bit
    except ImportError:
        raise DataError(
            f"optim: {name} needs the package bitsandbytes and a GPU that it knows. Install it "
            "(pip install bitsandbytes), or set optim: adamw_torch; an adapter's own states are small."
        ) from None
    return PagedAdamW8bit
