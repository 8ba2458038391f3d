"""Masking: personal data becomes a typed placeholder; what technical questions are made of survives."""

import json
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import secrets
from chatladder.chat.messages import ingest
from chatladder.chat.options import ExportOptions
from chatladder.io.rows import MESSAGES, read_rows
from chatladder.privacy.masking import FORMS, KINDS, mask, mask_file_name
from chatladder.privacy.patterns import TABLES
from chatladder.privacy.pseudonyms import Pseudonyms
from tests.conftest import ROOT

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
        ("ssh root@47.95.30.40", "ssh root@<ip>"),
        ("http://47.95.30.40:8080/v1", "http://<ip>:8080/v1"),
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
        ("mongodb://admin:pa55w0rd@db.example.com/x", "mongodb://<key>@db.example.com/x"),
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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Underscores, equals signs and Chinese letters are no part of a number.
        ("tel_13912345678", "tel_<phone>"),
        ("_203.0.113.7_", "_<ip>_"),
        ("ip=203.0.113.7", "ip=<ip>"),
        ("13912345678B栋", "<phone>B栋"),
        ("139 123 45678", "<phone>"),
        ("+49 170/1234567", "<phone>"),
        ("0049 170 1234567", "<phone>"),
        ("call 0161 496 0000 or (020) 7946 0958", "call <phone> or <phone>"),
        ("tel 020 7946 0958", "tel <phone>"),
        ("一三九一二三四五六七八", "<phone>"),
        ("my number is 5551234567", "my number is <phone>"),
        ("张三@例子.公司", "<email>"),
        ("j@bücher.example", "<email>"),
        ('"ann lee"@example.com', "<email>"),
        ("ann at example dot com", "<email>"),
        ("00:1a:2b:3c:4d:5e up", "<id> up"),
        ("京A12345", "<id>"),
        ("imei 490154203237518", "imei <id>"),
        ("de89370400440532013000", "<id>"),
        ("扣扣876543210", "扣扣<id>"),
        ("加Q12345678", "加Q<id>"),
        ("微信号zhangsan", "微信号<id>"),
        ("加我v zhang_99", "加我v <id>"),
        ("vx zhangsan99", "vx <id>"),
        ("the password is hunter2", "the password is <key>"),
        ("password for the router is hunter2", "password for the router is <key>"),
        ("it's hunter22 for the wifi password", "it's <key> for the wifi password"),
        ("密码123456", "密码<key>"),
        ("wifi密码abc12345", "wifi密码<key>"),
        ("das Passwort lautet Sommer2023", "das Passwort lautet <key>"),
        ("curl -u admin:s3cr3t http://x", "curl -u admin:<key> http://x"),
        ("mysql -uroot -ps3cr3t", "mysql -uroot -p<key>"),
        ("echo 'root:s3cr3t' | chpasswd", "echo 'root:<key>' | chpasswd"),
        ("login admin / s3cr3t", "login admin / <key>"),
        ("验证码 482913", "验证码 <key>"),
        ("482913 is your verification code", "<key> is your verification code"),
        ("提取码: a8f3", "提取码: <key>"),
        (f"newvendor_live_{TOKEN}", "<key>"),
        ("zz9sk-550e8400-e29b-41d4-a716-446655440000", "<key>"),
        ("dapi0123456789abcdef0123456789abcdef", "<key>"),
        (f"0x{'4c0883a69102937d' * 4}", "<key>"),
        ("LTTJOgZS2RgM1vM74R3+vsWJFa6Zs2YHtnyKB5bX", "<key>"),
        # A line of a private key alone.
        ("b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gt", "<key>"),
        ("kZ3vAhIAAAAHbWVAaG9zdAECAwQFBgc=", "<key>"),
        ("AgMEBQYHCA==", "<key>"),
    ],
)
def test_what_a_text_calls_a_secret_is_one(text, expected):
    assert mask(text, Counter()) == expected


@pytest.mark.parametrize(
    "text",
    [
        "upgrade to 10.2.1.15, version 8.217.33.9, cudnn 8.9.2.26",
        "192.168.1.1 and 172.16.4.2/24, netmask 255.255.255.0",
        "md5 d41d8cd98f00b204e9800998ecf8427e",
        "d41d8cd98f00b204e9800998ecf8427e  ubuntu.iso",
        "git revert 3f2c9d18a7b6e5d4c3b2a19081726354a0b1c2d3",
        "UUID=550e8400-e29b-41d4-a716-446655440000",
        "ConvertFilesystemToExt4, class Qwen2ForSequenceClassificationWithPooling2dAndMore",
        "密码错误，密码8到16位，验证码收不到",
        "password authentication failed for user postgres",
        "if password == confirm_password:",
        "the token is invalid, the secret is missing, PIN 5 of the header",
        "user.password_digest, DB_PASSWORD, passwordless",
        "login as root / use sudo, root:x:0:0:root:/root:/bin/bash",
        "12345678901 and nothings 138001380001234567",
        "ISBN 0-306-40615-2, [12345.678901], 1 2 3 4 5 6 7 8 9 10",
        "微信小程序 appid, wechat pay api v3, wx.request, wxPython",
    ],
)
def test_look_alikes_of_secrets_survive(text):
    assert mask(text, Counter(), ["DE", "US"]) == text


@pytest.mark.parametrize(
    "around", ["{}", '"{}"', "({})", "【{}】", "**{}**", "[{}]", "{}。", "{}，谢谢", "{}\n谢谢", "{}😀"]
)
@pytest.mark.parametrize("between", [": ", "：", "=", " ", " - ", " -> ", "\n"])
def test_what_stands_around_a_secret_does_not_hide_it(between, around):
    for word, value in (("password", "Tr0ub4dor3"), ("密码", "hunter22"), ("验证码", "482913")):
        text = f"我的{word}{between}{around.format(value)}"
        assert value not in mask(text, Counter()), text
    for word, value in (("微信", "zhang_88"), ("QQ", "123456789"), ("电话", "5551234567"), ("护照", "E12345678")):
        text = f"{word}{between.replace(' - ', ' ').replace(' -> ', '=')}{around.format(value)}"
        assert value not in mask(text, Counter()), text


@pytest.mark.parametrize("name", secrets.SETS)
def test_planted_secrets_of_another_seed_are_found(name):
    misses: list[str] = []
    for kind, (found, total) in secrets.measure(secrets.planted()[name], 20_261, misses).items():
        least = {"password": 0.8, "called id": 0.9, "harmless": 0.98}.get(kind, 0.95)
        assert found >= least * total, "\n".join(miss for miss in misses if miss.startswith(kind))


def test_file_names_are_masked_as_texts_and_as_words(tmp_path):
    counts: Counter[str] = Counter()
    assert mask_file_name("简历_李_13912345678.pdf", counts) == "简历_李_<phone>.pdf"
    assert mask_file_name("CV_139_1234_5678_passwort_ist_Sommer23.pdf", counts) == "CV <phone> passwort ist <key>"
    assert mask_file_name("2023-01-05_v10.2.1.15_wxid_abc123def456.txt", counts) == "2023-01-05_v10.2.1.15_<id>.txt"
    assert counts == {"phone": 2, "key": 1, "id": 1}
    for name in ("IMG_20240115_101010.jpg", "data_2023_01_05_12_34_56.csv", "mmexport1705312800123.jpg", "v1.2_3.zip"):
        assert mask_file_name(name, counts) == name
    row = {"group": "g", "sender": "q_a_77", "timestamp": 1_700_000_000, "kind": "file", "text": "CV_139_1234_5678.pdf"}
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "chat.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    ingest(
        tmp_path / "raw",
        Pseudonyms("a key of this test"),
        tmp_path / "messages.parquet",
        ExportOptions(format="table"),
    )
    assert read_rows(tmp_path / "messages.parquet", MESSAGES)["text"].to_pylist() == ["CV <phone>.pdf"]


def test_every_kind_is_counted():
    counts: Counter[str] = Counter()
    mask("13912345678 a@b.cn 47.95.30.40", counts)
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
    assert set(KINDS) == {kind for kind, _, _ in FORMS}


def test_nothing_in_the_table_of_patterns_is_left_over():
    code = "".join(path.read_text("utf-8") for path in (ROOT / "chatladder/privacy").glob("*.py"))
    assert [name for name in TABLES["patterns"] if f'PATTERNS["{name}"]' not in code] == []
    table = (ROOT / "chatladder/privacy/patterns.toml").read_text("utf-8")
    assert [name for name in TABLES["parts"] if f"{{{name}}}" not in table] == []


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
        *(
            "the password is ",
            "密码",
            "验证码",
            "curl -u ",
            "a:",
            " is the password",
            "login ",
            " / ",
            "微信",
            "加v",
            "_",
        ),
        *("call me ", "020 ", "00:1a:", "(at)", " dot com", "京A1", "AgMEBQ==", "+/", "0x", '"', "(", ")", "#", "\n"),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=60))
def test_masking_twice_is_masking_once(text):
    masked = mask(text, Counter())
    again: Counter[str] = Counter()
    assert mask(masked, again) == masked
    assert not again


#: Pieces of each mask's patterns: what begins one, and what one repeats.
UNITS = {
    "letters and signs": [
        "a",
        "a.",
        "-",
        "/",
        "=",
        "<",
        "a1B",
        "1//",
        " ",
        "<key>",
        "ß",
        "\u200b1",
        "e\u0301",
        "ﬁ",
        "İ",
    ],
    "accents": ["e" + "\u0301" * 50],
    "digits": [
        "1",
        "1 ",
        "1-",
        "1.",
        "4 ",
        "411 ",
        "１",
        "１２３ ",
        "020 ",
        "(02",
        "+1(",
        "0086 ",
        "8 (9",
        "1 3 ",
        "01/",
    ],
    "addresses": [
        "a@",
        "a@a.",
        "é@é.",
        "张@例.",
        '"a@',
        "a(at)b",
        "a at b dot ",
        "://a:",
        "1.2.3.",
        "fe80:",
        "::",
        "00:",
        "0-",
    ],
    "keys": [
        "eyJ-",
        "eyJa.",
        "sk-_",
        "sk-a_",
        "a1B2/",
        "aB1-",
        "ffff0000",
        "d41d8cd98f00b204e9800998ecf8427e ",
        "$6$a/",
    ],
    "blocks": ["-----BEGIN PRIVATE KEY-----", "PuTTY-User-Key-File-1 ", "password=PuTTY-User-Key-File-1 ", "ABCDE-"],
    "passwords": [
        "password=",
        "password is ",
        "pass:a",
        "password for the ",
        "x is the password ",
        "密码",
        "密码改成了 ",
    ],
    "tokens": [
        "token=a1",
        "secret_",
        "authorization: ",
        "Authorization:a1",
        "bearer ",
        "12 is your code ",
        "验证码 123 ",
    ],
    "commands": ["curl -u a:", "mysql -u -p", "sshpass -p ", "'a:b'|chpasswd ", "login a / ", "root:", "seed abc abc "],
    "ids": [
        "DE89 ",
        "wxid_",
        "gh_",
        "京A",
        "QQ ",
        "微信:",
        "加v a",
        "护照",
        "passport a1 ",
        "tel 1 ",
        "手机 1",
        "plate A1 ",
    ],
}


@pytest.mark.parametrize("units", UNITS.values(), ids=UNITS)
def test_time_grows_with_a_text_and_no_faster(units):
    def seconds(unit: str, length: int) -> float:
        text = unit * (length // len(unit))
        start = time.process_time()
        mask(text, Counter())
        return time.process_time() - start

    for unit in units:
        short, long = seconds(unit, 2**16), seconds(unit, 2**17)
        # What takes the square of a text's length takes four times as long, and far more than the floor.
        if long >= 3 * max(short, 0.05):
            short, long = (min(seconds(unit, length) for _ in range(3)) for length in (2**16, 2**17))
        assert long < 3 * max(short, 0.05), unit
