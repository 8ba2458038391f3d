r"""Import questions that were labelled elsewhere, as questions and an annotation log of this project.

Example:
    chatladder import labelled.jsonl --out imported --only-with-history
    python -m stages.label --questions imported/questions.parquet --annotations imported/annotations \
        --round 1 --validation 0.05 --test 0.25 --out imported/labelled.parquet --metrics imported/counts.json

A line is ``{"id", "history": [{"sender", "text", "timestamp"}], "sender", "text", "needs_context": bool}``,
history oldest first. ``timestamp`` (UTC seconds or null), ``conversation`` of the question and its ``rewrite``, which
counts if the question is needed, are optional; other fields are ignored. The default conversation is the id up to its
last ``:`` or ``_``: ``camrest:354_1`` belongs to ``camrest:354``.

The rules are those of ingest: senders become pseudonyms under the key of the project, in texts too, and personal data
is masked. Ids and conversations become 16 hex digits under the same key, and the file's name is not stored. Values that
have that form in every line, as in questions that this project made, stay as they are, since answers elsewhere refer to
them. Anything else requires a key of your own ("chatladder secret", or CHATLADDER_PRIVACY_KEY).
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
from tqdm import tqdm

from chatladder.chat.message import valid_text
from chatladder.chat.options import MaskingOptions
from chatladder.io.console import SETTINGS, DataError, InputFile, InputFolder, OutputFolder, example
from chatladder.io.files import read_jsonl, whole_folder
from chatladder.io.options import options_of, setting
from chatladder.io.rows import PSEUDONYM, QUESTIONS, write_rows
from chatladder.labels.answer import Answer, Label, now
from chatladder.labels.log import create
from chatladder.labels.rewrites import one_line
from chatladder.labels.rounds import log_path
from chatladder.privacy.masking import mask
from chatladder.privacy.names import Names
from chatladder.privacy.pseudonyms import ASSISTANT, Pseudonyms
from chatladder.privacy.secret import key_needed
from chatladder.vocabulary import NEGATIVE, POSITIVE, need_two_labels

#: The annotator of the imported labels, and the group of all questions.
ANNOTATOR = GROUP = "imported"
#: Milliseconds would be beyond this many seconds (the year 5138).
_LATEST = 10**11
_OPAQUE_ID = re.compile(r"[0-9a-f]{16}")
_PSEUDONYM = re.compile(PSEUDONYM)


@dataclass(frozen=True, kw_only=True)
class ImportOptions(MaskingOptions):
    """The options of import."""

    out: Path = setting("New folder for questions and annotations.", type=OutputFolder)
    only_with_history: bool = setting("Leave out questions that have no history.", default=False)
    names: Path | None = setting("Folder of *.deny and *.keep files, as in data/raw.", type=InputFolder, default=None)


class Imported(NamedTuple):
    """One labelled question: a row as in ``questions.parquet``, its label, and its rewrite if it is needed."""

    question: dict[str, Any]
    label: Label
    rewrite: str | None


def conversation_of(item_id: str) -> str:
    """Return an id up to its last ``:`` or ``_``, or all of it if it has neither."""
    return item_id[: max(item_id.rfind(":"), item_id.rfind("_"))] if re.search(r".[:_]", item_id) else item_id


def read_labelled(path: Path) -> list[Imported]:
    """Read labelled questions, with the names, ids and texts as they are in the file.

    Raises:
        DataError: At the first line with a field missing or of another type, or with an id used before.
    """
    rows: list[Imported] = []
    lines: dict[str, int] = {}
    for number, row in read_jsonl(path):
        where = f"{path}:{number}"
        imported = _imported(row, where)
        first = lines.setdefault(imported.question["item_id"], number)
        if first != number:
            raise DataError(f'{where}: expected an "id" not used before, got the one of line {first}.')
        rows.append(imported)
    if not rows:
        raise DataError(f"{path}: expected labelled questions, one JSON object a line; the file is empty.")
    return rows


def _imported(row: Mapping[str, Any], where: str) -> Imported:
    item_id = _text(row, "id", where)
    needed, history = row.get("needs_context"), row.get("history")
    if not isinstance(needed, bool):
        raise DataError(f'{where}: expected "needs_context" to be true or false, got {type(needed).__name__}.')
    if not isinstance(history, list) or not all(isinstance(turn, dict) for turn in history):
        raise DataError(f'{where}: expected "history" to be a list of objects, got {type(history).__name__}.')
    conversation = _text(row, "conversation", where) if "conversation" in row else conversation_of(item_id)
    window = [_turn(turn, where, may_be_empty=True) for turn in history]
    ids = {"item_id": item_id, "turn_id": item_id, "group": GROUP, "conversation": conversation}
    rewrite = None if row.get("rewrite") is None else one_line(_text(row, "rewrite", where, may_be_empty=True))
    question = {**ids, **_turn(row, where), "window": window}
    return Imported(question, Label(POSITIVE if needed else NEGATIVE), rewrite or None if needed else None)


def _turn(row: Mapping[str, Any], where: str, *, may_be_empty: bool = False) -> dict[str, Any]:
    at = row.get("timestamp")
    if at is not None and type(at) is not int:
        raise DataError(
            f'{where}: expected "timestamp" in UTC seconds, a whole number or null, got {type(at).__name__}.'
        )
    if at is not None and abs(at) > _LATEST:
        raise DataError(f'{where}: expected "timestamp" in seconds, got a larger number: milliseconds? Divide by 1000.')
    text = _text(row, "text", where, may_be_empty=may_be_empty)
    return {"sender": _text(row, "sender", where), "text": text, "timestamp": at}


def _text(row: Mapping[str, Any], field: str, where: str, *, may_be_empty: bool = False) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not (value or may_be_empty):
        raise DataError(f'{where}: expected "{field}" to be text, got {type(value).__name__} or nothing.')
    return valid_text(value)[0]


def hide(
    rows: Sequence[Imported],
    pseudonyms: Pseudonyms,
    *,
    deny: Iterable[str] = (),
    keep: Iterable[str] = (),
    phone_regions: tuple[str, ...] = (),
) -> list[Imported]:
    """Return the rows without anything that identifies a person, by the rules of ingest.

    Args:
        rows: The result of ``read_labelled``.
        pseudonyms: Pseudonyms under the key of the project.
        deny: Words that are masked in every text.
        keep: Senders' names that are words, and stay.
        phone_regions: Countries (ISO 3166) whose phone numbers count without their +, too.

    Raises:
        DataError: If there is something to hide and the key is the public one.
    """
    questions = [row.question for row in rows]
    turns = [turn for question in questions for turn in (question, *question["window"])]
    senders = {turn["sender"] for turn in turns} - {ASSISTANT}
    person = _unless_opaque(pseudonyms.person, senders, _PSEUDONYM)
    item, conversation = (
        _unless_opaque(partial(pseudonyms.digits, name), {question[name] for question in questions}, _OPAQUE_ID)
        for name in ("item_id", "conversation")
    )
    if pseudonyms.is_demo and not (person is item is conversation is str):
        raise key_needed("the questions hold senders or ids that are not pseudonyms yet")
    names = Names(pseudonyms, deny, keep)
    if person is not str:
        for sender in sorted(senders):
            names.know(sender)
    replace = names.replacer()
    counts: Counter[str] = Counter()

    def hidden_text(text: str) -> str:
        return replace(mask(text, counts, phone_regions), counts)

    def hidden(turn: Mapping[str, Any]) -> dict[str, Any]:
        return {**turn, "sender": person(turn["sender"]), "text": hidden_text(turn["text"])}

    def hidden_question(question: Mapping[str, Any]) -> dict[str, Any]:
        id_ = item(question["item_id"])
        ids = {"item_id": id_, "turn_id": id_, "conversation": conversation(question["conversation"])}
        return {**hidden(question), **ids, "window": [hidden(turn) for turn in question["window"]]}

    return [
        Imported(hidden_question(question), label, hidden_text(rewrite) if rewrite else None)
        for question, label, rewrite in tqdm(rows, unit="row", disable=None)
    ]


def _unless_opaque(
    hidden: Callable[[str], str], values: Collection[str], form: re.Pattern[str]
) -> Callable[[str], str]:
    """Return ``hidden``, or ``str`` if all of a file's values are hidden already: one alone can match by chance.

    Numbers of as many digits match, too, and may be anything.
    """
    is_number = bool(values) and all(value.lstrip("u").isdigit() for value in values)
    is_opaque = all(map(form.fullmatch, values)) and not is_number
    return str if is_opaque else hidden


def import_labelled(source: Path, options: ImportOptions) -> dict[str, int]:
    """Write ``questions.parquet`` and ``annotations/round_1/imported.jsonl`` into a new folder.

    Args:
        source: JSON lines of labelled questions.
        options: The command's options.

    Returns:
        Counts: ``questions``, ``needed``, ``conversations`` and ``without_history`` (left out).

    Raises:
        DataError: If a line cannot be used, nothing is left, ``out`` holds something, or the key is the public one.
    """
    from chatladder.chat.exports import listed_names
    from chatladder.chat.file_names import DENY, KEEP

    out = options.out
    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out}: expected a new or empty folder; annotations are never overwritten. Name another.")
    everything = read_labelled(source)
    rows = [row for row in everything if row.question["window"] or not options.only_with_history]
    if not rows:
        raise DataError(f"{source}: expected questions with a history, all {len(everything)} have none.")
    deny, keep = (listed_names(options.names, suffix) if options.names else () for suffix in (DENY, KEEP))
    hidden = hide(rows, Pseudonyms(), deny=deny, keep=keep, phone_regions=options.phone_region)
    at = now()
    answers = [Answer(row.question["item_id"], ANNOTATOR, 1, row.label, at, rewrite=row.rewrite) for row in hidden]
    with whole_folder(out) as folder:
        write_rows(folder / "questions.parquet", [row.question for row in hidden], QUESTIONS)
        create(log_path(folder / "annotations", 1, ANNOTATOR), answers)
    return {
        "questions": len(hidden),
        "needed": sum(row.label == POSITIVE for row in hidden),
        "conversations": len({row.question["conversation"] for row in hidden}),
        "without_history": len(everything) - len(hidden),
    }


@click.command("import", context_settings=SETTINGS, epilog=example(__doc__))
@click.argument("source", metavar="FILE", type=InputFile)
@options_of(ImportOptions, "options")
def import_command(source: Path, options: ImportOptions) -> None:
    """Import questions labelled elsewhere (JSON lines) as questions and an annotation log."""
    need_two_labels("chatladder import")
    counts = import_labelled(source, options)
    left_out = f", {counts['without_history']:,} without history left out" if options.only_with_history else ""
    click.echo(
        f"{options.out}: {counts['questions']:,} questions ({counts['needed']:,} needed) of "
        f"{counts['conversations']:,} conversations{left_out}"
    )


if __name__ == "__main__":
    import_command()
