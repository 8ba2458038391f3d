"""Pseudonyms: the same under one key, unrelated under another."""

import re

from stages.chat.pseudonyms import KEY_VARIABLE, Pseudonyms


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
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    demo = Pseudonyms()
    assert demo.is_demo
    monkeypatch.setenv(KEY_VARIABLE, "secret")
    assert not Pseudonyms().is_demo
    assert Pseudonyms().person("a") == Pseudonyms("secret").person("a") != demo.person("a")


def test_the_assistant_keeps_its_name_and_half_characters_do_no_harm():
    assert Pseudonyms("secret").person("assistant") == "assistant"
    assert Pseudonyms("secret").person("\ud83d").startswith("u")
