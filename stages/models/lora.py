"""Fit a LoRA adapter to alpaca rows: cosine schedule, loss on the answer alone, the published hyper-parameters.

The loop is our own because it is short: batches of rows of like length, hardly padded, and logits computed for the
answer alone. Method: arXiv 2405.02817, section 4; LoRA: arXiv 2106.09685.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.cli import DataError
from stages.files import read_json
from stages.models.fitting import (
    Encoded,
    Example,
    answer_losses,
    batches_by_length,
    check_finite,
    collate,
    cosine,
    reproducible,
)
from stages.models.scoring import length_batches, score_batch

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

#: Receives the name of a curve, the step and the value.
Log = Callable[[str, int, float], None]
#: Fields of an alpaca row of ours; ``options`` holds the full text of each answer.
FIELDS = ("item_id", "instruction", "output", "options")
#: Longest gradient of one step; longer ones are scaled down to it.
MAX_GRADIENT = 1.0


@dataclass(frozen=True)
class LoraSettings:
    """Hyper-parameters, named as transformers and peft name them.

    Attributes:
        learning_rate: Of AdamW, at the top of the schedule.
        num_train_epochs: Times that every row is seen.
        per_device_train_batch_size: Rows in one forward pass.
        gradient_accumulation_steps: Forward passes in one step.
        warmup_steps: Steps of rising learning rate.
        weight_decay: Of AdamW.
        lora_r: Rank of the adapter.
        lora_alpha: The adapter is scaled by ``lora_alpha / lora_r``.
        lora_dropout: Share of the adapter's inputs that are dropped in training.
        target_modules: Names of linear layers, or ``all-linear`` alone.
        max_length: Most tokens of a prompt with its answer; longer ones lose their oldest history.
        seed: Of the adapter's weights, the dropout and the order of the batches.
    """

    learning_rate: float
    num_train_epochs: int
    per_device_train_batch_size: int
    gradient_accumulation_steps: int
    warmup_steps: int
    weight_decay: float
    lora_r: int
    lora_alpha: float
    lora_dropout: float
    target_modules: tuple[str, ...]
    max_length: int
    seed: int


def read_alpaca(path: Path) -> list[dict[str, Any]]:
    """Rows that ``stages.to_alpaca`` wrote.

    Raises:
        DataError: If the file is no list of such rows.
    """
    rows = read_json(path)
    if not isinstance(rows, list):
        raise DataError(f"{path}: expected a list of alpaca rows, got {type(rows).__name__}.")
    for number, row in enumerate(rows, start=1):
        missing = [name for name in FIELDS if not isinstance(row, dict) or name not in row]
        if missing:
            raise DataError(f"{path}: row {number}: expected {', '.join(FIELDS)}; missing {', '.join(missing)}.")
        if row["output"] not in row["options"].values():
            raise DataError(f"{path}: row {number}: expected the output to be one of the row's options.")
    return rows


def wrap(model: "PreTrainedModel", settings: LoraSettings, name: str) -> "PeftModel":
    """The model with a fresh adapter on the chosen linear layers.

    Args:
        model: The base; its own weights are frozen.
        settings: Rank, scale, dropout and layers.
        name: What the adapter says that it belongs to, in place of the base's path on this machine.

    Raises:
        DataError: If the model has no layers of these names.
    """
    from peft import LoraConfig, TaskType, get_peft_model

    modules = settings.target_modules
    config = LoraConfig(
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,  # type: ignore[arg-type]
        lora_dropout=settings.lora_dropout,
        target_modules="all-linear" if modules == ("all-linear",) else list(modules),
        task_type=TaskType.CAUSAL_LM,
    )
    reproducible(settings.seed)
    try:
        wrapped: Any = get_peft_model(model, config)
    except ValueError as error:
        raise DataError(f"target_modules: expected names of linear layers of {name}, got: {error}") from error
    resolved = wrapped.peft_config["default"]
    # peft keeps a set, and would save it in an order that changes from run to run.
    resolved.target_modules = sorted(resolved.target_modules)
    resolved.base_model_name_or_path = name
    return wrapped


def fit(model: "PeftModel", filler: int, train: Encoded, validation: Encoded, settings: LoraSettings, log: Log) -> None:
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


def save(model: "PeftModel", folder: Path) -> None:
    """Write the adapter as peft reads it, less the model card: that one holds the base's path."""
    # Embeddings are never trained here; left to itself, peft would ask the hub whether they were.
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
