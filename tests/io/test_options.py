"""Options of a command are made from the fields of a dataclass."""

from dataclasses import dataclass

import click
import pytest
from click.testing import CliRunner

from chatladder.io.console import SETTINGS
from chatladder.io.options import complete, options_of, setting


@dataclass(frozen=True)
class Reach:
    window: int = setting("Turns to keep.", least=0)
    share: float = setting("A share.", above=0, most=1, default=0.5)
    join: str = setting("Who must agree.", choices=("all", "most"), default="all")
    strict: bool = setting("Refuse what is odd.", default=False)
    layers: tuple[str, ...] = setting("Names.", parse=lambda text: tuple(text.split(",")), default="a,b")
    judge: tuple[str, ...] = setting("Repeat it.", default=())
    limit: int | None = setting("No limit if left out.", default=None)


def run(*arguments, partial=False):
    taken = []

    @click.command(context_settings=SETTINGS)
    @click.option("--out")
    @options_of(Reach, "reach", partial=partial)
    def main(out, reach):
        taken.append(reach)

    return CliRunner().invoke(main, arguments), taken


def test_values_reach_the_dataclass_with_their_types():
    result, taken = run("--window", "3", "--share", "0.25", "--strict", "--judge", "a", "--judge", "b", "--layers", "x")
    assert result.exit_code == 0, result.output
    assert taken == [Reach(3, 0.25, "all", True, ("x",), ("a", "b"), None)]


def test_a_default_is_taken_and_parsed():
    assert run("--window", "0")[1] == [Reach(0, 0.5, "all", False, ("a", "b"), (), None)]


@pytest.mark.parametrize(
    "arguments",
    [(), ("--window", "-1"), ("--window", "1", "--share", "0"), ("--window", "1", "--join", "some")],
)
def test_what_is_missing_or_out_of_range_is_refused(arguments):
    result, taken = run(*arguments)
    assert (result.exit_code, taken) == (2, [])


def test_help_shows_range_and_default():
    help_text = run("--help")[0].output
    assert "0<x<=1" in help_text
    assert "[default: 0.5" in help_text


def test_settings_of_one_kind_among_several_are_completed_later():
    result, taken = run("--share", "0.1", partial=True)
    assert (result.exit_code, taken) == (0, [{"share": 0.1}])
    with pytest.raises(click.UsageError, match="a judge of this kind needs --window too"):
        complete(Reach, {"share": 0.1}, "a judge of this kind")
    assert complete(Reach, {"window": 1}, "a judge").share == 0.5
