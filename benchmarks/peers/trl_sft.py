"""The same LoRA training by TRL's SFTTrainer, measured: tokens, seconds, memory and losses, as one line of JSON.

It stands alone, imports nothing of chatladder, and runs under any Python that has trl (1.16 and its like), in an
environment of its own if need be:

    pip install "trl>=1.16,<2" "peft>=0.21.2,<0.22"
    python benchmarks/peers/trl_sft.py --rows rows.jsonl --settings settings.json

Each row is {"prompt": ..., "completion": ...}: both token ids, which are trained on as they are, or both text, which
TRL tokenizes and ends. settings.json holds the fields of ``Settings``; those without a default must be there.

Made equal to ours: rows, model, LoRA (rank, scale, dropout, layers), batch and accumulation, AdamW's rate and decay,
the cosine schedule with its warm-up, the loss on the completion alone, and gradients of at most 1. Everything else is
TRL's default unless the settings say otherwise: batches drawn at random and padded on the right, gradient
checkpointing on, bfloat16 autocast on (also where the weights are float32, and on a CPU), fused AdamW. TRL at its best
takes some of ``gradient_checkpointing: false``, ``bf16: false`` (on CPUs that have no bfloat16),
``train_sampling_strategy: group_by_length``, ``packing: true`` or ``padding_free: true``, and on a GPU
``attn_implementation: flash_attention_2`` and ``use_liger_kernel: true``.

What TRL does that no setting changes, in 1.16: on a GPU it computes logits for the completion alone, on a CPU for all
tokens; it computes the entropy and the accuracy of every step, too.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

PACKAGES = ("trl", "transformers", "peft", "accelerate", "torch", "datasets")
#: Where Linux says how much memory a process takes, and forgets the most that it took when told 5.
STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Settings:
    """The model and the settings of its training, named as in transformers, peft and TRL.

    Attributes:
        model: Folder of the base model and its tokenizer.
        dtype: The type of its weights: float32 or bfloat16.
        max_steps: Steps of the optimizer; rows are seen again if there are too few.
        per_device_train_batch_size: Rows in one forward pass.
        gradient_accumulation_steps: Forward passes in one step.
        learning_rate: At the top of the schedule.
        warmup_steps: Steps of rising learning rate.
        weight_decay: AdamW's decay of the weights.
        lora_r: Rank.
        lora_alpha: Scale, times the rank.
        lora_dropout: Share of inputs dropped.
        target_modules: ``all-linear`` or a list of names.
        seed: The seed of adapter weights, dropout and order.
        max_length: Rows are cut to so many tokens, at their end, and packed into so many; None leaves them whole.
        gradient_checkpointing: Compute activations again in the backward pass.
        bf16: Autocast; None leaves it to TRL, which turns it on.
        train_sampling_strategy: random, sequential or group_by_length.
        packing: Rows put together up to ``max_length``.
        padding_free: The rows of a batch put end to end.
        optim: Name of the optimizer.
        attn_implementation: None leaves it to transformers.
        use_liger_kernel: Liger's kernels of layers (GPU).
    """

    model: str
    dtype: str
    max_steps: int
    per_device_train_batch_size: int
    gradient_accumulation_steps: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    lora_r: int
    lora_alpha: float
    lora_dropout: float
    target_modules: str | list[str]
    seed: int
    max_length: int | None = None
    gradient_checkpointing: bool = True
    bf16: bool | None = None
    train_sampling_strategy: str = "random"
    packing: bool = False
    padding_free: bool = False
    optim: str = "adamw_torch_fused"
    attn_implementation: str | None = None
    use_liger_kernel: bool = False


def read_settings(path: Path) -> Settings:
    """Settings of a JSON file; leaves with a message where a name is not known or one is missing."""
    content = json.loads(path.read_text(encoding="utf-8"))
    names = [each.name for each in fields(Settings)]
    if unknown := sorted(set(content) - set(names)):
        sys.exit(f"{path}: expected settings among {', '.join(names)}, got {', '.join(unknown)}.")
    try:
        return Settings(**content)
    except TypeError as error:
        sys.exit(f"{path}: {error}.")


def read_rows(path: Path):
    """The rows as TRL's data set: with token ids and which of them are learned, or as text."""
    from datasets import Dataset

    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if not rows:
        sys.exit(f"{path}: expected rows, got none.")
    if isinstance(rows[0]["prompt"], str):
        return Dataset.from_list([{key: row[key] for key in ("prompt", "completion")} for row in rows])
    return Dataset.from_list(
        [
            {
                "input_ids": row["prompt"] + row["completion"],
                "completion_mask": [0] * len(row["prompt"]) + [1] * len(row["completion"]),
            }
            for row in rows
        ]
    )


def memory(field: str) -> int:
    """Bytes that the process takes (VmRSS), or took at most (VmHWM)."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def forget_peak() -> bool:
    """Let the most memory count from now on: loading a model may take more than training it."""
    try:
        FORGET.write_text("5")
    except OSError:
        return False
    return True


class Clock:
    """The time from the first step's batch to the end of the last step."""

    def __init__(self) -> None:
        self.tokens = self.padded = self.answer_tokens = 0
        self.losses: list[float] = []
        self.step_seconds: list[float] = []
        self.start = self.end = self.last = 0.0
        self.before = self.loading = 0
        self.apart = False

    @staticmethod
    def now() -> float:
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return perf_counter()

    def begin(self) -> None:
        import torch

        self.before, self.loading = memory("VmRSS"), memory("VmHWM")
        self.apart = forget_peak()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self.start = self.last = self.now()

    def step(self) -> None:
        self.end = self.now()
        self.step_seconds.append(self.end - self.last)
        self.last = self.end

    def count(self, inputs) -> None:
        ids = inputs["input_ids"]
        mask = inputs.get("attention_mask")
        self.padded += ids.numel()
        # Rows that are put end to end have no mask and no padding.
        self.tokens += ids.numel() if mask is None else int(mask.sum())
        self.answer_tokens += int((inputs["labels"] != -100).sum())


def make_trainer(settings: Settings, rows, folder: str, clock: Clock):
    """TRL's trainer of these settings, which tells the clock what it does."""
    import torch
    from peft import LoraConfig
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        PrinterCallback,
        ProgressCallback,
        TrainerCallback,
    )
    from trl import SFTConfig, SFTTrainer

    class Told(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            clock.begin()

        def on_step_end(self, args, state, control, **kwargs):
            clock.step()

        def on_log(self, args, state, control, logs=None, **kwargs):
            if "loss" in (logs or {}):
                clock.losses.append(float(logs["loss"]))

    class Counted(SFTTrainer):
        def training_step(self, model, inputs, *args, **kwargs):
            clock.count(inputs)
            return super().training_step(model, inputs, *args, **kwargs)

    chosen = {} if settings.attn_implementation is None else {"attn_implementation": settings.attn_implementation}
    model = AutoModelForCausalLM.from_pretrained(
        settings.model, dtype=getattr(torch, settings.dtype), use_safetensors=True, **chosen
    )
    tokenizer = AutoTokenizer.from_pretrained(settings.model)
    layers = settings.target_modules
    trainer = Counted(
        model=model,
        processing_class=tokenizer,
        train_dataset=rows,
        callbacks=[Told()],
        peft_config=LoraConfig(
            r=settings.lora_r,
            lora_alpha=settings.lora_alpha,  # type: ignore[arg-type]
            lora_dropout=settings.lora_dropout,
            target_modules=layers if isinstance(layers, str) else list(layers),
            task_type="CAUSAL_LM",
        ),
        args=SFTConfig(
            output_dir=folder,
            max_steps=settings.max_steps,
            per_device_train_batch_size=settings.per_device_train_batch_size,
            gradient_accumulation_steps=settings.gradient_accumulation_steps,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=settings.warmup_steps,
            weight_decay=settings.weight_decay,
            max_grad_norm=1.0,
            seed=settings.seed,
            completion_only_loss=True,
            max_length=settings.max_length,
            gradient_checkpointing=settings.gradient_checkpointing,
            bf16=settings.bf16,
            train_sampling_strategy=settings.train_sampling_strategy,
            packing=settings.packing,
            padding_free=settings.padding_free,
            optim=settings.optim,
            use_liger_kernel=settings.use_liger_kernel,
            logging_steps=1,  # a loss of every step is asked for
            save_strategy="no",
            report_to="none",
            use_cpu=not torch.cuda.is_available(),  # else bf16 is refused where there is no GPU
            disable_tqdm=True,
        ),
    )
    for each in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(each)
    return trainer


def measure(rows_path: Path, settings: Settings) -> dict:
    """Train and give what was measured: sizes in bytes, times in seconds, losses in nats an answer token."""
    import torch

    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(settings, read_rows(rows_path), folder, clock)
        trainer.train()
    peak = memory("VmHWM")
    weights = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    return {
        "tokens": clock.tokens,
        "padded_tokens": clock.padded,
        "answer_tokens": clock.answer_tokens,
        "seconds": clock.end - clock.start,
        "step_seconds": clock.step_seconds,
        "losses": clock.losses,
        "rss_before_bytes": clock.before,
        # Of training alone where Linux lets a process forget its peak, else of the whole process.
        "peak_rss_bytes": peak,
        "peak_is_of_training": clock.apart,
        "peak_rss_process_bytes": max(peak, clock.loading),
        "peak_gpu_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
        "trained_parameters": sum(weight.numel() for weight in weights),
        "trained_dtype": str(weights[0].dtype).removeprefix("torch."),
        "device": str(trainer.args.device),
        "threads": torch.get_num_threads(),
        "settings": asdict(settings) | {"bf16": bool(trainer.args.bf16)},
        "versions": {name: version(name) for name in PACKAGES},
    }


def main() -> None:
    """Print one line of JSON; everything that the libraries print goes to standard error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=Path, required=True, help="JSON lines of prompt and completion.")
    parser.add_argument("--settings", type=Path, required=True, help="JSON of the settings.")
    given = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with contextlib.redirect_stdout(sys.stderr):
        measured = measure(given.rows, read_settings(given.settings))
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
