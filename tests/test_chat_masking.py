"""Masking: personal data becomes a typed placeholder; what technical questions are made of survives."""

import time
from collections import Counter

import pytest

from stages.chat.masking import mask

TOKEN = "Zk3vQ9xT7bLm2RfW8yHc4NpJ6sGdA1eU"  # made up


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("电话13912345678谢谢", "电话<phone>谢谢"),
        ("call +86 139-1234-5678 now", "call <phone> now"),
        ("office 010-62771234", "office <phone>"),
        ("+1 202-555-0143", "<phone>"),
        ("+44 (20) 7946 0958 ok", "<phone> ok"),
        ("(202) 555-0143", "<phone>"),
        ("邮箱zhang.san+x@mail.example.com。", "邮箱<email>。"),
        ("身份证 11010519900307123X", "身份证 <id>"),
        ("加我 wxid_abc123def456", "加我 <id>"),
        ("20814553575@chatroom", "<id>"),
        ("key=sk-abcDEF1234567890abcd", "key=<key>"),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "<key>"),
        ("AKIAIOSFODNN7EXAMPLE", "<key>"),
        (f"token: {TOKEN}", "token: <key>"),
        ("d41d8cd98f00b204e9800998ecf8427e", "<key>"),
        ("Authorization: Basic dXNlcjpwYXNzd29yZDEyMzQ1Ng==", "Authorization: Basic <key>"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "<key>"),
        ("ssh root@10.20.30.40", "ssh root@<ip>"),
        ("http://10.20.30.40:8080/v1", "http://<ip>:8080/v1"),
        ("fe80::1ff:fe23:4567:890a", "<ip>"),
        ("2001:db8:85a3:1:2:8a2e:370:7334", "<ip>"),
        ("13912345678 和 a@b.cn", "<phone> 和 <email>"),
    ],
)
def test_personal_data_becomes_a_typed_placeholder(text, expected):
    assert mask(text, Counter()) == expected


@pytest.mark.parametrize(
    "text",
    [
        "mmdeploy 1.2.3 on cuda 11.8",
        "git 1.7.9.5",
        "torch==2.13.0+cu121, v4.10.0.84",
        "at 2023-01-05 12:34:56.789",
        "unix 1672531200, in milliseconds 1672531200000",
        "17179869184 bytes, 12884901888 B, 13421772800字节",
        "1024x768 at 60 Hz, 3840*2160",
        "127.0.0.1:8000 and 0.0.0.0, mask 255.255.255.0",
        "git@github.com:open-mmlab/mmdeploy.git",
        "https://github.com/open-mmlab/mmdeploy/blob/main/docs/zh_cn/01-how-to-build/linux-x86_64.md",
        "std::vector<int>, a::b, @property, @types/node",
        "commit 3f2c9d1, 0x7ffee4b2c9d8",
        "configuration_internlm_xcomposer2_for_causal_language_modeling",
        "ThisIsAVeryLongCamelCaseClassNameForConditionalGeneration",
        "https://item.example.com/item.htm?id=13912345678",
        "@@ -1,20 +1,20 @@",
        "@u1234abcd 你好",
    ],
)
def test_versions_times_sizes_and_code_survive(text):
    assert mask(text, Counter()) == text


def test_every_kind_is_counted():
    counts: Counter[str] = Counter()
    mask("13912345678 a@b.cn 10.20.30.40", counts)
    mask("13912345679", counts)
    assert counts == {"phone": 2, "email": 1, "ip": 1}


@pytest.mark.parametrize(
    "unit", ["a", "1", "1 ", "a.", "a@", "eyJ-", "1-", "+1(", "a1B", "fe80:", "1.", "-----BEGIN PRIVATE KEY-----", "="]
)
def test_no_text_makes_it_slow(unit):
    text = unit * (100_000 // len(unit))
    start = time.process_time()
    mask(text, Counter())
    assert time.process_time() - start < 2
