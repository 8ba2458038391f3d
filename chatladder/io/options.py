"""Settings written once: a dataclass whose fields carry help and range, and a command's options made from it.

Example:
    @dataclass(frozen=True)
    class Reach:
        window: int = setting("Turns before a question to keep.", least=0)

    @click.command()
    @options_of(Reach, "reach")
    def main(reach: Reach) -> None: ...

DVC unpacks a section of params.yaml into these options, so the fields are named after its keys.
"""

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def setting(
    help: str,
    *,
    default: Any = dataclasses.MISSING,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: Sequence[str] = (),
    type: "click.ParamType[Any] | None" = None,
    parse: Callable[[Any], Any] | None = None,
    names: Sequence[str] = (),
    metavar: str | None = None,
) -> Any:
    """Return a dataclass field from which an option is made.

    Args:
        help: A sentence with the unit, as --help shows it.
        default: The default value; a field without one is required.
        least: The smallest value.
        most: The largest value.
        above: The value that it must exceed, in place of ``least``.
        below: The value that it must stay below, in place of ``most``.
        choices: The only values.
        type: A click type, if the field's Python type does not suffice.
        parse: Converts the option's value to the field's; it raises ``click.BadParameter`` to refuse a value.
        names: The option's names, if they differ from the field's.
        metavar: The placeholder of the value in --help.
    """
    metadata = {
        "help": help, "range": (least, most, above, below), "choices": choices, "type": type, "parse": parse,
        "names": names, "metavar": metavar,
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=metadata)


def options_of(
    settings: type, argument: str, *, partial: bool = False, only: Collection[str] | None = None
) -> Callable[[Command], Command]:
    """Give a command an option for each field of a dataclass, in the order of the fields.

    Args:
        settings: A dataclass whose fields were made by ``setting``.
        argument: The name of the command's argument that takes the settings.
        partial: True if the argument is a mapping of only the options that were given, for ``complete``, and none is
            required.
        only: Names of the fields that become options, for a command that leaves the others at their defaults; None for
            all.
    """
    kinds = get_type_hints(settings)
    fields = [each for each in dataclasses.fields(settings) if each.metadata and (only is None or each.name in only)]

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def run(*args: Any, **values: Any) -> Any:
            own = {each.name: values.pop(each.name) for each in fields}
            if partial:
                own = {name: value for name, value in own.items() if value not in (None, ())}
            return command(*args, **values, **{argument: own if partial else settings(**own)})

        for each in reversed(fields):
            click.option(*_names(each, kinds[each.name]), **_attributes(each, kinds[each.name], partial))(run)
        return run  # type: ignore[return-value]

    return decorate


def complete(settings: type, given: Mapping[str, Any], whose: str) -> Any:
    """Return the settings from a partial mapping, with defaults for missing fields.

    Raises:
        click.UsageError: If a field without a default is missing.
    """
    fields = [each for each in dataclasses.fields(settings) if each.metadata]
    missing = [each for each in fields if each.default is dataclasses.MISSING and each.name not in given]
    if missing:
        lacking = ", ".join(f"--{each.name.replace('_', '-')}" for each in missing)
        raise click.UsageError(f"{whose} needs {lacking} too.")
    return settings(**{each.name: given[each.name] for each in fields if each.name in given})


def _names(field: "dataclasses.Field[Any]", kind: Any) -> list[str]:
    name = field.name.replace("_", "-")
    names = list(field.metadata["names"]) or [f"--{name}/--no-{name}" if kind is bool else f"--{name}"]
    return [*names, field.name]


def _attributes(field: "dataclasses.Field[Any]", kind: Any, partial: bool) -> dict[str, Any]:
    said = field.metadata
    is_required = field.default is dataclasses.MISSING
    attributes: dict[str, Any] = {"help": said["help"], "metavar": said["metavar"]}
    if get_origin(kind) is UnionType:
        kind = next(each for each in get_args(kind) if each is not type(None))
    if get_origin(kind) is tuple and said["parse"] is None:
        kind = get_args(kind)[0]
        attributes["multiple"] = True
    if kind is not bool:
        attributes["type"] = _type(kind, said)
    if said["parse"] is not None:
        attributes["callback"] = lambda _context, _option, value: None if value is None else said["parse"](value)
    if partial:
        return attributes | {"default": None}
    if is_required:
        return attributes | {"required": True}
    is_shown = field.default not in (None, "", (), False)
    return attributes | {"default": field.default, "show_default": is_shown}


def _type(kind: Any, said: Mapping[str, Any]) -> Any:
    if said["type"] is not None:
        return said["type"]
    if said["choices"]:
        return click.Choice(said["choices"])
    least, most, above, below = said["range"]
    if kind in (int, float) and said["range"] != (None, None, None, None):
        ranges = {int: click.IntRange, float: click.FloatRange}
        return ranges[kind](
            min=least if above is None else above,
            max=most if below is None else below,
            min_open=above is not None,
            max_open=below is not None,
        )
    return {int: int, float: float, Path: click.Path(path_type=Path)}.get(kind, str)
