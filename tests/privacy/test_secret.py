"""The local secret: made once, for its owner alone, never shown."""

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from chatladder.io.console import DataError
from chatladder.privacy.pseudonyms import Pseudonyms
from chatladder.privacy.secret import KEY_FILE, KEY_VARIABLE, create, local_key, secret_command


@pytest.fixture(autouse=True)
def _empty_folder(monkeypatch, tmp_path):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)


def test_without_a_secret_there_is_none():
    assert local_key() is None


def test_a_new_secret_is_long_random_and_its_owners_alone(tmp_path):
    key = create().read_text(encoding="utf-8").strip()
    assert local_key() == key
    assert len(key) == 64
    assert key != create(tmp_path / "other").read_text(encoding="utf-8").strip()
    assert stat.S_IMODE(KEY_FILE.stat().st_mode) == 0o600
    assert (KEY_FILE.parent / ".gitignore").read_text(encoding="utf-8") == "*\n"
    assert not Pseudonyms().is_demo
    assert Pseudonyms().person("a") == Pseudonyms(key).person("a")


def test_the_environment_goes_before_the_file(monkeypatch):
    create()
    monkeypatch.setenv(KEY_VARIABLE, "sixteen letters!")
    assert local_key() == "sixteen letters!"


@pytest.mark.parametrize("key", ["a", "fifteen letters"])
def test_a_short_secret_is_refused_and_not_shown(monkeypatch, key):
    KEY_FILE.parent.mkdir()
    KEY_FILE.write_text(key, encoding="utf-8")
    with pytest.raises(DataError, match=rf"privacy_key: expected a secret of at least 16 characters, got {len(key)}"):
        local_key()
    monkeypatch.setenv(KEY_VARIABLE, key)
    with pytest.raises(DataError, match="environment variable") as error:
        Pseudonyms()
    assert "fifteen" not in error.value.message


def test_a_damaged_file_is_refused():
    KEY_FILE.parent.mkdir()
    KEY_FILE.write_bytes(b"\xff" * 40)
    with pytest.raises(DataError, match="cannot be read: not UTF-8"):
        local_key()


def test_the_command_makes_it_once_and_never_prints_it():
    result = CliRunner().invoke(secret_command, [])
    key = Path(".chatladder/privacy_key").read_text(encoding="utf-8").strip()
    assert result.exit_code == 0, result.output
    assert "privacy_key" in result.output
    assert "never commit" in result.output
    again = CliRunner().invoke(secret_command, [])
    assert again.exit_code == 1
    assert "expected no secret yet" in again.output
    assert key not in result.output + again.output
    assert local_key() == key


def test_the_command_says_that_the_environment_goes_first(monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "sixteen letters!")
    result = CliRunner().invoke(secret_command, [])
    assert f"{KEY_VARIABLE} is set" in result.output
    assert "sixteen" not in result.output


def test_a_folder_that_cannot_be_written_is_an_error_with_its_name():
    Path(".chatladder").write_text("a file", encoding="utf-8")
    with pytest.raises(DataError, match="privacy_key: cannot be written"):
        create()
