"""The memory and disk that each rung of params.yaml needs, and whether a machine has them."""

import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from chatladder.cli.doctor.duration import matmul_speed
from chatladder.demo.embedded import VOCABULARY
from chatladder.io.console import DataError
from chatladder.io.files import read_json
from chatladder.models.devices import DTYPES, QUANTIZED, best_dtype, device, free_memory, prepare_torch
from chatladder.models.folders import check_folder, count_parameters, reading
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

#: Memory of the GPUs to count if the machine has none.
USUAL_GPU = 80 * 10**9
#: Tokens of a chat template around an instruction, with a margin.
TEMPLATE = 64
#: The folder where Linux gives the limit and the use of a container's memory.
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Machine:
    """The memory, GPUs and disk of a machine; sizes are in bytes.

    Attributes:
        memory: Available memory.
        gpus: Free memory of each GPU that torch can use.
        gpu_names: The names of the GPUs.
        device: The device of all models but embedded ones: ``cuda``, ``mps`` (Apple's GPU, whose memory is a part of
            ``memory``) or ``cpu``.
        disk: Free disk in the cache of the hub's models.
        cache: The folder of that cache.
        cores: Threads that torch uses if there is no GPU.
        dtype: The dtype of all models but embedded ones.
        speed: Operations per second of a matrix product in that dtype, on one GPU if there are any; 0 if it was not
            measured.
    """

    memory: int
    gpus: tuple[int, ...]
    gpu_names: tuple[str, ...]
    disk: int
    cache: Path
    cores: int = 1
    device: str = "cpu"
    dtype: str = "float32"
    speed: float = 0.0


def this_machine() -> Machine:
    """Return the present state of this machine.

    Raises:
        DataError: If the environment asks for an unknown dtype.
    """
    prepare_torch()
    import psutil
    import torch
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    existing = next(folder for folder in (cache, *cache.absolute().parents) if folder.exists())
    where = device()
    cards = free_memory(where)
    dtype = best_dtype(where)
    return Machine(
        memory=min(psutil.virtual_memory().available, container_room(_CGROUP)),
        gpus=cards,
        gpu_names=tuple(
            torch.backends.mps.get_name() if where == "mps" else torch.cuda.get_device_name(card)
            for card in range(len(cards))
        ),
        disk=shutil.disk_usage(existing).free,
        cache=cache,
        cores=torch.get_num_threads(),
        device=where,
        dtype=str(dtype).removeprefix("torch."),
        speed=matmul_speed(dtype, where),
    )


def container_room(folder: Path) -> int:
    """Return the bytes that a container's limit leaves; more than any machine has if there is no limit."""
    try:
        limit, used = (int((folder / name).read_text()) for name in ("memory.max", "memory.current"))
        statistics = (folder / "memory.stat").read_text().split()
        # Cached files count as used, and are evicted when memory is needed.
        files = int(statistics[statistics.index("inactive_file") + 1]) if "inactive_file" in statistics else 0
        return limit - used + files
    except (OSError, ValueError):
        return 2**62


class MemoryNeed(NamedTuple):
    """A rung's model and its needs; sizes in bytes, None where unknown.

    Attributes:
        source: The source of its model.
        params: Parameters.
        shape: Its shape, from its configuration, or guessed from its parameters.
        exact: True if all of that was read and nothing guessed.
        disk: Bytes to download, or to write for a model that is trained here.
        reasons: The reasons why it does not run, and what would help.
        scoring: Memory to score questions.
        training: Memory to train its adapter.
        training_with_checkpointing: The same with gradient checkpointing.
        gpus: GPUs that together hold the larger of the two; in bfloat16 if the machine has none.
        runs: True if it runs on the machine, None if unknown.
    """

    source: str
    params: int | None = None
    shape: Shape | None = None
    exact: bool = True
    disk: int = 0
    reasons: tuple[str, ...] = ()
    scoring: int | None = None
    training: int | None = None
    training_with_checkpointing: int | None = None
    gpus: int | None = None
    runs: bool | None = None

    @property
    def active_params(self) -> int | None:
        """Parameters that one token passes through in a mixture of experts, else None."""
        return parameters(self.shape, active=True) if self.shape and self.shape.num_experts else None

    def as_json(self) -> dict[str, Any]:
        """Return everything but the shape."""
        values = self._asdict() | {"active_params": self.active_params}
        return {name: value for name, value in values.items() if name != "shape"}


def longest_prompt(alpaca: Path, max_length: int) -> int:
    """Return the tokens of the longest prompt: at most the characters of the longest row, if there are rows.

    A token has one character or more, except for rare signs.
    """
    try:
        rows = [row for split in ("train", "validation") for row in read_json(alpaca / f"{split}.json")]
        longest = max(len(row["instruction"]) for row in rows)
    except (DataError, KeyError, TypeError, ValueError):
        return max_length
    return min(max_length, longest + TEMPLATE)


def facts_of(key: str, base: Mapping[str, Any], bases: Path) -> MemoryNeed:
    """Return what is known of a rung's model without downloading anything; its memory is not counted yet."""
    source = str(base.get("source"))
    if source == "embedded":
        return _embedded(base, bases / key)
    if source == "folder":
        return _folder(Path(str(base.get("path"))), own=False)
    if source == "hub":
        return _hub(str(base.get("repo")), str(base.get("revision") or ""))
    if source == "package":
        return _made(source, base, ("package", "package_version"), bases / key)
    if source == "gguf":
        return _made(source, base, ("gguf",), bases / key)
    return MemoryNeed(source, exact=False)


def _embedded(base: Mapping[str, Any], folder: Path) -> MemoryNeed:
    vocabulary, exact = VOCABULARY, False  # a trained base states its own
    with suppress(DataError, KeyError, TypeError, ValueError):
        vocabulary, exact = int(read_json(folder / "config.json")["vocab_size"]), True
    config = {**base, "model_type": "qwen2", "vocab_size": vocabulary, "tie_word_embeddings": True}
    shape = read_config({**config, "num_key_value_heads": base.get("num_attention_heads")})
    if shape is None:
        return MemoryNeed("embedded", reasons=("its base section lacks a size of the model",))
    params = parameters(shape)
    return MemoryNeed("embedded", params, shape, exact, weight_bytes(params, 4) + OTHER_FILES // 20)


def _folder(path: Path, *, own: bool) -> MemoryNeed:
    try:
        shape = read_config(check_folder(path, own=own))
        params = count_parameters(path)
    except (DataError, OSError) as error:
        return MemoryNeed("folder", reasons=(getattr(error, "message", str(error)),))
    return MemoryNeed("folder", params, shape or guess(params), shape is not None)


def _made(source: str, base: Mapping[str, Any], names: Sequence[str], folder: Path) -> MemoryNeed:
    """Return what is known of a model from a package or GGUF file: all from its base folder, if that was made.

    Before, nothing is known of a package, and of a file the number of its weights.

    Args:
        source: The kind of source.
        base: The rung's section base.
        names: The settings that identify the package or file.
        folder: The base folder.
    """
    if lacking := [name for name in names if not base.get(name)]:
        return MemoryNeed(source, exact=False, reasons=(f"its base section lacks {' and '.join(lacking)}",))
    with suppress(DataError, KeyError, TypeError):  # it was not made yet, or from another source
        made = read_json(folder / RUNG)
        if all(str(made[name]) == str(base[name]) for name in names):
            return _folder(folder, own=True)._replace(source=source)
    if source == "gguf":
        from chatladder.models.gguf import measure

        file = Path(str(base["gguf"]))
        if not file.is_file():
            return MemoryNeed(source, exact=False, reasons=(f"{file}: expected a .gguf file, got nothing",))
        with suppress(DataError), reading(file.name, "a model in GGUF"):
            params = measure(file).params
            return MemoryNeed(source, params, guess(params), exact=False, disk=weight_bytes(params, 4))
    return MemoryNeed(source, exact=False)


def _hub(repo: str, revision: str) -> MemoryNeed:
    known = known_models().get(repo, {})
    reasons: tuple[str, ...] = ()
    config, is_downloaded = None, False
    if COMMIT.fullmatch(revision):
        config, is_downloaded = _cached(repo, revision)
    else:
        reasons = ("it is not pinned to a commit: chatladder ladder writes one, see its --revision",)
    shape = read_config(config or known.get("config") or {})
    params = int(known["params"]) if known else parameters(shape) if shape else None
    if params is None:
        return MemoryNeed("hub", exact=False, reasons=reasons)
    disk = 0 if is_downloaded else weight_bytes(params, 2) + OTHER_FILES
    return MemoryNeed("hub", params, shape or guess(params), shape is not None, disk, reasons)


def _cached(repo: str, revision: str) -> tuple[dict[str, Any] | None, bool]:
    """Return a model's configuration in the hub's cache, and whether its weights are there too."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repo, "config.json", revision=revision)
    with suppress(DataError):
        config = read_json(Path(path)) if isinstance(path, str) else None
        if isinstance(path, str) and isinstance(config, dict):
            return config, any(Path(path).parent.glob("*.safetensors"))
    return None, False


def sized(facts: MemoryNeed, params: int | None) -> MemoryNeed:
    """Return the same model with the hub's number of parameters, if that was unknown."""
    if params is None or facts.params is not None:
        return facts
    return facts._replace(params=params, shape=guess(params), exact=False, disk=weight_bytes(params, 2) + OTHER_FILES)


def training_of(train: Mapping[str, Any], length: int) -> Training:
    """Return the training settings of a rung that affect memory.

    Args:
        train: The section train of params.yaml, overridden by the rung's own.
        length: Tokens of the longest prompt with its answer.
    """
    # A batch of more tokens than this goes through the model in parts.
    most = int(train.get("tokens_per_forward", TrainSettings.tokens_per_forward)) // length
    return Training(
        rows=min(int(train.get("per_device_train_batch_size", 1)), max(1, most)),
        length=length,
        lora_r=int(train.get("lora_r", 16)),
        target_modules=tuple(str(train.get("target_modules", "all-linear")).split(",")),
        checkpointing=bool(train.get("gradient_checkpointing", False)),
        small_states="8bit" in str(train.get("optim", "")),
        dropout=float(train.get("lora_dropout", 0)) > 0,
        full=train.get("method") == "full",
    )


def needs(
    ladder: Mapping[str, Any], facts: Mapping[str, MemoryNeed], train: Mapping[str, Any], length: int, machine: Machine
) -> dict[str, MemoryNeed]:
    """Return the needs of each rung by key, with the downloads of the rungs before it counted.

    Args:
        ladder: The rungs by key, each with its sections base and train.
        facts: The results of ``facts_of`` by key.
        train: The section train of params.yaml.
        length: Tokens of the longest prompt with its answer.
        machine: The machine to run on.
    """
    counted, room = {}, machine.disk
    for key, rung in ladder.items():
        training = training_of({**train, **(rung.get("train") or {})}, length)
        counted[key] = need(rung["base"], facts[key], training, machine, room=room)
        room -= facts[key].disk
    return counted


def need(base: Mapping[str, Any], facts: MemoryNeed, training: Training, machine: Machine, *, room: int) -> MemoryNeed:
    """Return the needs of a rung, and whether a machine has them.

    Args:
        base: The rung's section base.
        facts: The result of ``facts_of``.
        training: Its training settings.
        machine: The machine to run on.
        room: Free disk after the rungs before it.
    """
    from chatladder.models.scoring import TOKENS_A_BATCH

    small = next((name for name in QUANTIZED if base.get(name)), None)
    reasons = [*facts.reasons, *_refusals(small, facts, training, machine)]
    if facts.shape is None or facts.params is None:
        return facts._replace(runs=False if reasons else None, reasons=tuple(reasons))
    shape, params = facts.shape, facts.params
    is_embedded = facts.source == "embedded"  # embedded models stay on the CPU
    on_gpu = bool(machine.gpus) and not is_embedded

    def sizes(training: Training, dtype: str = "float32" if is_embedded else machine.dtype) -> tuple[int, int]:
        number = DTYPES[dtype]
        weights = weight_bytes(params, QUANTIZED.get(small or "", number))
        scoring = scoring_bytes(shape, weights, training.length, TOKENS_A_BATCH, number)
        return scoring, training_bytes(shape, weights, training, number)

    scoring, trained = sizes(training)
    gpu = max(machine.gpus, default=USUAL_GPU) - RUNTIME
    room_here = sum(card - RUNTIME for card in machine.gpus) if on_gpu else machine.memory - RUNTIME
    if max(scoring, trained) > room_here:
        what = "neither score nor train" if scoring > room_here else "score but not train"
        reasons.append(f"can {what} in {show_bytes(max(room_here, 0))} of {'GPU memory' if on_gpu else 'memory'}")
        if scoring <= room_here:
            reasons += _advice(training, lambda other: sizes(other)[1] <= room_here)
    if facts.disk > room:
        free = show_bytes(max(room, 0))
        reasons.append(f"its download of {show_bytes(facts.disk)} exceeds the {free} free in {machine.cache}")
    return facts._replace(
        scoring=scoring,
        training=trained,
        training_with_checkpointing=sizes(replace(training, checkpointing=True))[1],
        gpus=0
        if is_embedded
        else math.ceil(max(sizes(training, machine.dtype if on_gpu else "bfloat16")) / max(gpu, 1)),
        runs=not reasons,
        reasons=tuple(reasons),
    )


def _refusals(small: str | None, facts: MemoryNeed, training: Training, machine: Machine) -> Iterator[str]:
    """Yield the reasons for which stages would refuse a rung, whatever the memory."""
    is_mixture = facts.shape is not None and facts.shape.num_experts > 0
    others = ", and bitsandbytes does not support Apple's" if machine.device == "mps" else ""
    if small and machine.device != "cuda":
        yield f"{small} needs a GPU{others}"
    if small and find_spec("bitsandbytes") is None:
        yield f"{small} needs bitsandbytes, which is not installed"
    if training.small_states and (machine.device != "cuda" or find_spec("bitsandbytes") is None):
        yield f"optim: paged_adamw_8bit needs a GPU and bitsandbytes{others}; adamw_torch needs neither"
    if small and training.full:
        yield f"method: full cannot train weights in {small}"
    if small and is_mixture:
        yield f"{small} does not quantize the experts of a mixture"
    if is_mixture and training.dropout and not training.full and training.target_modules == ("all-linear",):
        yield "its experts do not support dropout: set lora_dropout: 0.0 in its train section"


def _advice(training: Training, fits: Callable[[Training], bool]) -> Iterator[str]:
    """Yield settings that reduce memory without changing the result: fewer tokens per pass, and checkpointing."""
    halves = (training.rows >> times for times in range(1, training.rows.bit_length()))
    if rows := next((rows for rows in halves if fits(replace(training, rows=rows))), 0):
        yield f"tokens_per_forward {rows * training.length} would fit"
    if not training.checkpointing and fits(replace(training, checkpointing=True)):
        yield "gradient_checkpointing would fit"


def show_bytes(size: int) -> str:
    """Format a size in at most five characters: 312M, 1.9G, 61G."""
    if size < 0.1 * 1024**3:
        return f"{size / 1024**2:.0f}M"
    return f"{size / 1024**3:.{1 if size < 10 * 1024**3 else 0}f}G"


def show_count(count: int) -> str:
    """Format a number of parameters in at most five characters: 151k, 494M, 7.62B."""
    for unit, letter in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if count >= unit:
            return f"{count / unit:.3g}{letter}"
    return str(count)
