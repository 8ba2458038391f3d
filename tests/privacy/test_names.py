"""Names inside texts: people are hidden, words and code survive."""

import time
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chatladder.io.console import DataError
from chatladder.privacy.names import Names
from chatladder.privacy.pseudonyms import Pseudonyms

PSEUDONYMS = Pseudonyms("a key for the tests of names")


def names(*people, **options):
    known = Names(PSEUDONYMS, **options)
    for person in people:
        known.know(*((person,) if isinstance(person, str) else person))
    return known


def replaced(text, *people, **options):
    return names(*people, **options).replacer()(text, Counter())


def u(identity):
    return PSEUDONYMS.person(identity)


PEOPLE = [
    *(
        "dr_willis",
        "usr13",
        "jhutchins",
        "linux",
        "install",
        "the",
        "e",
        "hi",
        "sara",
        "ipv6",
        "yeats",
        "non-",
        "Rose",
        "[away]bob2",
    ),
    ("U1", "Alice Smith", "asmith_dev"),
    ("U2", "José Müller"),
    ("W1", "张伟"),
    ("W2", "欧阳娜"),
    ("W3", "安装"),
    ("W4", "🌸小白🌸"),
    ("W5", "王"),
    ("W6", "李伟明"),
    ("U3", "Happy Help"),
    ("W7", "欧阳娜娜"),
    ("W8", "王丽丽"),
    ("W9", "白月光"),
    ("J1", "田中花子"),
    ("K1", "김민준"),
    ("U4", "Anna-Lena Voss"),
    ("N1", "xiao_ming77"),
    ("N2", "Kestrel"),
    ("N3", "X"),
    ("U5", "Seán Rye"),
    ("W10", "人工智能"),
    ("W11", "诸葛亮"),
]
ALL = names(*PEOPLE).replacer()


@pytest.mark.parametrize(
    ("text", "identity", "expected"),
    [
        ("ask dr_willis about it", "dr_willis", "ask {} about it"),
        ("Dr_Willis's script, USR13!", "dr_willis", "{}'s script, " + u("usr13") + "!"),
        ("see github.com/asmith_dev/x", "U1", "see github.com/{}/x"),
        ("thanks jhutchins", "jhutchins", "thanks {}"),
        ("hey sara, Sara?", "sara", "hey {0}, {0}?"),
        ("ALICE SMITH wrote", "U1", "{} wrote"),
        ("so alice wrote", "U1", "so {} wrote"),
        ("the Rose garden", "Rose", "the {} garden"),
        ("linux: try this", "linux", "{}: try this"),
        ("@linux try this", "linux", "@{} try this"),
        ("thanks yeats!", "yeats", "thanks {}!"),
        ("not sure, yeats.", "yeats", "not sure, {}."),
        ("yeats  did it work", "yeats", "{}  did it work"),
        ("@linux你好", "linux", "@{}你好"),
        ("what about @install?", "install", "what about @{}?"),
        ("linux, install: 你好", "linux", "{}, " + u("install") + ": 你好"),
        ("问[away]bob2吧", "[away]bob2", "问 {}吧".replace(" ", "")),
        ("张伟说的对", "W1", "{}说的对"),
        ("请问张伟ok吗", "W1", "请问{} ok吗"),
        ("小白你好", "W4", "{}你好"),
        ("伟明来了", "W6", "{}来了"),
        ("王：在吗", "W5", "{}：在吗"),
        ("@安装你好", "W3", "@{}你好"),
        ("@赵ok张伟", "W1", "@<name> {}"),  # ends at the space that comes with the pseudonym
        ("诸葛亮来了", "W11", "{}来了"),
        ("@人工智能在吗", "W10", "@{}在吗"),
        ("@Happy Help please", "U3", "@{} please"),
        ("@install. Done", "install", "@{}. Done"),
        ("娜娜来了吗", "W7", "{}来了吗"),
        ("我问欧阳", "W7", "我问<name>"),
        ("丽丽呢", "W8", "{}呢"),
        ("田中さん, 花子", "J1", "{0}さん, {0}"),
        ("민준아", "K1", "{}아"),
        ("lena wrote", "U4", "{} wrote"),
        ("Kestrel wrote", "N2", "{} wrote"),
        ("kestrel!", "N2", "{}!"),
        ("@X have a look", "N3", "@{} have a look"),
        ("Seán wrote", "U5", "{} wrote"),
        ("sean wrote", "U5", "{} wrote"),
        ("see Alice_Smith_CV.pdf", "U1", "see {} _CV.pdf"),
        ("al\u200bice sm\u200bith wrote", "U1", "{} wrote"),
        ("ａｓｍｉｔｈ＿ｄｅｖ wrote", "U1", "{} wrote"),
        ("ask jose\u0301 mu\u0308ller", "U2", "ask {}"),
    ],
)
def test_names_become_pseudonyms(text, identity, expected):
    assert ALL(text, Counter()) == expected.format(u(identity))


MENTIONED = names(("1", "天空"), ("2", "linux"), ("3", "1024")).replacer()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ok@天空 看下", f"ok@{u('1')} 看下"),
        ("@linux's box", f"@{u('2')}'s box"),
        *((f"(cc @linux{end}", f"(cc @{u('2')}{end}") for end in (")", "”", "; hi", "…", "]", "～")),
        ("@1024 看下", f"@{u('3')} 看下"),
        ("@赵六七 看下", "@<name> 看下"),  # nobody told who that is
        ("@赵六七\u2005看下", "@<name>\u2005看下"),
        ("ok@赵六七", "ok@<name>"),
        ("@赵六七，看下", "@<name>，看下"),
        ("@赵六七的小号Ann 看下", "@<name> 看下"),
        *(
            (text, text)
            for text in ("root@linux", "@linux-kernel", "@types/linux", "1024: failed", "ask 1024", "@10 24")
        ),
        *(
            (text, text)
            for text in ("@所有人 看下", "@全体成员 看下", "@，我看看 在", "@120fps的", "@ARGV和print", "a @ 天气")
        ),
        ("@赵六七你昨天说的那个东西现在怎么样了呢", "@赵六七你昨天说的那个东西现在怎么样了呢"),  # where does it end?
    ],
)
def test_a_mention_is_a_name_wherever_it_ends(text, expected):
    assert MENTIONED(text, Counter()) == expected


@pytest.mark.parametrize(
    "text",
    [
        "how to install linux on the disk",
        "Linux and IPv6 are fine, e: too",
        "Rose garden. Rose again",
        "hi, everybody; hi",
        "jhutchinson and xusr13x, bazdr_willis",
        "安装方法，王者，国王，看月光",
        "alice_smith_model.py",
        "X: error, a kestrel flies",
        "linux",
        "install!",
        "人工智能都不懂",
        "I read yeats and a non-linux book, thanks to all, the",
        "孩子明天来",
        "<phone> <id> <name> <user>",
        "https://linux.org/install/the",
        "user@linux.org",
        "don't happy help us",
        "",
    ],
)
def test_words_placeholders_and_code_survive(text):
    assert ALL(text, Counter()) == text


def test_counts():
    counts: Counter[str] = Counter()
    replace = names("usr13", deny=["project x", "红杉"]).replacer()
    assert (
        replace("usr13 at Project X, 在红杉资本, projects x", counts)
        == f"{u('usr13')} at <name>, 在<name>资本, projects x"
    )
    assert counts == {"name": 1, "denied": 2}


def test_the_deny_list_goes_before_names_and_the_keep_list_before_all_names():
    assert replaced("usr13: hi", "usr13", deny=["usr13"]) == "<name>: hi"
    assert replaced("xubuntu: hi, Xubuntu", "xubuntu", keep=["Xubuntu"]) == "xubuntu: hi, Xubuntu"
    assert u("xubuntu") in replaced("on xubuntu", "xubuntu")


def test_a_name_of_several_people_is_no_ones_pseudonym():
    people = (("U1", "Alice Smith"), ("U2", "Alice Jones"))
    assert replaced("alice and Alice Jones", *people) == f"<name> and {u('U2')}"


@pytest.mark.parametrize(
    ("names_of_three", "text", "expected"),
    [
        (("[Qwertz] Anna", "[Qwertz] Bert", "[Qwertz] Cleo"), "at qwertz", "at qwertz"),
        (("Anna 北航", "Bert 北航", "Cleo 北航"), "北航的", "北航的"),
        (("Team Anna", "Team Bert", "Team Cleo"), "the Team", "the Team"),
        (("Anna Roth", "Anna Blum", "Anna Berg"), "so anna wrote", "so <name> wrote"),
        (("Tom Smith", "Ann Smith", "Bo Smith"), "the Smith house", "the <name> house"),
        (("Femi Oyelaran", "Ade Oyelaran", "Tolu Oyelaran"), "oyelaran said", "<name> said"),
        (("Femi Oyelaran", "Ade Oyelaran 🌸", "[x] Tolu Oyelaran"), "oyelaran said", "<name> said"),
        (("王小明☀️",), "小明来了", "{}来了"),
        (("张伟明", "李伟明", "王伟明"), "伟明来了", "<name>来了"),
        (("欧阳娜娜", "欧阳丽丽", "欧阳震华"), "问欧阳", "问<name>"),
    ],
)
def test_a_part_that_three_names_share_is_a_name_unless_a_team_gave_it(names_of_three, text, expected):
    people = [(f"U{number}", name) for number, name in enumerate(names_of_three)]
    assert replaced(text, *people) == expected.format(u("U0"))


def test_one_person_of_three_exports_is_hidden_under_each_part_of_the_name():
    people = [(identity, "Alys Qwertz 王小明") for identity in ("U1", "user7", "4711")]
    assert replaced("to Alys, alys qwertz 王小明, qwertz, 小明", *people) == "to <name>, <name>, <name>, <name>"


def test_the_host_of_a_mail_address_is_nobody():
    assert replaced("qq.com is down, ask an.li@qq.com", "an.li@qq.com") == f"qq.com is down, ask {u('an.li@qq.com')}"


def test_what_is_denied_is_denied_in_names_of_files_too():
    assert replaced("see plan_Project_X_v2.pdf, Project-X", deny=["project x"]) == "see plan_ <name> _v2.pdf, <name>"


def test_accents_may_be_left_out():
    assert replaced("ask Zoe Angstrom or zoe", ("U1", "Zoë Ångström")) == f"ask {u('U1')} or {u('U1')}"


def test_vowel_signs_are_letters():
    people = (("U1", "प्रिया शर्मा"), ("U2", "कमल राय"), ("U3", "शशी राय"))
    assert replaced("प्रिया बोली, कमला, शशी", *people) == f"{u('U1')} बोली, कमला, {u('U3')}"


def test_a_nick_that_starts_with_a_surname_of_another_language_hides_no_word():
    assert replaced("清水河畔的清水", ("U1", "清水河畔")) == f"{u('U1')}的清水"


def test_surnames_of_three_characters():
    assert replaced("直樹さん、佐々木さん", ("U1", "佐々木直樹")) == f"{u('U1')}さん、{u('U1')}さん"


def test_two_characters_that_belong_to_two_words_are_no_name():
    assert replaced("孩子明天来，子明你好", "子明") == f"孩子明天来，{u('子明')}你好"


def test_the_longest_of_several_names_is_taken():
    people = ("bob", ("U2", "Bob Marlowe"), "张伟", "张伟明")
    text = replaced("bob marlowe, bob, 张伟明, 张伟。", *people)
    assert text == f"{u('U2')}, {u('bob')}, {u('张伟明')}, {u('张伟')}。"


def test_pseudonyms_and_the_assistant_are_left_alone():
    anna = u("anna-17")
    replace = names("anna-17", anna, "assistant").replacer()
    assert replace(f"@{anna} asked the assistant: anna-17", Counter()) == f"@{anna} asked the assistant: {anna}"


def test_the_order_in_which_people_are_met_does_not_matter():
    text = "alice, Alice Smith, asmith_dev, 张伟, usr13"
    assert replaced(text, *PEOPLE) == replaced(text, *reversed(PEOPLE))


def test_a_name_with_a_capital_counts_though_an_account_comes_first():
    for people in ([("U1", "rivera", "Tony Rivera")], [("U1", "Tony Rivera", "rivera")]):
        assert replaced("ask Rivera about a rivera", *people) == f"ask {u('U1')} about a rivera"


def test_names_in_the_names_of_files():
    replace = names(("U1", "Ann Lee")).replacer()
    counts = Counter()
    assert replace.in_file_name("Ann_Lee_CV.pdf", counts) == f"{u('U1')} CV.pdf"
    assert replace.in_file_name("cv of Ann Lee.pdf", counts) == f"cv of {u('U1')}.pdf"
    assert replace.in_file_name("max_len.py", counts) == "max_len.py"
    assert counts == {"name": 2}
    replace = names(("U2", "xiao_ming77"), ("U3", "王小明")).replacer()
    assert replace.in_file_name("cv_xiao_ming77_v2.pdf", counts) == f"cv {u('U2')} v2.pdf"
    assert replace.in_file_name("简历_王小明_2.pdf", counts) == f"简历 {u('U3')} 2.pdf"


def test_nobody_known_and_unusable_names():
    assert replaced("anything @at all: x") == "anything @at all: x"
    assert replaced("a  b", "", " ", "\u200b", "x" * 100, "\ud83d") == "a  b"


def test_a_language_without_frequencies_is_refused():
    with pytest.raises(DataError, match=r"expected a language among .*en.*got 'tlh'"):
        names("x", languages=["tlh"]).replacer()


WORDS = [
    "usr13",
    "Alice",
    "smith",
    "张伟",
    "李",
    "linux",
    "@",
    ":",
    ", ",
    " ",
    "<name>",
    "<",
    ">",
    "\u200b",
    "e\u0301",
    "ﬁ",
    "İ",
    "u1a2b3c4d",
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=12).map("".join) | st.text(max_size=40))
@example("@李usr13张伟")
def test_replacing_twice_is_replacing_once(text):
    once = ALL(text, Counter())
    assert ALL(once, Counter()) == once
    for name in ("dr_willis", "usr13", "asmith_dev"):
        assert f" {name} " not in f" {once} ".casefold()


def test_many_names_and_hostile_texts_take_linear_time():
    known = Names(PSEUDONYMS)
    for number in range(20_000):
        known.know(f"nick{number}x", f"First{number} Last{number}")
    known.know("a" * 60)
    replace = known.replacer()
    for unit in ("a", "nick7x ", "nick", "@", "a:", "nick7x:", "first7 ", "e\u0301", "\u0301", "<name>", "张"):
        text = unit * (100_000 // len(unit))
        start = time.process_time()
        replace(text, Counter())
        assert time.process_time() - start < 2, unit


def test_names_of_a_real_chat(shared_data):
    """Every nick that addresses somebody goes, and few words do."""
    known = Names(PSEUDONYMS)
    messages = []
    for path in sorted((shared_data / "irc" / "ubuntu-zh").glob("*.txt"))[:3]:
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if line[7:9] == " <" or line[7:8] == "<":
                nick, _, text = line[7:].strip()[1:].partition("> ")
                known.know(nick.lower())
                messages.append((nick.lower(), text))
    counts: Counter[str] = Counter()
    replace = known.replacer()
    after = [replace(text, counts) for _, text in messages]
    nicks = {nick for nick, _ in messages if len(nick) > 1}
    assert counts["name"] > len(messages) / 3
    assert not [text for text in after if text.partition(":")[0].lower() in nicks]
    assert sum(text.count("ubuntu") for text in after) == sum(text.count("ubuntu") for _, text in messages)
