"""The hyper-parameters of training, named as transformers and peft name them."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import click

from chatladder.io.options import setting

METHODS = ("lora", "full")
OPTIMIZERS = ("adamw_torch", "paged_adamw_8bit")


# One option with commas and not a repeated one: a rung's own value must replace the default, not add to it.


def _names(value: str) -> tuple[str, ...]:
    return tuple(value.split(","))


def _seeds(value: str) -> tuple[int, ...]:
    numbers = [each.strip() for each in value.split(",")]
    if not all(each.isascii() and each.isdecimal() for each in numbers) or len({*map(int, numbers)}) < len(numbers):
        raise click.BadParameter(f"expected different whole numbers from 0 with commas between them, got {value!a}.")
    return tuple(map(int, numbers))


@dataclass(frozen=True)
class TrainSettings:
    """Hyper-parameters, from ``${train}`` of params.yaml and a rung's own ``train``."""

    learning_rate: float = setting("Peak learning rate.", above=0, most=1)
    num_train_epochs: int = setting("Number of epochs.", least=1)
    per_device_train_batch_size: int = setting("Maximum rows in one forward pass.", least=1)
    gradient_accumulation_steps: int = setting("Batches per optimizer step, over all processes.", least=1)
    warmup_steps: int = setting("Warmup steps of the learning rate.", least=0)
    weight_decay: float = setting("Weight decay.", least=0)
    lora_r: int = setting("Rank of the adapter.", least=1)
    lora_alpha: float = setting("LoRA alpha: the adapter's scale times its rank.", above=0)
    lora_dropout: float = setting("Dropout on the adapter's inputs.", least=0, below=1)
    target_modules: tuple[str, ...] = setting(
        "Layers with adapters: all-linear, or comma-separated names such as q_proj,v_proj.", parse=_names
    )
    max_length: int = setting("Maximum tokens of prompt and answer; the oldest turns are dropped first.", least=64)
    seeds: tuple[int, ...] = setting(
        "Comma-separated seeds of weights, dropout and row order, such as 0,1,2: one adapter each.", parse=_seeds
    )
    method: str = setting("Train an adapter, or all weights.", choices=METHODS, default="lora")
    use_rslora: bool = setting("Scale the adapter by alpha / sqrt(r) (rsLoRA, arXiv 2312.03732).", default=False)
    use_dora: bool = setting("Train magnitudes separately from directions (DoRA, arXiv 2402.09353).", default=False)
    loraplus_lr_ratio: float = setting(
        "Learning-rate ratio of the adapter's second matrices (LoRA+, arXiv 2402.12354); 0 for none.",
        least=0,
        default=0.0,
    )
    optim: str = setting("Optimizer.", choices=OPTIMIZERS, default="adamw_torch")
    deciding_weight: float = setting("Weight of the deciding token in the loss.", above=0, default=1.0)
    early_stopping_patience: int = setting(
        "Epochs without a better validation loss of the deciding token before training stops, with the best epoch's "
        "weights; 0 to train all epochs.",
        least=0,
        default=0,
    )
    gradient_checkpointing: bool = setting("Recompute activations instead of storing them.", default=False)
    tokens_per_forward: int = setting(
        "Maximum tokens in one forward pass; larger batches are split, with the same gradient.", least=64, default=4096
    )

    @property
    def seed(self) -> int:
        """The first seed, which is that of the rung's main adapter and of its folds."""
        return self.seeds[0]

    def of_seed(self, seed: int) -> "TrainSettings":
        """Return the same settings for one seed alone."""
        return replace(self, seeds=(seed,))

    def described(self) -> dict[str, Any]:
        """Return the hyper-parameters of the first seed's adapter, by name."""
        return {"seed" if name == "seeds" else name: value for name, value in asdict(self).items()} | {
            "seed": self.seed
        }
