"""Where the logs lie: ``<annotations>/round_<n>/<annotator>.jsonl``."""

import re
from pathlib import Path

from stages.annotation.answer import Answer
from stages.cli import DataError

_ROUND_FOLDER = re.compile(r"round_([1-9]\d*)")
#: Names that are safe as a file's name everywhere: letters of any script, digits, dot, dash, underscore.
_ANNOTATOR = re.compile(r"\w[\w.-]*")


def log_path(annotations: Path, round_number: int, annotator: str) -> Path:
    """Where the answers of one annotator in one round are kept.

    Raises:
        DataError: If the round is below 1 or the annotator's name cannot be a file's name.
    """
    path = annotations / f"round_{round_number}" / f"{annotator}.jsonl"
    if not _ANNOTATOR.fullmatch(annotator):
        raise DataError(
            f"annotator {annotator!a}: expected letters, digits, dots, dashes and underscores, "
            "beginning with a letter or digit, since it names a file."
        )
    owner(path)
    return path


def log_files(annotations: Path, last_round: int) -> list[Path]:
    """Every log of rounds 1 to ``last_round``, by round, then by name.

    Raises:
        DataError: If ``last_round`` has no log, or answers lie where no round is.
    """
    rounds: dict[int, Path] = {}
    for entry in sorted(annotations.iterdir()):
        match = _ROUND_FOLDER.fullmatch(entry.name)
        if match and entry.is_dir():
            rounds[int(match[1])] = entry
        elif (entry.is_dir() or entry.suffix == ".jsonl") and not entry.name.startswith("."):
            raise DataError(
                f"{entry}: expected only folders round_1, round_2, … here, with <annotator>.jsonl in them. "
                "Move or rename it."
            )
    logs = {number: sorted(folder.glob("[!.]*.jsonl")) for number, folder in rounds.items()}
    if not logs.get(last_round):
        present = ", ".join(str(number) for number in sorted(logs) if logs[number]) or "none"
        raise DataError(
            f"{annotations}: expected answers of round {last_round} in round_{last_round}/<annotator>.jsonl; "
            f"rounds that have some: {present}. Annotate that round or let fewer rounds count."
        )
    return [path for number in sorted(logs) if number <= last_round for path in logs[number]]


def latest_round(annotations: Path) -> int:
    """Number of the latest round that has a folder, or 1 where there is none yet."""
    found = [_ROUND_FOLDER.fullmatch(path.name) for path in annotations.glob("round_*") if path.is_dir()]
    return max((int(match[1]) for match in found if match), default=1)


def owner(path: Path) -> tuple[int, str]:
    """The round and the annotator that a log's path names.

    Raises:
        DataError: If it lies in no folder of a round.
    """
    match = _ROUND_FOLDER.fullmatch(path.parent.name)
    if not match:
        raise DataError(f"{path}: expected a log in a folder round_1, round_2, …, got {path.parent.name!a}.")
    return int(match[1]), path.stem


def check_owner(answer: Answer, log: tuple[int, str], where: str) -> None:
    """Hold an answer against the ``owner`` of a log.

    Raises:
        DataError: If it is another annotator's or another round's.
    """
    round_number, annotator = log
    if answer.round != round_number:
        raise DataError(
            f'{where}: expected "round" {round_number}, as the folder says, got {answer.round}. '
            "Move the line to its round's folder or correct it."
        )
    if answer.annotator != annotator:
        raise DataError(f'{where}: expected "annotator" {annotator!a}, as the file is named, got {answer.annotator!a}.')
