"""What each rung of params.yaml needs, and whether a machine has it."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from chatladder.cli.doctor.machine import Machine
from chatladder.io.console import DataError
from chatladder.io.files import read_json
from chatladder.models.devices import QUANTIZED
from chatladder.models.folders import check_folder, count_parameters
from chatladder.models.loading import RUNG
from chatladder.models.memory import (
    OTHER_FILES,
    RUNTIME,
    Shape,
    Training,
    guess,
    parameters,
    read_config,
    scoring_bytes,
    training_bytes,
    weight_bytes,
)
from chatladder.presets import COMMIT, known_models
from chatladder.training.settings import TrainSettings

#: Tokens of the embedded family's tokenizer; a base that has been trained says its own.
EMBEDDED_VOCABULARY = 5634
#: Memory of the GPUs that are counted where the machine has none.
USUAL_GPU = 80 * 10**9
#: Tokens of a chat template around an instruction, with room to spare.
TEMPLATE = 64


@dataclass(frozen=True)
class Facts:
    """What is known of a rung's model.

    Attributes:
        source: Where it comes from.
        params: Parameters; None if nothing tells.
        active: Those that one token passes through, of a mixture of experts.
        shape: From its configuration, or guessed from its parameters.
        exact: Whether all of that was read and nothing guessed.
        disk: Bytes to download, or to write for a model that is trained here.
        problem: Why it cannot be run at all.
    """

    source: str
    params: int | None = None
    active: int | None = None
    shape: Shape | None = None
    exact: bool = True
    disk: int = 0
    problem: str | None = None


@dataclass(frozen=True)
class Need:
    """What a rung needs at its settings; sizes in bytes, None where nothing tells.

    Attributes:
        key: Of the rung.
        facts: Of its model.
        scoring: Memory to score questions.
        training: Memory to train its adapter.
        checkpointed: The same with gradient checkpointing.
        gpus: GPUs that together hold the larger of the two, in bfloat16.
        fits: Whether it runs here; None where nothing tells.
        reasons: Why not, and what would help.
    """

    key: str
    facts: Facts
    scoring: int | None = None
    training: int | None = None
    checkpointed: int | None = None
    gpus: int | None = None
    fits: bool | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """What of params.yaml decides needs, beside the rungs.

    Attributes:
        train: Its section of that name.
        length: Tokens of the longest prompt with its answer.
    """

    train: Mapping[str, Any]
    length: int
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=known_models)


def longest_prompt(alpaca: Path, max_length: int) -> int:
    """Tokens of the longest prompt: no more than the characters of the rows at hand, where there are any.

    A token is a character or more, rare signs apart.
    """
    try:
        rows = [row for split in ("train", "validation") for row in read_json(alpaca / f"{split}.json")]
        longest = max(len(row["instruction"]) for row in rows)
    except (DataError, KeyError, TypeError, ValueError):
        return max_length
    return min(max_length, longest + TEMPLATE)


def facts_of(key: str, base: Mapping[str, Any], settings: Settings, bases: Path) -> Facts:
    """What is known of a rung's model without downloading anything."""
    source = str(base.get("source"))
    if source == "embedded":
        return _embedded(key, base, bases)
    if source == "folder":
        return _folder(Path(str(base.get("path"))), own=False)
    if source == "hub":
        return _hub(base, settings.models)
    if source == "package":
        return _package(base, bases / key)
    return Facts(source, exact=False)


def _embedded(key: str, base: Mapping[str, Any], bases: Path) -> Facts:
    vocabulary, exact = EMBEDDED_VOCABULARY, False
    with suppress(DataError, KeyError, TypeError, ValueError):
        vocabulary, exact = int(read_json(bases / key / "config.json")["vocab_size"]), True
    heads = base.get("num_attention_heads")
    config = {**base, "model_type": "qwen2", "vocab_size": vocabulary, "tie_word_embeddings": True}
    shape = read_config({**config, "num_key_value_heads": heads})
    if shape is None:
        return Facts("embedded", problem="its base section lacks a size of the model")
    params = parameters(shape)
    return Facts("embedded", params, None, shape, exact, weight_bytes(params, 4) + OTHER_FILES // 20)


def _folder(path: Path, *, own: bool) -> Facts:
    try:
        shape = read_config(check_folder(path, own=own))
        params = count_parameters(path)
    except (DataError, OSError) as error:
        return Facts("folder", problem=getattr(error, "message", str(error)))
    return Facts("folder", params, _active(shape), shape or guess(params), shape is not None)


def _package(base: Mapping[str, Any], folder: Path) -> Facts:
    """A package says nothing of its model until it is fetched; the base folder that was made of it says all."""
    lacking = [name for name in ("package", "package_version") if not base.get(name)]
    if lacking:
        return Facts("package", exact=False, problem=f"its base section lacks {' and '.join(lacking)}")
    try:
        made = read_json(folder / RUNG)
        if all(str(made[name]) == str(base[name]) for name in ("package", "package_version")):
            return replace(_folder(folder, own=True), source="package")
    except (DataError, KeyError, TypeError):
        pass  # it was not made yet, or is another's
    return Facts("package", exact=False)


def _hub(base: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]]) -> Facts:
    repo, revision = str(base.get("repo")), str(base.get("revision") or "")
    problem = None
    if not COMMIT.fullmatch(revision):
        problem = "it is pinned to no commit: chatladder ladder writes one, see its --revision"
    known = models.get(repo)
    config, present = _cached(repo, revision) if problem is None else (None, False)
    shape = read_config(config or (known or {}).get("config") or {})
    params = int(known["params"]) if known else parameters(shape) if shape else None
    if params is None:
        return Facts("hub", exact=False, problem=problem)
    disk = 0 if present else weight_bytes(params, 2) + OTHER_FILES
    return Facts("hub", params, _active(shape), shape or guess(params), shape is not None, disk, problem)


def _cached(repo: str, revision: str) -> tuple[dict[str, Any] | None, bool]:
    """A model's configuration in the hub's cache, and whether its weights are there too."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, "config.json", revision=revision)
    if not isinstance(found, str):
        return None, False
    try:
        config = read_json(Path(found))
        return config if isinstance(config, dict) else None, any(Path(found).parent.glob("*.safetensors"))
    except DataError:
        return None, False


def _active(shape: Shape | None) -> int | None:
    return parameters(shape, active=True) if shape and shape.num_experts else None


def sized(facts: Facts, params: int | None) -> Facts:
    """The same model, of which the hub has now told its parameters."""
    if params is None or facts.params is not None:
        return facts
    return replace(facts, params=params, shape=guess(params), exact=False, disk=weight_bytes(params, 2) + OTHER_FILES)


def training_of(rung: Mapping[str, Any], settings: Settings) -> Training:
    """The settings that a rung is trained with, as far as memory goes."""
    train = {**settings.train, **(rung.get("train") or {})}
    # A batch of more tokens than this goes through the model in parts.
    most = int(train.get("tokens_per_forward", TrainSettings.tokens_per_forward)) // settings.length
    return Training(
        rows=min(int(train.get("per_device_train_batch_size", 1)), max(1, most)),
        length=settings.length,
        lora_r=int(train.get("lora_r", 16)),
        target_modules=tuple(str(train.get("target_modules", "all-linear")).split(",")),
        checkpointing=bool(train.get("gradient_checkpointing", False)),
        dropout=float(train.get("lora_dropout", 0)) > 0,
        full=train.get("method") == "full",
    )


def need(key: str, rung: Mapping[str, Any], facts: Facts, settings: Settings, machine: Machine, *, room: int) -> Need:
    """What a rung needs, and whether this machine has it.

    Args:
        key: Of the rung.
        rung: Its sections base and train.
        facts: Of its model.
        settings: Of the project.
        machine: That it would run on.
        room: Free disk after the rungs before it.
    """
    from chatladder.models.scoring import TOKENS_A_BATCH

    reasons = [facts.problem] if facts.problem else []
    reasons += _refusals(rung, facts, training_of(rung, settings), machine)
    if facts.shape is None or facts.params is None:
        return Need(key, facts, fits=False if reasons else None, reasons=tuple(reasons))
    shape, training = facts.shape, training_of(rung, settings)
    base = rung.get("base") or {}
    small = next((size for name, size in QUANTIZED.items() if base.get(name)), None)

    def sizes(training: Training, *, gpu: bool) -> tuple[int, int]:
        number = 2 if gpu else 4
        weights = weight_bytes(facts.params or 0, small or number)
        scored = scoring_bytes(shape, weights, training.length, TOKENS_A_BATCH, number)
        return scored, training_bytes(shape, weights, training, number)

    on_gpu = bool(machine.gpus) and facts.source != "embedded"  # embedded models stay on the CPU
    scoring, trained = sizes(training, gpu=on_gpu)
    checkpointed = sizes(replace(training, checkpointing=True), gpu=on_gpu)[1]
    one = max(machine.gpus, default=USUAL_GPU) - RUNTIME
    gpus = 0 if facts.source == "embedded" else math.ceil(max(sizes(training, gpu=True)) / max(one, 1))
    here = sum(card - RUNTIME for card in machine.gpus) if on_gpu else machine.memory - RUNTIME
    if max(scoring, trained) > here:
        what = "neither score nor train" if scoring > here else "score and not train"
        reasons.append(f"can {what} in {show_bytes(max(here, 0))} of {'GPU memory' if on_gpu else 'memory'}")
        if scoring <= here:
            reasons += _advice(training, lambda other: sizes(other, gpu=on_gpu)[1] <= here, settings)
    if facts.disk > room:
        reasons.append(
            f"its download of {show_bytes(facts.disk)} finds {show_bytes(max(room, 0))} free in {machine.cache}"
        )
    return Need(key, facts, scoring, trained, checkpointed, gpus, not reasons, tuple(reasons))


def _refusals(rung: Mapping[str, Any], facts: Facts, training: Training, machine: Machine) -> Iterator[str]:
    """What stages would refuse, whatever room there is."""
    small = next((name for name in QUANTIZED if (rung.get("base") or {}).get(name)), None)
    mixture = facts.shape is not None and facts.shape.num_experts > 0
    if small and not machine.gpus:
        yield f"{small} needs a GPU"
    if small and find_spec("bitsandbytes") is None:
        yield f"{small} needs bitsandbytes, which is not installed"
    if small and training.full:
        yield f"method: full trains weights as they are, not in {small}"
    if small and mixture:
        yield f"{small} leaves the experts of a mixture as they are"
    if mixture and training.dropout and not training.full and training.target_modules == ("all-linear",):
        yield "its experts take no dropout: set lora_dropout: 0.0 in its train section"


def _advice(training: Training, fits: Callable[[Training], bool], settings: Settings) -> Iterator[str]:
    """What changes memory and nothing that is learned: fewer tokens a pass; and checkpointing, if it can be chosen."""
    rows = training.rows
    while rows > 1:
        rows //= 2
        if fits(replace(training, rows=rows)):
            yield f"tokens_per_forward {rows * training.length} would fit"
            break
    choice = "gradient_checkpointing" in settings.train and not training.checkpointing
    if choice and fits(replace(training, checkpointing=True)):
        yield "gradient_checkpointing would fit"


def needs(ladder: Mapping[str, Any], facts: Sequence[Facts], settings: Settings, machine: Machine) -> list[Need]:
    """What each rung needs; the downloads of the rungs before it are counted in."""
    found = []
    room = machine.disk
    for (key, rung), known in zip(ladder.items(), facts, strict=True):
        found.append(need(key, rung, known, settings, machine, room=room))
        room -= known.disk
    return found


def show_bytes(size: int) -> str:
    """A size in four characters or five: 312M, 1.9G, 61G."""
    if size < 0.1 * 1024**3:
        return f"{size / 1024**2:.0f}M"
    return f"{size / 1024**3:.{1 if size < 10 * 1024**3 else 0}f}G"


def show_count(count: int) -> str:
    """A number of parameters in five characters or fewer: 151k, 494M, 7.62B."""
    for unit, letter in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if count >= unit:
            return f"{count / unit:.3g}{letter}"
    return str(count)
