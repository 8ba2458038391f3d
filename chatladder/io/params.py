"""Sections of params.yaml, for commands to which DVC cannot pass them as options."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chatladder.io.console import SETTINGS, DataError
from chatladder.io.options import options_of

if TYPE_CHECKING:
    from ruamel.yaml.comments import CommentedMap


#: The file, in the project's folder.
PARAMS = Path("params.yaml")


def round_trip() -> Any:
    """Return a YAML reader and writer that preserves comments, order, quotes and the form of numbers."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 10**6
    return yaml


def not_yaml(path: Path, error: Exception) -> DataError:
    """Return the error for a file that a YAML reader refused, with the line if the reader names it."""
    mark = getattr(error, "problem_mark", None)
    place = f"{path}:{mark.line + 1}" if mark else path
    return DataError(f"{place}: expected YAML: {getattr(error, 'problem', None) or error}.")


def read_yaml(path: Path) -> "CommentedMap":
    """Return the sections of a YAML file, as ``round_trip`` reads them.

    Raises:
        DataError: If it cannot be read, is not UTF-8, or is not YAML with sections.
    """
    from ruamel.yaml.comments import CommentedMap
    from ruamel.yaml.error import YAMLError

    try:
        content = round_trip().load(path.read_bytes().decode("utf-8").replace("\r\n", "\n"))
        json.dumps(content, default=str, skipkeys=True)  # refuses a value that contains itself
    except FileNotFoundError as error:
        raise DataError(f"{path}: expected here, got nothing. Run in the project's folder.") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8, got byte 0x{error.object[error.start]:02x}.") from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise not_yaml(path, error) from error
    if not isinstance(content, CommentedMap):
        raise DataError(f"{path}: expected sections, such as ladder, got none.")
    return content


def section_of(content: Mapping[str, Any], name: str, place: Path | str) -> Any:
    """Return a section of the content of params.yaml.

    Args:
        content: The whole content, or a parent section.
        name: The section's dotted name, such as ``ladder.small.train``.
        place: The file, for errors.

    Raises:
        DataError: If the section does not exist.
    """
    section: Any = content
    parts = name.split(".")
    for depth, part in enumerate(parts, start=1):
        if not isinstance(section, dict) or part not in section:
            known = f"; it has {', '.join(map(str, section))}" if isinstance(section, dict) and depth > 1 else ""
            above = ".".join(parts[: depth - 1])
            raise DataError(f"{place}: expected the section {name}, got no {part} in {above or 'the file'}{known}.")
        section = section[part]
    if not isinstance(section, dict):
        raise DataError(f"{place}: {name}: expected a section of names and values, got {section!a}.")
    return section


def read_section(path: Path, name: str) -> dict[str, Any]:
    """Return a section of params.yaml by its dotted name.

    Raises:
        DataError: If the file is not YAML, or lacks the section.
    """
    section: dict[str, Any] = section_of(read_yaml(path), name, path)
    return section


def read_settings(settings: type, path: Path, *names: str, **given: Any) -> Any:
    """Return a dataclass of settings from sections of params.yaml, checked as a command's options are.

    Args:
        settings: A dataclass whose fields were made by ``setting``.
        path: The file.
        names: Dotted names of sections; a later section overrides an earlier one.
        given: Values that are in none of the sections.

    Raises:
        DataError: If a section is missing, or a value is missing, unknown or out of range.
    """
    content = read_yaml(path)
    values = {name: value for section in names for name, value in section_of(content, section, path).items()} | given

    @click.command(context_settings=SETTINGS, add_help_option=False)
    @options_of(settings, "filled")
    def fill(filled: Any) -> Any:
        return filled

    try:
        return fill.main(
            [each for name, value in values.items() for each in _options(name, value)], standalone_mode=False
        )
    except click.UsageError as error:
        raise DataError(f"{path}: {', '.join(names)}: {error.format_message()}") from error


def _options(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    return [f"--{name}={each}" for each in (value if isinstance(value, list) else [value])]
