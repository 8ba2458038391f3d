"""Sections of params.yaml are read with the file's and the section's name in every error."""

from dataclasses import dataclass

import pytest

from chatladder.io.console import DataError
from chatladder.io.options import setting
from chatladder.io.params import read_section, read_settings

PARAMS = """\
train: {learning_rate: 4.0e-3, packing: true}
ladder:
  small: {train: {learning_rate: 2.0e-3, packing: false}}
  large: {train: {}}
  other: {train: 3}
"""


@dataclass(frozen=True)
class Training:
    learning_rate: float = setting("A rate.", above=0, most=1)
    packing: bool = setting("Pack.", default=False)
    max_length: int = setting("Tokens.", least=64, default=100)


@pytest.fixture
def params(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS)
    return path


def test_a_section_is_found_by_its_dotted_name(params):
    assert read_section(params, "ladder.small.train") == {"learning_rate": 2.0e-3, "packing": False}
    assert read_section(params, "ladder.large.train") == {}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("review", "expected the section review, got no review in the file."),
        (
            "ladder.big.train",
            "section ladder.big.train, got no big in ladder; it has small, large, other.",
        ),
        ("ladder.other.train", "ladder.other.train: expected a section of names and values, got 3."),
        ("ladder.other.train.seed", "got no seed in ladder.other.train."),
    ],
)
def test_a_section_that_is_not_there_is_named(params, name, message):
    with pytest.raises(DataError) as raised:
        read_section(params, name)
    assert raised.value.message.startswith(f"{params}: ")
    assert raised.value.message.endswith(message)


@pytest.mark.parametrize("text", ["train: [", "train: {a: 1, a: 2}", "&x [*x]", "\x00"])
def test_a_file_that_is_no_yaml_is_named(params, text):
    params.write_text(text)
    with pytest.raises(DataError, match=r"params\.yaml.*: expected "):
        read_section(params, "train")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="expected here, got nothing"):
        read_section(tmp_path / "none.yaml", "train")


def test_a_rungs_own_values_replace_the_defaults(params):
    assert read_settings(Training, params, "train", "ladder.large.train") == Training(4.0e-3, True, 100)
    own = read_settings(Training, params, "train", "ladder.small.train", max_length=64)
    assert own == Training(2.0e-3, False, 64)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{learning_rate: 2}", "Invalid value for '--learning-rate': 2.0 is not in the range 0<x<=1."),
        ("{learning_rate: fast}", "Invalid value for '--learning-rate': 'fast' is not a valid float range."),
        ("{learning_rate: 0.1, rank: 3}", "No such option"),
        ("{packing: true}", "Missing option '--learning-rate'"),
        ("{learning_rate: 0.1, help: true}", "No such option"),
    ],
)
def test_values_are_checked_as_options_are(params, section, message):
    params.write_text(f"train: {section}\n")
    with pytest.raises(DataError) as raised:
        read_settings(Training, params, "train")
    assert raised.value.message.startswith(f"{params}: train: {message}")


def test_a_list_gives_a_tuple(tmp_path):
    @dataclass(frozen=True)
    class Columns:
        column: tuple[str, ...] = setting("A column.", default=())

    path = tmp_path / "params.yaml"
    path.write_text("ingest: {column: [a=b, c=d]}\nnone: {column: []}\n")
    assert read_settings(Columns, path, "ingest") == Columns(("a=b", "c=d"))
    assert read_settings(Columns, path, "none") == Columns(())
