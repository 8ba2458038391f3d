"""Fit a model to alpaca rows: cosine schedule, loss on the answer alone, the published hyper-parameters.

The loop is our own because it is short: batches of rows of like length, hardly padded, and logits computed for the
answer alone. Method: arXiv 2405.02817, section 4.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from stages.models.encoding import Encoded, Example
from stages.models.fitting import (
    answer_losses,
    batches_by_length,
    check_finite,
    collate,
    cosine,
    reproducible,
)
from stages.models.scoring import length_batches, score_batch
from stages.models.settings import TrainSettings

if TYPE_CHECKING:
    from peft import PeftModel

#: Receives the name of a curve, the step and the value.
Log = Callable[[str, int, float], None]
#: Longest gradient of one step; longer ones are scaled down to it.
MAX_GRADIENT = 1.0


def fit(
    model: "PeftModel", filler: int, train: Encoded, validation: Encoded, settings: TrainSettings, log: Log
) -> None:
    """Train the adapter in place.

    Args:
        model: From ``wrap``.
        filler: Token id for padding.
        train: Rows that are learned.
        validation: Rows that are only scored, after each epoch; may be empty.
        settings: Everything else.
        log: Receives ``train/loss`` and ``train/deciding_loss`` at each step (nats a token), and
            ``validation/loss``, ``validation/deciding_loss`` and ``validation/macro_f1`` at each epoch's last step.

    Raises:
        DataError: If the loss stops being finite.
    """
    import torch
    from tqdm import tqdm

    reproducible(settings.seed)
    order = Random(settings.seed)
    parts = settings.gradient_accumulation_steps
    batches = [
        list(batches_by_length(train.examples, settings.per_device_train_batch_size, order))
        for _ in range(settings.num_train_epochs)
    ]
    total = sum(-(-len(epoch) // parts) for epoch in batches)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, cosine(total, settings.warmup_steps))
    step = 0
    with tqdm(total=total, desc="train", disable=None) as bar:
        for epoch in batches:
            model.train()
            for start in range(0, len(epoch), parts):
                step += 1
                losses = _backward(model, epoch[start : start + parts], filler)
                log("train/loss", step, check_finite(losses[0], step))
                log("train/deciding_loss", step, losses[1])
                torch.nn.utils.clip_grad_norm_(weights, MAX_GRADIENT)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                bar.update()
            for name, value in validate(model, filler, validation).items():
                log(f"validation/{name}", step, value)


def _backward(model: "PeftModel", batches: Sequence[list[Example]], filler: int) -> tuple[float, float]:
    """Add up the gradients of one step, and give the mean loss and the mean loss of the deciding token."""
    mean = mean_deciding = 0.0
    for batch in batches:
        loss, deciding = answer_losses(model, collate(batch, filler))  # type: ignore[arg-type]
        (loss / len(batches)).backward()
        mean += loss.item() / len(batches)
        mean_deciding += deciding.item() / len(batches)
    return mean, mean_deciding


def validate(model: "PeftModel", filler: int, rows: Encoded) -> dict[str, float]:
    """Losses and macro-F1 on rows that are not learned; nothing where there are none."""
    import torch

    if not rows.examples:
        return {}
    model.eval()
    sums = np.zeros(2)
    answers = np.zeros(len(rows.examples), dtype=np.int64)
    with torch.inference_mode():
        for batch in length_batches([len(example.prompt) for example in rows.examples]):
            examples = [rows.examples[index] for index in batch]
            losses = answer_losses(model, collate(examples, filler))  # type: ignore[arg-type]
            sums += np.array([loss.item() for loss in losses]) * len(batch)
            texts = [rows.options[index] for index in batch]
            prompts = [example.prompt for example in examples]
            answers[batch] = score_batch(model, prompts, texts, filler).argmax(axis=1)  # type: ignore[arg-type]
    loss, deciding = sums / len(answers)
    return {
        "loss": float(loss),
        "deciding_loss": float(deciding),
        "macro_f1": macro_f1(np.array(rows.right), answers),
    }


def macro_f1(references: np.ndarray, answers: np.ndarray) -> float:
    """Mean F1 of "needed" and "not needed"; any other answer is wrong for both. Indices of ``ANSWERS``."""
    f1 = []
    for label in (0, 1):
        right = int(((references == label) & (answers == label)).sum())
        f1.append(2 * right / max(1, int((references == label).sum() + (answers == label).sum())))
    return sum(f1) / 2
