"""Pseudonyms: the same under one key, unrelated under another, and never one for two people."""

import re

import pytest

from chatladder.io.console import DataError
from chatladder.privacy.pseudonyms import Pseudonyms
from chatladder.privacy.secret import DEMO_GROUP, KEY_VARIABLE, check_private

SECRET = "a secret of enough characters"
#: Found by search: HMAC-SHA256(b"key", ...) starts with the same 32 bits for both.
COLLIDING = ("person 8537", "person 32858")


@pytest.fixture(autouse=True)
def _without_local_secret(monkeypatch, tmp_path):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)


def test_one_name_is_one_pseudonym_under_one_key():
    first, second = Pseudonyms("secret"), Pseudonyms("secret")
    assert re.fullmatch("u[0-9a-f]{8}", first.person("wxid_a"))
    assert first.person("wxid_a") == first.person("wxid_a") == second.person("wxid_a")
    assert first.person("wxid_a") != first.person("wxid_b")
    assert first.person("wxid_a") != Pseudonyms("other").person("wxid_a")
    assert re.fullmatch("g[0-9a-f]{8}", first.group("1@chatroom"))


def test_known_value_so_that_ids_never_change_by_accident():
    # HMAC-SHA256(b"key", b"name"), by openssl dgst -sha256 -hmac key
    assert Pseudonyms("key").person("name") == "u052e4a06"


def test_the_key_comes_from_the_environment(monkeypatch):
    demo = Pseudonyms()
    assert demo.is_demo
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    assert not Pseudonyms().is_demo
    assert Pseudonyms().person("a") == Pseudonyms(SECRET).person("a") != demo.person("a")


def test_the_assistant_keeps_its_name_and_half_characters_do_no_harm():
    assert Pseudonyms("secret").person("assistant") == "assistant"
    assert Pseudonyms("secret").person("\ud83d").startswith("u")


def test_two_people_never_share_a_pseudonym():
    pseudonyms = Pseudonyms("key")
    first, second = pseudonyms.person(COLLIDING[0]), pseudonyms.person(COLLIDING[1])
    assert first == pseudonyms.person(COLLIDING[0])
    assert second == pseudonyms.person(COLLIDING[1])
    assert second.startswith(first)
    assert re.fullmatch("u[0-9a-f]{16}", second)
    assert pseudonyms.collisions == 1


def test_a_private_chat_is_refused_under_the_public_key():
    with pytest.raises(DataError, match=r'key of your own.*\(2\).*"chatladder secret"') as error:
        check_private(Pseudonyms(), [DEMO_GROUP, "family", "work", "work"])
    assert "family" not in error.value.message
    check_private(Pseudonyms(), [DEMO_GROUP])
    check_private(Pseudonyms(SECRET), ["family"])
