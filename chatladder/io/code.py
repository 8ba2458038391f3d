"""The code that a project runs: its own files, and a hash of each part of the package.

A project holds ``stages/`` and ``dvc.yaml``, and of the package only code.json: one hash for each part that a stage
depends on. Comments, docstrings and the layout of the source do not count.
"""

import ast
import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

PACKAGE = Path(__file__).resolve().parents[1]
#: The files of a project inside a wheel; in a clone they lie next to the package.
PACKED = PACKAGE / "project.zip"
#: The files of a clone that belong to every project.
FILES = (
    ".dvcignore", ".gitattributes", ".gitignore", ".dvc/.gitignore", ".dvc/plots/*.json", "dvc.yaml", "params.yaml",
    "stages/*.py", "data/annotations/README.md", "data/marks/README.md", "data/other_chats/README.md",
)  # fmt: skip
#: In the project: the hash of each part, of the stages with their graph, and under EXACT one of all their bytes.
CODE, STAGES, EXACT = "code.json", "stages", "exact"


def project_files(clone: Path) -> dict[str, bytes]:
    """Return the files of a clone that belong to every project, by path.

    Raises:
        FileNotFoundError: If a pattern matches none.
    """
    found: dict[str, bytes] = {}
    for pattern in FILES:
        paths = sorted(clone.glob(pattern))
        if not paths:
            raise FileNotFoundError(2, "No such file", str(clone / pattern))
        found |= {path.relative_to(clone).as_posix(): path.read_bytes() for path in paths}
    return found


def pack(clone: Path, path: Path) -> None:
    """Write the files of a project to a zip archive, for a wheel."""
    with ZipFile(path, "w") as archive:
        for name, content in project_files(clone).items():
            archive.writestr(ZipInfo(name), content)


def shipped() -> dict[str, bytes]:
    """Return the files of a project that the installed chatladder ships, by path."""
    if not PACKED.is_file():
        return project_files(PACKAGE.parent)
    with ZipFile(PACKED) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def part_of(dep: str) -> str | None:
    """Return the part of the package that a stage depends on, such as ``chat`` for ``chatladder/chat``."""
    if not dep.startswith("chatladder/"):
        return None
    # A clone depends on the selected task, a project on all tasks that chatladder ships.
    return dep.removeprefix("chatladder/").removesuffix(".py").partition("/")[0]


def part_hash(part: str, package: Path = PACKAGE) -> str:
    """Return the hash of a part's behaviour; a part is a folder of the package, or a module next to the folders."""
    return _digest(_part_files(part, package), meaning)


def hashes() -> dict[str, str]:
    """Return the content of code.json for the installed chatladder."""
    import yaml

    files = shipped()
    graph = yaml.safe_load(files["dvc.yaml"])["stages"].values()
    parts = sorted({part for stage in graph for dep in stage.get("do", stage)["deps"] if (part := part_of(dep))})
    return {
        EXACT: _exact(parts, files),
        STAGES: _digest(_stage_files(files), meaning),
        **{part: part_hash(part) for part in parts},
    }


def other_parts(project: Path) -> list[str]:
    """Return the parts that differ between the installed chatladder and the project; none in a clone.

    If every byte is equal, this takes milliseconds; otherwise the package is parsed, in less than a second.
    """
    path = project / CODE
    if not path.is_file():
        return []
    try:
        expected = dict(json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError):
        return [CODE]
    if expected.get(EXACT) == _exact(sorted({*expected} - {EXACT, STAGES}), shipped()):
        return []
    installed = hashes()
    names = sorted({*expected, *installed} - {EXACT})
    return [name for name in names if expected.get(name) != installed.get(name)]


def refuse_other(project: Path) -> None:
    """Exit if the installed chatladder differs from the project's: outputs must come from one version."""
    if other := other_parts(project):
        sys.exit(
            f"Error: the installed chatladder has other code than this project ({', '.join(other)}). Run chatladder "
            "upgrade, or install the release that the project was made with."
        )


@cache
def meaning(name: str, content: bytes) -> bytes:
    """Return the relevant content of a file: Python without comments and docstrings, YAML without comments."""
    if name.endswith(".py"):
        words: list[str] = []
        _write(ast.parse(content), words)
        return " ".join(words).encode("utf-8", "surrogatepass")
    if name.endswith(".yaml"):
        import yaml

        return json.dumps(yaml.safe_load(content), default=str).encode()
    return content


def _write(node: Any, words: list[str]) -> None:
    """Append a syntax tree's words. Empty fields are left out, since Python's versions differ in them."""
    if isinstance(node, ast.AST):
        words.append(type(node).__name__)
        has_docstring = (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        )
        for name, value in ast.iter_fields(node):
            if has_docstring and name == "body":
                value = value[1:]
            if value is not None and value != []:
                words.append(name)
                _write(value, words)
    elif isinstance(node, list):
        words.append("[")
        for each in node:
            _write(each, words)
        words.append("]")
    else:
        words.append(repr(node))


def _part_files(part: str, package: Path) -> dict[str, bytes]:
    folder = package / part
    paths = folder.rglob("[!.]*") if folder.is_dir() else [package / f"{part}.py"]
    taken = [path for path in paths if path.is_file() and path.suffix != ".pyc"]
    return {path.relative_to(package).as_posix(): path.read_bytes() for path in taken}


def _stage_files(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if name == "dvc.yaml" or name.startswith("stages/")}


def _exact(parts: list[str], files: Mapping[str, bytes]) -> str:
    taken = _stage_files(files)
    for part in parts:
        taken |= _part_files(part, PACKAGE)
    return _digest(taken, lambda _, content: content)


def _digest(files: Mapping[str, bytes], read: Callable[[str, bytes], bytes]) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for name, content in sorted(files.items()):
        digest.update(f"{name}\n".encode() + hashlib.md5(read(name, content), usedforsecurity=False).digest())
    return digest.hexdigest()
