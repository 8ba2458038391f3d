"""What a project holds, read from its files; DVC, asked in a process of its own, says what is stale."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from chatladder.chat.exports import MEDIA, is_note
from chatladder.cli.status.standing import Standing, Tuned, Worker
from chatladder.io.console import DataError, printable
from chatladder.io.files import read_json

#: Seconds that DVC gets: it reads again every file that changed since it last looked.
PATIENCE = 300
VERDICTS = ("pass", "fail", "inconclusive")


class Answers(NamedTuple):
    """What the annotators have done; as in ``Standing``."""

    answered: int = 0
    round: int = 1
    is_review: bool = False
    workers: tuple[Worker, ...] = ()
    undecided: int = 0


class Staleness(NamedTuple):
    """What DVC says; as in ``Standing``."""

    stale: tuple[str, ...] | None
    trouble: str = ""
    busy: bool = False


def gather(root: Path) -> Standing:
    """Everything that ``Standing`` holds of the project in a folder.

    Raises:
        DataError: If the folder is no project, or a file that is there is damaged.
    """
    for name in ("dvc.yaml", "params.yaml"):
        if not (root / name).is_file():
            raise DataError(
                f"{root / name}: expected a project of chatladder here, got no such file. Run in the project's "
                "folder, or begin one with chatladder init FOLDER."
            )
    ids = question_ids(root / "data" / "questions.parquet")
    found, absent = exports(root / "data" / "raw")
    answers = answers_of(root / "data" / "annotations", ids or [])
    gate, more_items = verdict(root / "metrics" / "scaling.json")
    tuned = largest_tuned(root / "metrics" / "models.json")
    return Standing(
        exports=len(found),
        private=sum(not path.name.startswith("demo") for path in found),
        absent=absent,
        has_secret=_has_secret(root),
        questions=None if ids is None else len(ids),
        counted=counted_rounds(root / "params.yaml"),
        **answers._asdict(),
        gate=gate,
        more_items=more_items,
        tuned=tuned,
        **staleness(root)._asdict(),
        exported=tuned is not None and (root / "exported" / tuned.rung).is_dir(),
    )


def exports(raw: Path) -> tuple[list[Path], int]:
    """The files that are read as exports, and how many that DVC keeps are not there."""
    if not raw.is_dir():
        return [], 0
    paths = [path for path in sorted(raw.rglob("*")) if not _is_hidden(path.relative_to(raw))]
    files = [path for path in paths if path.is_file() and not is_note(path.name) and not MEDIA.fullmatch(path.suffix)]
    absent = sum(path.suffix == ".dvc" and path.is_file() and not path.with_suffix("").exists() for path in paths)
    return files, absent


def _is_hidden(relative: Path) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in relative.parts)


def _has_secret(root: Path) -> bool:
    from chatladder.privacy.secret import KEY_FILE, local_key

    return local_key(root / KEY_FILE) is not None


def question_ids(path: Path) -> list[str] | None:
    """Ids of the questions, in the order of the chat; None where they were not picked yet.

    Raises:
        DataError: If the file is no parquet file of questions.
    """
    if not path.exists():
        return None
    from chatladder.io.rows import QUESTIONS, Rows

    parts = Rows(path, QUESTIONS).parts(["item_id"])
    return [item_id for part in parts for item_id in part["item_id"].to_pylist()]


def counted_rounds(params: Path) -> int | None:
    """``annotation.round`` of params.yaml, or None if it is no number.

    Raises:
        DataError: If the file is no YAML.
    """
    from chatladder.presets import read_text
    from chatladder.presets.nodes import compose, plain

    text = read_text(params)
    compose(text, str(params))
    section = plain(text).get("annotation")
    number = section.get("round") if isinstance(section, dict) else None
    return number if type(number) is int else None


def answers_of(annotations: Path, ids: list[str]) -> Answers:
    """How far the annotators of the current round are, and what all rounds leave open.

    Args:
        annotations: Folder of the rounds.
        ids: Of the questions; answers about others do not count.

    Raises:
        DataError: If a log, an assignment or a review is damaged.
    """
    if not annotations.is_dir():
        return Answers()
    from chatladder.labels.log import replay
    from chatladder.labels.review import read_review
    from chatladder.labels.rounds import latest_answered, latest_round, log_files, log_path

    answered, number = latest_answered(annotations), latest_round(annotations)
    folder = annotations / f"round_{number}"
    review = read_review(folder)
    names = {path.stem for path in folder.glob("[!.]*.jsonl")}
    sharing = _sharing(folder)
    known = set(ids)
    paths = {name: log_path(annotations, number, name) for name in sorted(names | {*(sharing[0] if sharing else ())})}
    done = {name: known & replay(path).answers.keys() for name, path in paths.items()}
    if review:
        wanted = known.intersection(review.items)
    elif number == 1:
        wanted = known
    else:
        # Later rounds ask a list that only who began it knows: what any of them answered is what is known of it.
        wanted = set[str]().union(*done.values()) or known
    workers = _workers(wanted, done, sharing)
    counting = log_files(annotations, answered) if answered else []
    return Answers(answered, number, review is not None, workers, _undecided(annotations, answered, known, counting))


def _sharing(folder: Path) -> tuple[list[str], int] | None:
    from chatladder.cli.annotate.round_records import settle_assignment

    return settle_assignment(folder) if folder.is_dir() else None


def _workers(wanted: set[str], done: dict[str, set[str]], sharing: tuple[list[str], int] | None) -> tuple[Worker, ...]:
    from chatladder.cli.annotate.round_records import assigned

    if sharing is None:
        return tuple(Worker(name, len(items & wanted), len(wanted)) for name, items in done.items())
    # Who answered without being named has no share, and holds nobody up.
    given = Counter(name for item_id in wanted for name in assigned(item_id, *sharing))
    own = Counter(name for name in sharing[0] for item_id in done[name] & wanted if name in assigned(item_id, *sharing))
    return tuple(Worker(name, own[name], given[name]) for name in sharing[0])


def _undecided(annotations: Path, answered: int, known: set[str], counting: list[Path]) -> int:
    """Questions whose annotators tie or are unsure, and that no adjudicator settled."""
    if not counting:
        return 0
    from chatladder.labels.verdicts import cases, read_answers

    *rows, _torn = read_answers(annotations, answered)
    found = cases(*([row.answer for row in placed if row.answer.item_id in known] for placed in rows))
    return sum(case.is_open and case.ruling is None for case in found.values())


def verdict(path: Path) -> tuple[str | None, int | None]:
    """The gate's verdict, and how many more labels would decide it.

    Raises:
        DataError: If the file is no JSON, or holds no verdict.
    """
    if not path.exists():
        return None, None
    row = read_json(path)
    gate = row.get("gate") if isinstance(row, dict) else None
    if gate not in VERDICTS:
        raise DataError(
            f'{path}: expected "gate": {", ".join(VERDICTS)}, got something else. Run dvc repro check_scaling.'
        )
    precision = row.get("precision")
    more = precision.get("more_items") if isinstance(precision, dict) else None
    return gate, more if type(more) is int else None


def largest_tuned(path: Path) -> Tuned | None:
    """The tuned rung of most parameters; None if there is none.

    Raises:
        DataError: If the file is no JSON, or of another form.
    """
    if not path.exists():
        return None
    row = read_json(path)
    if not isinstance(row, dict):
        raise DataError(f"{path}: expected scores by rung, got {type(row).__name__}. Run dvc repro evaluate.")
    rungs = [(_number(scores.get("params")), key, scores) for key, scores in row.items() if isinstance(scores, dict)]
    scored = [
        (params, key, _number(scores["tuned"].get("macro_f1")))
        for params, key, scores in rungs
        if isinstance(scores.get("tuned"), dict)
    ]
    whole = [(params, key, f1) for params, key, f1 in scored if params is not None and f1 is not None]
    return Tuned(max(whole)[1], max(whole)[2]) if whole else None


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def staleness(root: Path) -> Staleness:
    """The stages that DVC would run.

    In another process: it neither prints into ours nor leaves a lock behind.
    """
    if not (root / ".dvc").is_dir():
        return Staleness(None, "there is no .dvc folder here: run dvc init")
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    try:
        done = subprocess.run(
            command,
            cwd=root,
            capture_output=True,
            timeout=PATIENCE,
            env={**os.environ, "DVC_NO_ANALYTICS": "1"},
        )
    except subprocess.TimeoutExpired:
        return Staleness(None, f"DVC took more than {PATIENCE} s: run dvc status")
    except OSError as error:
        return Staleness(None, f"DVC cannot be run: {error.strerror or error}")
    errors = done.stderr.decode("utf-8", "replace")
    if done.returncode:
        # Its lock names the process that has it; "Unable to acquire lock" is that of the whole repository.
        busy = "is busy" in errors or "acquire lock" in errors
        return Staleness(None, "another DVC command is running" if busy else _reason(errors.splitlines()), busy)
    try:
        changed = json.loads(done.stdout)
    except ValueError:
        changed = None
    if not isinstance(changed, dict):
        return Staleness(None, "DVC answers in another form than expected")
    return Staleness(tuple(changed))


def _reason(lines: Iterable[str]) -> str:
    said = next((line for line in lines if line.startswith("ERROR:")), "ERROR: no reason given")
    return printable(said.removeprefix("ERROR:").strip())[:100]
