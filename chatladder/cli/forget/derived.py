"""What was made of the exports: outs of stages, their versions in DVC's cache, and what the stages keep beside them."""

import json
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from hashlib import file_digest
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from chatladder.chat.exports import FORGOTTEN
from chatladder.cli.init.checkout import git
from chatladder.io.console import DataError, printable
from chatladder.privacy.secret import KEY_FILE

if TYPE_CHECKING:
    from dvc.repo import Repo

#: Made by commands.
BESIDE = ("exported", "data/reports", "dvc_plots")


class Entry(NamedTuple):
    """What DVC has kept of one run of a stage, or of a file that it was given."""

    deps: tuple[str, ...]
    outs: dict[str, str]  # path -> digest


class Derived:
    """The outs of ingest and of all that comes after it, now and earlier, in one project."""

    def __init__(self, repo: "Repo", root: Path) -> None:
        import networkx

        self._root = root
        graph = repo.index.graph
        first = next((stage for stage in graph if getattr(stage, "name", None) == "ingest"), None)
        if first is None:
            raise DataError("dvc.yaml: expected a stage ingest, got none. Run in a project's folder.")
        behind = {first, *networkx.ancestors(graph, first)}  # an edge leads to what a stage needs
        stages = [stage for stage in repo.index.stages if stage in behind]
        #: Names of the stages.
        self.stages = [stage.name for stage in stages]
        self._outs = {out.def_path: Path(out.fs_path) for stage in stages for out in stage.outs if out.use_cache}
        self._cache = Path(repo.cache.local.path).resolve().parents[1]
        self._runs = Path(repo.cache.legacy.path) / "runs"
        #: Names of DVC's remotes.
        self.remotes = sorted(repo.config.get("remote", {}))
        entries = list(self._entries())
        # Stages had other names and files in earlier commits, and came from the exports all the same.
        paths = {"data/raw", *self._outs}
        while more := {path for each in entries if _touches(each.deps, paths) for path in each.outs} - paths:
            paths |= more
        self._paths = paths
        digests: dict[str, set[str]] = {"ours": set(), "raw": set(), "others": set()}
        for entry in entries:
            for path, digest in entry.outs.items():
                is_raw = not entry.deps and _touches([path], {"data/raw"})
                digests["raw" if is_raw else "ours" if path in paths else "others"].add(digest)
        kept = self._expanded(digests["others"])
        self._digests = self._expanded(digests["ours"]) - kept
        self._raw_digests = self._expanded(digests["raw"]) - kept

    @property
    def is_shared(self) -> bool:
        """Whether the cache lies outside of the project, where other projects may use it."""
        return not self._cache.is_relative_to(self._root)

    @property
    def cache(self) -> Path:
        """DVC's cache."""
        return self._cache

    def in_workspace(self) -> list[Path]:
        """Files and folders that are there."""
        found = [path for path in (*self._outs.values(), *map(self._root.joinpath, BESIDE)) if path.exists()]
        # What stages keep for another try lies beside the key.
        kept = self._root / KEY_FILE.parent
        beside = sorted(kept.iterdir()) if kept.is_dir() else []
        return found + [path for path in beside if path.name not in (KEY_FILE.name, ".gitignore")]

    def in_cache(self) -> list[Path]:
        """Versions of them that DVC's cache holds."""
        return self._objects(self._digests)

    def raw_in_cache(self, raw: Path) -> list[Path]:
        """Versions of exports that DVC's cache holds and that are not those in the folder."""
        current = set()
        for path in filter(Path.is_file, raw.rglob("*")) if self._raw_digests else ():
            with path.open("rb") as file:
                current.add(file_digest(file, "md5").hexdigest())
        # A listing of a folder is current where all that it lists is.
        listed = {each for each in self._raw_digests if each.endswith(".dir")}
        current |= {each for each in listed if self._expanded({each}) - {each} <= current}
        return self._objects(self._raw_digests - current)

    def in_experiments(self) -> list[Path]:
        """Copies of the project that queued experiments run in."""
        return sorted(path.parent for path in (self._root / ".dvc" / "tmp" / "exps").glob("*/data"))

    def remove(self, keep: Collection[Path]) -> None:
        """Remove all of it, the cache first: what it holds is told from files that stay."""
        if not self.is_shared:
            for path in self.in_cache():
                path.unlink(missing_ok=True)
            for path, entry in self._run_entries():
                if not self._paths.isdisjoint(entry.outs):
                    path.unlink(missing_ok=True)
        for path in self.in_workspace():
            if path in keep:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _objects(self, digests: Iterable[str]) -> list[Path]:
        places = [self._cache / "files" / "md5", self._cache]  # since DVC 3, and before
        # The listing of a folder comes last: without it nobody could tell what else belongs to it.
        ordered = sorted(digests, key=lambda digest: (digest.endswith(".dir"), digest))
        paths = (place / digest[:2] / digest[2:] for digest in ordered for place in places)
        return [path for path in paths if path.is_file()]

    def _expanded(self, digests: Collection[str]) -> set[str]:
        """Digests, and those of the files in the folders among them."""
        found = set(digests)
        for path in self._objects(digest for digest in digests if digest.endswith(".dir")):
            found.update(entry["md5"] for entry in json.loads(path.read_bytes()))
        return found

    def _run_entries(self) -> Iterator[tuple[Path, Entry]]:
        """The run cache."""
        for path in self._runs.glob("*/*/*") if self._runs.is_dir() else ():
            yield path, _entry(_yaml(path.read_bytes()))

    def _entries(self) -> Iterator[Entry]:
        """All that lock files and the run cache name, of all commits and experiments too."""
        given = [*self._root.glob("data/*.dvc"), *(self._root / "data/raw").rglob("*.dvc")]
        for path in [self._root / "dvc.lock", *given]:
            if path.is_file():
                yield from _locked(path.relative_to(self._root).as_posix(), path.read_bytes())
        yield from (entry for _, entry in self._run_entries())
        if (self._root / ".git").exists():
            raw = ("log", "--all", "-m", "--root", "--raw", "--no-abbrev", "--no-renames", "-z", "--format=")
            fields = git(self._root, *raw, "--", "dvc.lock", "*.dvc").split("\0")
            versions = {(name, entry.split(" ")[3]) for entry, name in pairwise(fields) if entry.startswith(":")}
            for name, blob in sorted(versions):
                # .dvc itself is a folder; a blob of zeros is a file that went.
                if (name == "dvc.lock" or PurePosixPath(name).suffix == ".dvc") and blob.strip("0"):
                    content = git(self._root, "cat-file", "blob", blob)
                    yield from _locked(name, content.encode("utf-8", "surrogateescape"))


def _touches(paths: Iterable[str], others: Collection[str]) -> bool:
    """Whether one of some paths is one of the others, or lies in it."""
    return any(str(place) in others for path in paths for place in (PurePosixPath(path), *PurePosixPath(path).parents))


def _locked(name: str, content: bytes) -> Iterator[Entry]:
    document = _yaml(content)
    if name.endswith(".dvc"):
        folder = PurePosixPath(name).parent
        yield Entry((), {str(folder / path): digest for path, digest in _entry(document).outs.items()})
    else:
        yield from map(_entry, (document.get("stages") or {}).values())


def _entry(row: Any) -> Entry:
    deps, outs = (row.get(name) or () if isinstance(row, dict) else () for name in ("deps", "outs"))
    return Entry(
        tuple(str(each["path"]) for each in deps),
        {str(each["path"]): str(each["md5"]) for each in outs if "md5" in each},
    )


def _yaml(content: bytes) -> Any:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return yaml.load(content, Loader=loader) or {}
    except yaml.YAMLError:
        return {}  # a lock file in the middle of a merge


@contextmanager
def derived(root: Path) -> Iterator[Derived]:
    """What was derived in a project, with DVC's lock held, so that no stage runs meanwhile.

    Raises:
        DataError: If the folder is no project of DVC, or another command of it is running.
    """
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo, repo.lock:
            yield Derived(repo, root)
    except LockError as error:
        raise DataError("another DVC command is running here. Run this again once it is done.") from error
    except DvcException as error:
        raise DataError(f"DVC cannot read this project: {printable(str(error))[:200]}.") from error


def beyond(root: Path, remotes: Iterable[str]) -> list[str]:
    """Where no command of this project reaches: git's history and DVC's remotes, and what to do there."""
    told = []
    if (root / ".git").exists():
        folders = ("data/raw", "data/annotations", "data/marks", "data/reports", "exported")
        lists = [f":(exclude,glob)**/{name}" for name in ("README.md", ".gitignore", "*.dvc", f"*{FORGOTTEN}")]
        log = git(root, "log", "--all", "--format=%x00%h", "--name-only", "--", *folders, *lists)
        places: dict[str, list[str]] = {}
        for commit, *names in (entry.split("\n") for entry in log.split("\0") if entry):
            for name in filter(None, names):
                places.setdefault("/".join(name.split("/")[:2]), []).append(commit)
        for place, commits in sorted(places.items()):
            count = Counter(commits)
            said = ", ".join(list(count)[:5]) + (", ..." if len(count) > 5 else "")
            told.append(
                f"git's history of {place} ({len(count)} commits: {said}): copy what is there now elsewhere, git "
                f"filter-repo --invert-paths --path {place}, push by force, and have clones made anew"
            )
    for name in map(printable, remotes):
        told.append(
            f"DVC's remote {name}: once dvc repro has run and is committed, dvc gc --workspace --cloud --remote {name} "
            "leaves there what the workspace has and nothing else"
        )
    return told
