"""IRC logs: both layouts, midnight, addressees, damaged bytes."""

import pytest

from stages.chat import irc
from stages.chat.message import Message, Skipped
from stages.chat.pseudonyms import Pseudonyms
from stages.chat.source import Source
from stages.cli import DataError

NIGHT = 1357344000  # 2013-01-05T00:00Z
NAMES = Pseudonyms("key")


def parse(tmp_path, content, name="2013-01-05.ubuntu-cn.txt"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return list(irc.parse(Source(path), NAMES))


def test_a_day_of_messages_actions_and_events(tmp_path):
    rows = parse(
        tmp_path,
        "=== Ann is now known as ann_away\n[00:31] <bob> hello\n[00:32]  * bob eats\n\n[00:33] -bot- done\nnoise\n",
    )
    assert rows == [
        Message(1, "ubuntu-cn", "ann", None, "system", "", 60),
        Message(2, "ubuntu-cn", "bob", NIGHT + 31 * 60, "text", "hello", 60),
        Message(3, "ubuntu-cn", "bob", NIGHT + 32 * 60, "text", "eats", 60),
        Skipped(4, "blank"),
        Message(5, "ubuntu-cn", "bot", NIGHT + 33 * 60, "other", "done", 60),
        Skipped(6, "not_a_log_line"),
    ]


def test_lines_that_carry_channel_and_date(tmp_path):
    rows = parse(tmp_path, "rust 2018-05-29 [21:20:37] <talchas>\t but I don't \n", "rust.0.ascii.txt")
    assert rows == [Message(1, "rust", "talchas", 1527628837, "text", "but I don't", 1)]


def test_midnight_inside_a_file_and_a_late_line_after_it(tmp_path):
    rows = parse(tmp_path, "".join(f"[{clock}] <a> x\n" for clock in ("23:59", "00:00", "23:59", "00:01", "13:30")))
    minutes = [(row.timestamp - NIGHT) // 60 for row in rows]
    assert minutes == [1439, 1440, 1439, 1441, 1440 + 810]


def test_addressees_that_the_file_knows_become_pseudonyms(tmp_path):
    content = "[00:01] <Ann> error: no\n[00:02] <bob> ANN: why\n[00:03] <c> ann, Bob: 你们好\n[00:04] <c> bob：好\n"
    ann, bob = NAMES.person("ann"), NAMES.person("bob")
    texts = [row.text for row in parse(tmp_path, content)]
    assert texts == ["error: no", f"@{ann} why", f"@{ann} @{bob} 你们好", f"@{bob} 好"]


def test_inside_a_sentence_only_nicks_that_no_word_looks_like_are_replaced(tmp_path):
    content = "[00:01] <dr_willis> hi\n[00:02] <linux> hi\n[00:03] <c> ask Dr_Willis about linux\n"
    assert parse(tmp_path, content)[2].text == f"ask @{NAMES.person('dr_willis')} about linux"


def test_bytes_that_are_not_utf_8_are_replaced_and_marked(tmp_path):
    good, bad = parse(tmp_path, "[00:01] <a> 好\n".encode() + b"[00:02] <a> ok\xa1\xa1ok\n")
    assert (good.damaged, bad.damaged, bad.text) == (False, True, "ok\ufffd\ufffdok")


def test_styling_is_not_text(tmp_path):
    assert parse(tmp_path, "[00:01] <a> \x0304,01red\x0f \x02bold\x02\n")[0].text == "red bold"


def test_lines_without_any_date_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"chat\.log:1: expected the date .* in the file's name"):
        parse(tmp_path, "[00:01] <a> b\n", "chat.log")
    with pytest.raises(DataError, match="expected a date, got 2013-13-45"):
        parse(tmp_path, "[00:01] <a> b\n", "2013-13-45.chat.log")


def test_every_line_of_real_logs_is_read(shared_data):
    for path in sorted((shared_data / "irc" / "other-channels").glob("*.ascii.txt")):
        rows = list(irc.parse(Source(path), NAMES))
        assert len(rows) == len(path.read_bytes().splitlines())
        assert not [row for row in rows if isinstance(row, Skipped)]
        assert {row.resolution_seconds for row in rows} == {1}


def test_a_file_of_another_encoding_is_refused_with_its_first_line(tmp_path):
    lines = "[00:30] <bob> hello\n" + "".join(f"[00:3{n}] <bob> 这个怎么装\n" for n in range(1, 7))
    with pytest.raises(DataError, match=r"2013-01-05\.ubuntu-cn\.txt:2: expected UTF-8.*in 6 of the 6 lines.*iconv"):
        parse(tmp_path, lines.encode("gb18030"))
