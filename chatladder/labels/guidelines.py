"""Which wording of the guidelines a round follows."""

from hashlib import sha256
from pathlib import Path

from chatladder.io.console import DataError
from chatladder.io.files import create_json, read_json, write_json

#: What the labels mean, unless --guidelines names another text.
GUIDELINES = Path(__file__).with_name("guidelines.md")
#: Beside the logs of a round.
FILE = "guidelines.json"


def read_guidelines(path: Path) -> str:
    """The text of the guidelines.

    Raises:
        DataError: If it cannot be read or is empty.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected the guidelines as UTF-8 text: {error}.") from error
    if not text.strip():
        raise DataError(f"{path}: expected the guidelines, got an empty file.")
    return text


def version_of(text: str) -> str:
    """Names a wording: the first 12 hexadecimal digits of its SHA-256 (line ends count as newlines)."""
    return sha256(text.encode("utf-8")).hexdigest()[:12]


def settle(folder: Path, file: Path, version: str, *, allow_changed: bool) -> None:
    """Record which wording a round follows, once; later runs are held against it.

    ``guidelines.json`` is ``{"version", "file"}``; wordings let in later are added as ``"changed_to"``.

    Args:
        folder: ``round_<n>``.
        file: Where the guidelines are.
        version: Of their wording now.
        allow_changed: Let a round go on under another wording, and record that it did.

    Raises:
        DataError: If the round began under another wording and that is not allowed, or the record is damaged.
    """
    path = folder / FILE
    if not path.exists() and create_json(path, {"version": version, "file": file.name}):
        return
    row = read_json(path)
    changed = row.get("changed_to", []) if isinstance(row, dict) else None
    if not isinstance(changed, list) or not isinstance(row.get("version"), str):
        raise DataError(f'{path}: expected {{"version", "file"}}. Restore it.')
    if version in (row["version"], *changed):
        return
    if not allow_changed:
        raise DataError(
            f"{path}: this round follows guidelines {row['version'][:12]!a}, but {file} is now {version}. "
            "Answers under two wordings do not compare: begin another --round, bring the earlier wording back, "
            "or go on with --allow-changed-guidelines, which is recorded."
        )
    write_json(path, {**row, "changed_to": [*changed, version]}, answers=True)
