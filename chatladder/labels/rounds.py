"""The paths of the logs: ``round_<n>/<annotator>.jsonl``, and ``round_<n>/adjudication/<adjudicator>.jsonl``."""

import re
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from chatladder.io.console import DataError
from chatladder.io.files import ROUND_FOLDER
from chatladder.labels.answer import Answer

#: The folder of adjudications within a round's folder.
ADJUDICATION = "adjudication"
#: Names that are safe as file names on every system: letters of any script, digits, dot, dash, underscore.
_NAME = re.compile(r"\w[\w.-]*")


class Owner(NamedTuple):
    """The person and round of a log, as its path gives them.

    Attributes:
        round: The round of the answers; for an adjudicator, the round that is adjudicated.
        name: The annotator's or adjudicator's name.
        does: The verb for their work: "annotates" or "adjudicates".
    """

    round: int
    name: str
    does: str


def log_path(annotations: Path, round_number: int, annotator: str) -> Path:
    """Return the log of one annotator in one round.

    Raises:
        DataError: If the round is below 1 or the annotator's name cannot be a file's name.
    """
    return _path(annotations / f"round_{round_number}", annotator, "annotator")


def adjudication_path(annotations: Path, round_number: int, adjudicator: str) -> Path:
    """Return the log of one adjudicator about one round.

    Raises:
        DataError: If the round is below 1 or the adjudicator's name cannot be a file's name.
    """
    return _path(annotations / f"round_{round_number}" / ADJUDICATION, adjudicator, "adjudicator")


def _path(folder: Path, name: str, who: str) -> Path:
    path = folder / f"{name}.jsonl"
    if not _NAME.fullmatch(name):
        raise DataError(
            f"{who} {name!a}: expected letters, digits, dots, dashes and underscores, "
            "beginning with none of the dots and dashes, since it names a file."
        )
    owner(path)
    return path


def log_files(annotations: Path, last_round: int) -> list[Path]:
    """Return every annotator's log of rounds 1 to ``last_round``, by round, then by name.

    Raises:
        DataError: If ``last_round`` has no log, answers lie outside a round's folder, or a log is empty.
    """
    logs = _logs(annotations)
    if not logs.get(last_round):
        present = ", ".join(str(number) for number in logs if logs[number]) or "none"
        raise DataError(
            f"{annotations}: expected answers of round {last_round} in round_{last_round}/<annotator>.jsonl; "
            f"rounds that have some: {present}. Annotate that round or let fewer rounds count."
        )
    return [path for number in logs if number <= last_round for path in logs[number]]


def adjudication_files(annotations: Path, last_round: int) -> list[Path]:
    """Return every adjudicator's log of rounds 1 to ``last_round``, by round, then by name.

    Raises:
        DataError: If answers lie outside a round's folder, or a log is empty.
    """
    logs = _logs(annotations, ADJUDICATION)
    return [path for number in logs if number <= last_round for path in logs[number]]


def round_folders(annotations: Path) -> dict[int, Path]:
    """Return the folder of each round by number, in order; none if there are no annotations.

    Raises:
        DataError: If answers lie outside a round's folder.
    """
    rounds: dict[int, Path] = {}
    for entry in sorted(annotations.iterdir()) if annotations.is_dir() else ():
        match = ROUND_FOLDER.fullmatch(entry.name)
        if match and entry.is_dir():
            rounds[int(match[1])] = entry
        elif (entry.is_dir() or entry.suffix == ".jsonl") and not entry.name.startswith("."):
            raise DataError(
                f"{entry}: expected only folders round_1, round_2, … here, with <annotator>.jsonl in them. "
                "Move or rename it."
            )
    return dict(sorted(rounds.items()))


def _logs(annotations: Path, within: str = "") -> dict[int, list[Path]]:
    """Return the logs of each round by name, from its folder or the folder ``within`` it; a round may have none.

    Raises:
        DataError: If answers lie outside a round's folder, or a log is empty.
    """
    folders = round_folders(annotations)
    logs = {number: sorted((folder / within).glob("[!.]*.jsonl")) for number, folder in folders.items()}
    for path in chain.from_iterable(logs.values()):
        check_log(path)
    return logs


def every_log(annotations: Path) -> list[Path]:
    """Return the logs of all rounds, annotators' and adjudicators'.

    Raises:
        DataError: If answers lie outside a round's folder, or a log is empty.
    """
    given, settled = _logs(annotations), _logs(annotations, ADJUDICATION)
    return [path for number in given for path in (*given[number], *settled[number])]


def check_log(path: Path) -> None:
    """Refuse a log that lost its answers: no log is ever written without one.

    Raises:
        DataError: If it is empty or not a file.
    """
    if not path.is_file():
        raise DataError(f"{path}: expected a file of answers, got a folder or a broken link. Move or rename it.")
    if not path.stat().st_size:
        raise lost(path)


def lost(path: Path) -> DataError:
    """Return the error for a log without an answer."""
    return DataError(
        f"{path}: expected answers, got none: the file is empty, though a log is only written with its first answer. "
        "Restore it from git or a backup; remove it if nothing was ever answered."
    )


def latest_answered(annotations: Path) -> int:
    """Return the number of the latest round in which an annotator answered anything, or 0 if none did.

    Raises:
        DataError: If answers lie outside a round's folder, or a log is empty.
    """
    logs = _logs(annotations)
    return max((number for number, paths in logs.items() if paths), default=0)


def owner(path: Path) -> Owner:
    """Return the person and round of a log, from its path.

    Raises:
        DataError: If it is not in a round's folder.
    """
    is_adjudication = path.parent.name == ADJUDICATION
    folder = path.parent.parent if is_adjudication else path.parent
    match = ROUND_FOLDER.fullmatch(folder.name)
    if not match:
        raise DataError(f"{path}: expected a log in a folder round_1, round_2, …, got {folder.name!a}.")
    return Owner(int(match[1]), path.stem, "adjudicates" if is_adjudication else "annotates")


def check_owner(answer: Answer, log: Owner, where: str) -> None:
    """Check an answer against the ``owner`` of its log.

    Raises:
        DataError: If it is another annotator's or another round's.
    """
    if answer.round != log.round:
        raise DataError(
            f'{where}: expected "round" {log.round}, as the folder says, got {answer.round}. '
            "Move the line to its round's folder or correct it."
        )
    if answer.annotator != log.name:
        raise DataError(f'{where}: expected "annotator" {log.name!a}, as the file is named, got {answer.annotator!a}.')
