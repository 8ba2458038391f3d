"""Everything derived from a member's messages: answers and marks, outs of stages, and their versions in DVC's cache."""

import json
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from hashlib import file_digest
from itertools import pairwise, product
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from chatladder.chat.file_names import FORGOTTEN
from chatladder.cli.annotate.round_records import SAMPLE_FILE, read_sample
from chatladder.cli.git import git
from chatladder.io.console import DataError
from chatladder.io.files import whole_file, write_json
from chatladder.io.rows import QUESTIONS, TURNS, Rows, read_rows, write_rows
from chatladder.labels.log import held, replay
from chatladder.labels.review import FILE, Review, read_review, record_of
from chatladder.labels.rounds import every_log, round_folders
from chatladder.privacy.pseudonyms import PLACEHOLDER
from chatladder.privacy.secret import KEY_FILE
from chatladder.questions.marks import read_marks

if TYPE_CHECKING:
    from dvc.repo import Repo

#: The outputs of commands.
BESIDE = ("exported", "data/reports", "dvc_plots")


class MemberItems(NamedTuple):
    """Ids of a member's questions and turns, and of what shows them."""

    questions: set[str]
    turns: set[str]
    shown: set[str]  # questions of others that show something of theirs
    read_again: list[str]  # those of ``shown`` that are answered
    others: list[dict[str, Any]]  # answered questions of others, without their windows


def items_of(data: Path, people: Collection[str]) -> MemberItems:
    """Return the questions and turns of some pseudonyms, as the pipeline has them now.

    Raises:
        DataError: If a table is missing though there are answers or marks, whose member is then unknown.
    """
    logs = every_log(data / "annotations")
    marks = read_marks(data / "marks") if (data / "marks").is_dir() else None
    answered = {item_id for path in logs for item_id in replay(path).answers}
    items = MemberItems(set(), set(), set(), [], [])
    if logs or (data / "questions.parquet").exists():
        for part in _rows(data / "questions.parquet", QUESTIONS).parts():
            for row in part.to_pylist():
                if row["sender"] in people:
                    items.questions.add(row["item_id"])
                    continue
                is_shown = any(turn["sender"] in people for turn in row["window"])
                if is_shown:
                    items.shown.add(row["item_id"])
                if row["item_id"] in answered:
                    if is_shown:
                        items.read_again.append(row["item_id"])
                    items.others.append(row | {"window": []})
    if marks is not None:
        for part in _rows(data / "turns.parquet", TURNS).parts(["turn_id", "sender"]):
            theirs = part.filter(pc.is_in(part["sender"], value_set=pa.array(sorted(people), pa.string())))
            items.turns.update(theirs["turn_id"].to_pylist())
    return items


def keep_ids(path: Path, questions: list[dict[str, Any]], theirs: Collection[str]) -> None:
    """Store the ids of others' answered questions in a file, with those that an earlier removal stored there."""
    earlier = read_rows(path, QUESTIONS).to_pylist() if path.exists() else []
    rows = {row["item_id"]: row for row in (*earlier, *questions) if row["sender"] not in theirs}
    for row, pseudonym in product(rows.values(), theirs):
        row["text"] = row["text"].replace(pseudonym, PLACEHOLDER)
    if rows:
        write_rows(path, list(rows.values()), QUESTIONS)


def _rows(path: Path, schema: pa.Schema) -> Rows:
    if not path.exists():
        raise DataError(
            f"{path}: missing, but needed to find out whose the answers are; nothing was changed. Restore it as "
            "it was when the answers were given: dvc checkout, dvc pull, or dvc repro."
        )
    return Rows(path, schema)


def remove_answers(data: Path, items: MemberItems, people: Collection[str]) -> int:
    """Remove everything about a member's questions and turns from logs, reviews and marks.

    Annotators' rewrites are removed, too, if they name the member or may repeat them, as those of questions that show
    something of theirs. The answers to those questions stay.

    Args:
        data: Folder of annotations and marks.
        items: The member's items.
        people: The member's pseudonyms.

    Returns:
        The number of removed lines.

    Raises:
        DataError: If a log is damaged, or somebody is writing it.
    """
    removed = 0
    for path in every_log(data / "annotations"):
        replay(path)  # a damaged log is not rewritten
        with held(path):
            _remove_rewrites(path, items.shown, people)
            removed += _remove_lines(path, "item_id", items.questions)
    if (data / "annotations").is_dir():
        for torn in (data / "annotations").rglob(".*.torn"):
            text = torn.read_text(encoding="utf-8", errors="replace")
            if any(each in text for each in (*items.questions, *items.shown, *people)):
                torn.unlink()  # pieces of lines, which no stage reads
        for folder in round_folders(data / "annotations").values():
            review = read_review(folder)
            if review is not None and not items.questions.isdisjoint(review.items):
                left = Review(
                    tuple(item for item in review.items if item not in items.questions),
                    tuple(item for item in review.suspects if item not in items.questions),
                    review.random - items.questions,
                )
                if left.items:
                    write_json(folder / FILE, record_of(left), answers=True)
                else:
                    (folder / FILE).unlink()
            _remove_sampled(folder, items.questions)
    for path in sorted((data / "marks").glob("*.jsonl")):
        removed += _remove_lines(path, "turn_id", items.turns)
    return removed


def _remove_sampled(folder: Path, ids: Collection[str]) -> None:
    """Remove some ids from a round's sample, if it has one; delete it if nothing is left."""
    drawn = read_sample(folder) or []
    kept = [item_id for item_id in drawn if item_id not in ids]
    if kept and kept != drawn:
        write_json(folder / SAMPLE_FILE, {"items": kept}, answers=True)
    elif not kept:
        (folder / SAMPLE_FILE).unlink(missing_ok=True)


def _remove_lines(path: Path, field: str, ids: Collection[str]) -> int:
    """Remove the lines of some ids from a JSON Lines file; delete it if nothing is left."""
    lines = _lines(path)
    kept = [line for line in lines if json.loads(line)[field] not in ids]
    if len(kept) == len(lines):
        return 0
    if kept:
        _write_lines(path, kept)
    else:
        path.unlink()
    return len(lines) - len(kept)


def _remove_rewrites(path: Path, shown: Collection[str], people: Collection[str]) -> None:
    """Remove from a log the rewrites of some items, and those that name some people."""
    lines = _lines(path)
    kept = []
    for line in lines:
        row = json.loads(line)
        text = row.get("rewrite") or ""
        if text and (row["item_id"] in shown or any(person in text for person in people)):
            del row["rewrite"]
            line = json.dumps(row, ensure_ascii=False).encode()
        kept.append(line)
    if kept != lines:
        _write_lines(path, kept)


def _lines(path: Path) -> list[bytes]:
    return [line for line in path.read_bytes().split(b"\n") if line.strip()]


def _write_lines(path: Path, lines: Iterable[bytes]) -> None:
    with whole_file(path, answers=True) as temporary:
        temporary.write_bytes(b"".join(line + b"\n" for line in lines))


class CacheEntry(NamedTuple):
    """The digests that DVC recorded of one run of a stage, or of a file that was added."""

    deps: tuple[str, ...]
    outs: dict[str, str]  # path -> digest


class Derived:
    """The outs of ingest and of all stages after it, present and former, in one project.

    Attributes:
        stages: Names of the stages.
        remotes: Names of DVC's remotes.
        cache: DVC's cache.
        is_shared: True if the cache is outside the project, where other projects may use it.
    """

    def __init__(self, repo: "Repo", root: Path) -> None:
        import networkx

        self._root = root
        graph = repo.index.graph
        first = next((stage for stage in graph if getattr(stage, "name", None) == "ingest"), None)
        if first is None:
            raise DataError("dvc.yaml: expected a stage ingest, got none. Run in a project's folder.")
        behind = {first, *networkx.ancestors(graph, first)}  # an edge leads to what a stage needs
        stages = [stage for stage in repo.index.stages if stage in behind]
        self.stages = [stage.name for stage in stages]
        self.remotes = sorted(repo.config.get("remote", {}))
        self.cache = Path(repo.cache.local.path).resolve().parents[1]
        self.is_shared = not self.cache.is_relative_to(root)
        self._outs = {out.def_path: Path(out.fs_path) for stage in stages for out in stage.outs if out.use_cache}
        runs = Path(repo.cache.legacy.path) / "runs"
        self._runs = {path: _entry(_yaml(path.read_bytes())) for path in runs.glob("*/*/*")}
        entries = [*self._runs.values(), *self._locked_entries()]
        # In earlier commits, stages had other names and files, and came from the exports all the same.
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

    def in_workspace(self) -> list[Path]:
        """Return the files and folders that exist."""
        paths = [path for path in (*self._outs.values(), *map(self._root.joinpath, BESIDE)) if path.exists()]
        # Stages store what they need to resume next to the key.
        beside = sorted((self._root / KEY_FILE.parent).glob("*"))
        return paths + [path for path in beside if path.name not in (KEY_FILE.name, ".gitignore")]

    def in_cache(self) -> list[Path]:
        """Return the versions of the outs in DVC's cache."""
        return self._objects(self._digests)

    def remove(self, keep: Collection[Path]) -> None:
        """Remove all of them, the cache first: its content is identified by files that stay."""
        if not self.is_shared:
            runs = [path for path, entry in self._runs.items() if not self._paths.isdisjoint(entry.outs)]
            for path in [*self.in_cache(), *runs]:
                path.unlink(missing_ok=True)
        for path in self.in_workspace():
            if path not in keep and path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path not in keep:
                path.unlink(missing_ok=True)

    def clear_cache(self, raw: Path) -> list[str]:
        """Remove the versions of exports that only the cache holds.

        Returns:
            The work left to be done by hand, a line each.
        """
        stale = self._raw_in_cache(raw)
        copies = sorted(path.parent for path in (self._root / ".dvc" / "tmp" / "exps").glob("*/data"))
        left = [f"{path}: an experiment's copy. dvc queue stop --kill, and delete it" for path in copies]
        if not self.is_shared:
            for path in stale:
                path.unlink(missing_ok=True)
        elif shared := [*self.in_cache(), *stale]:
            left.append(
                f"{self.cache}: {len(shared):,} versions of what was removed. Other projects may use this cache: "
                "dvc gc --workspace --projects OTHER, with each of them"
            )
        return left

    def _raw_in_cache(self, raw: Path) -> list[Path]:
        """Return the versions of exports in DVC's cache that are not those in the folder."""
        current = set()
        for path in filter(Path.is_file, raw.rglob("*")) if self._raw_digests else ():
            with path.open("rb") as file:
                current.add(file_digest(file, "md5").hexdigest())
        # A listing of a folder is current if everything in it is.
        listed = {each for each in self._raw_digests if each.endswith(".dir")}
        current |= {each for each in listed if self._expanded({each}) - {each} <= current}
        return self._objects(self._raw_digests - current)

    def _objects(self, digests: Iterable[str]) -> list[Path]:
        places = [self.cache / "files" / "md5", self.cache]  # since DVC 3, and before
        # The listing of a folder comes last: without it, its files could not be identified.
        ordered = sorted(digests, key=lambda digest: (digest.endswith(".dir"), digest))
        paths = (place / digest[:2] / digest[2:] for digest in ordered for place in places)
        return [path for path in paths if path.is_file()]

    def _expanded(self, digests: Collection[str]) -> set[str]:
        """Return digests, and those of the files in the folders among them."""
        expanded = set(digests)
        for path in self._objects(digest for digest in digests if digest.endswith(".dir")):
            expanded.update(entry["md5"] for entry in json.loads(path.read_bytes()))
        return expanded

    def _locked_entries(self) -> Iterator[CacheEntry]:
        """Yield all entries of lock files, in all commits and experiments too."""
        given = [*self._root.glob("data/*.dvc"), *(self._root / "data/raw").rglob("*.dvc")]
        for path in filter(Path.is_file, [self._root / "dvc.lock", *given]):
            yield from _locked(path.relative_to(self._root).as_posix(), path.read_bytes())
        if (self._root / ".git").exists():
            raw = ("log", "--all", "-m", "--root", "--raw", "--no-abbrev", "--no-renames", "-z", "--format=")
            fields = git(self._root, *raw, "--", "dvc.lock", "*.dvc").split("\0")
            versions = {(name, entry.split(" ")[3]) for entry, name in pairwise(fields) if entry.startswith(":")}
            for name, blob in sorted(versions):
                # .dvc itself is a folder; a blob of zeros is a deleted file.
                if (name == "dvc.lock" or PurePosixPath(name).suffix == ".dvc") and blob.strip("0"):
                    content = git(self._root, "cat-file", "blob", blob)
                    yield from _locked(name, content.encode("utf-8", "surrogateescape"))


def _touches(paths: Iterable[str], others: Collection[str]) -> bool:
    """Return True if one of the paths is one of the others, or inside it."""
    return any(str(place) in others for path in paths for place in (PurePosixPath(path), *PurePosixPath(path).parents))


def _locked(name: str, content: bytes) -> Iterator[CacheEntry]:
    document = _yaml(content)
    if name.endswith(".dvc"):
        folder = PurePosixPath(name).parent
        yield CacheEntry((), {str(folder / path): digest for path, digest in _entry(document).outs.items()})
    else:
        yield from map(_entry, (document.get("stages") or {}).values())


def _entry(row: Any) -> CacheEntry:
    deps, outs = (row.get(name) or () if isinstance(row, dict) else () for name in ("deps", "outs"))
    return CacheEntry(
        tuple(str(each["path"]) for each in deps),
        {str(each["path"]): str(each["md5"]) for each in outs if "md5" in each},
    )


def _yaml(content: bytes) -> Any:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return yaml.load(content, Loader=loader) or {}
    except yaml.YAMLError:
        return {}  # a lock file in the middle of a merge


@contextmanager
def derived(root: Path) -> Iterator[Derived]:
    """Yield the derived data of a project under DVC's lock, so that no stage runs meanwhile.

    Raises:
        DataError: If the folder is not a DVC project, or another DVC command is running.
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
        raise DataError(f"DVC cannot read this project: {str(error)[:200]}.") from error


def beyond(root: Path, remotes: Iterable[str]) -> list[str]:
    """Return what no command of this project reaches, git's history and DVC's remotes, with what to do there."""
    lines = []
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
            shown = ", ".join(list(count)[:5]) + (", ..." if len(count) > 5 else "")
            lines.append(
                f"git's history of {place} ({len(count)} commits: {shown}): copy what is there now elsewhere, git "
                f"filter-repo --invert-paths --path {place}, push by force, and have clones made anew"
            )
    for name in remotes:
        lines.append(
            f"DVC's remote {name}: once dvc repro has run and is committed, dvc gc --workspace --cloud --remote {name} "
            "leaves there what the workspace has and nothing else"
        )
    return lines
