"""Masking: personal data becomes a typed placeholder; what technical questions are made of survives."""

import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.privacy.masking import KINDS, PATTERNS, mask

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
        ("手机１３９１２３４５６７８找我", "手机<phone>找我"),
        ("139 1234 5678或139.1234.5678", "<phone>或<phone>"),
        ("139\u200b1234\u200b5678", "<phone>"),
        ("座机 (010) 62771234 转 3", "座机 <phone> 转 3"),
        ("座机010 62771234", "座机<phone>"),
        ("hr＠example.com", "<email>"),
        ("ftp://user:s3cret@files.example.org/x", "ftp://<key>@files.example.org/x"),
        ("postgres://app:pa:ss@db/x?a=b", "postgres://<key>@db/x?a=b"),
        ("password=hunter", "password=<key>"),
        ("DB_PASSWD='abc def'", "DB_PASSWD='<key>'"),
        ("passwd: Tr0ub4dor&3 okay", "passwd: <key> okay"),
        ('{"password": "letmein"}', '{"password": "<key>"}'),
        ("密码：abc123", "密码：<key>"),
        ("password: 4111 1111 1111 1111 ok", "password: <key> ok"),
        ("密码：139 1234 5678。", "密码：<phone>。"),
        ("wifi密码是12345678，别外传", "wifi密码是<key>，别外传"),
        ("Authorization: Bearer abcdef123456", "Authorization: Bearer <key>"),
        ("-H 'authorization: token 0123abcd'", "-H 'authorization: token <key>'"),
        ("use bearer a1b2c3d4e5f6g7", "use bearer <key>"),
        ("api_key = q1w2e3r4t5", "api_key = <key>"),
        ("aws_secret_access_key=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "aws_secret_access_key=<key>"),
        ("?access_token=a1b2c3d4&x=1", "?access_token=<key>&x=1"),
        ("sk-ant-api03-abcdefghijklmnop", "<key>"),
        ("xapp-1-A0000-12345", "<key>"),
        ("sk_live_abcdefghijklmnop1234", "<key>"),
        ("bot 123456789:AAabcdefghijklmnopqrstuvwxyz0123456", "bot <key>"),
        ("MTAxMDEwMTAxMDEwMTAxMDEw.Gabcde.abcdefghijklmnopqrstuvwxyz0123456", "<key>"),
        ("https://hooks.slack.com/services/T00000000/B00000000/abcdefgh", "https://hooks.slack.com/services/<key>"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.abc-_123", "<key>"),
        ("-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: 1-2\n\nabc=\n-----END PGP PRIVATE KEY BLOCK-----!", "<key>!"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk", "<key>"),
        ("card 4111 1111 1111 1111.", "card <id>."),
        ("5500-0000-0000-0004", "<id>"),
        ("银行卡6222020000000000000", "银行卡<id>"),
        ("IBAN DE89 3704 0044 0532 0130 00", "IBAN <id>"),
        ("GB29NWBK60161331926819", "<id>"),
        ("ssn 536-90-4399", "ssn <id>"),
        ("护照号：E12345678", "护照号：<id>"),
        ("加QQ：1234567", "加QQ：<id>"),
        ("qq群 123456789 见", "qq群 <id> 见"),
        ("微信号: abc_12345", "微信号: <id>"),
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
        "the password is wrong, enter your password: then press enter",
        "password=None, password=str, passwd: incorrect.",
        "password=os.environ['X'], password=${SECRET}, password=<password>",
        "PWD=/var/www, pwd",
        "max_tokens=4096 pad_token_id=0 eos_token: 2",
        "tokenizer.pad_token = tokenizer.eos_token",
        "密码是什么，密码：忘了",
        "the bearer of this message, a basic functionality",
        "4111 1111 1111 1112",
        "1672531200000 16725312000001 20230105123456",
        "DE00 3704 0044 0532 0130 00",
        "000-12-3456",
        "qq 邮箱, QQ2023版, 微信: 小程序",
        "http://localhost:8080/@scope/package",
        "call 020 7946 0958",
    ],
)
def test_versions_times_sizes_and_code_survive(text):
    assert mask(text, Counter()) == text


def test_every_kind_is_counted():
    counts: Counter[str] = Counter()
    mask("13912345678 a@b.cn 10.20.30.40", counts)
    mask("13912345679", counts)
    assert counts == {"phone": 2, "email": 1, "ip": 1}


def test_national_numbers_of_other_countries_on_demand():
    counts: Counter[str] = Counter()
    assert mask("call 020 7946 0958 now", counts, ["GB"]) == "call <phone> now"
    assert mask("appelle le 06 12 34 56 78", counts, ["GB", "FR"]) == "appelle le <phone>"
    assert counts == {"phone": 2}
    for text in ("2023-01-05 12:34:56", "v4.10.0.84 of 2023", "1024 768 60", "1672531200"):
        assert mask(text, counts, ["GB", "FR", "US", "DE"]) == text


def test_kinds_are_those_of_the_patterns():
    assert set(KINDS) == set(PATTERNS)


PIECES = st.sampled_from(
    [
        *("13912345678", "139", "1234", " ", "-", ".", "@", "a@b.cn", "10.20.30.40", "wxid_abcd", "sk-", "eyJ", "://"),
        *("password=", "密码：", "token: ", "<key>", "<", ">", ":", "/", "abc123", "u1a2b3c4d", "QQ", "１３", "\u200b"),
        *(
            "-----BEGIN RSA PRIVATE KEY-----",
            "-----END RSA PRIVATE KEY-----",
            "fe80::1",
            "+86",
            "0",
            "A" * 16,
            "a1B" * 11,
        ),
        *("4111111111111111", "536-90-4399", "DE89370400440532013000", "x", "=", "e\u0301", "İ", "'", "Bearer "),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=60))
def test_masking_twice_is_masking_once(text):
    masked = mask(text, Counter())
    again: Counter[str] = Counter()
    assert mask(masked, again) == masked
    assert not again


UNITS = [
    *("a", "1", "1 ", "a.", "a@", "eyJ-", "1-", "+1(", "a1B", "fe80:", "1.", "-----BEGIN PRIVATE KEY-----", "="),
    *(
        "password=",
        "pass:a",
        "token=a1",
        "4 ",
        "411 ",
        "DE89 ",
        "://a:",
        "a@a.",
        "e\u0301",
        "\u200b1",
        "１",
        "e" + "\u0301" * 50,
    ),
    *(
        "authorization: ",
        "bearer ",
        "-",
        "/",
        "密码",
        "护照",
        "QQ ",
        "微信:",
        "secret_",
        "020 ",
        "(02",
        "Authorization:a1",
    ),
]


@pytest.mark.parametrize("unit", UNITS)
def test_no_text_makes_it_slow(unit):
    text = unit * (100_000 // len(unit))
    start = time.process_time()
    mask(text, Counter())
    assert time.process_time() - start < 1
