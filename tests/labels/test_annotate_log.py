"""Long logs: the quick way to read a line of the usual form says what the thorough one says."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatladder.cli.annotate.session import Session
from chatladder.io.console import DataError
from chatladder.labels import log as log_module
from chatladder.labels.answer import Answer, Label, line_of, parse
from chatladder.labels.log import LogWriter, create, replay
from chatladder.labels.rounds import Owner, adjudication_files, latest_answered, log_files, log_path

AT = "2023-10-01T12:00:00Z"
LINE = f'{{"item_id": "9f2c", "annotator": "li", "round": 2, "label": "needed", "at": "{AT}"}}'
#: What can stand in a log: what UTF-8 can hold.
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
fields = {
    "item_id": texts,
    "annotator": st.sampled_from(["li", "李", "a.b-c", "x[1]+"]),
    "round": st.integers(1, 10**9),
    "at": st.sampled_from([AT, "2024-02-29T23:59:59.123456Z", "2024-01-01T00:00:00+00:00"]),
}
answers = st.builds(Answer, label=st.sampled_from(list(Label)), undo=st.booleans(), **fields) | st.builds(
    Answer, label=st.just(Label.NEEDED), rewrite=texts, **fields
)


def read(line, annotator="li", round_number=2):
    """What a line says of this log by ``parse``, or None where it is refused."""
    try:
        answer = parse(json.loads(line), "log:1")
    except (ValueError, DataError):
        return None
    return answer if (answer.annotator, answer.round) == (annotator, round_number) else None


@given(answers)
def test_every_answer_is_read_back(answer):
    assert read(line_of(answer), answer.annotator, answer.round) == answer


@pytest.mark.parametrize(
    "line",
    [
        LINE.replace("li", "wu"),
        LINE.replace('"round": 2', '"round": 1'),
        LINE.replace('"round": 2', '"round": 02'),
        LINE.replace('"needed"', '"needd"'),
        LINE.replace("9f2c", ""),
        LINE.replace("9f2c", "a\tb"),
        LINE.replace("10-01", "02-30"),
        LINE.replace("12:00:00Z", "24:61:00Z"),
        LINE.replace("00Z", "00"),
        LINE.replace("00Z", "00+08:00"),
        LINE.replace("}", ', "undo": "no"}'),
        LINE.replace("}", ', "rewrite": ""}'),
        LINE.replace("}", ', "rewrite": ["x"]}'),
        LINE.replace("}", ', "undo": true, "rewrite": "x"}'),
        LINE.replace("needed", "not_needed").replace("}", ', "rewrite": "x"}'),
        LINE + LINE,
    ],
)
def test_a_line_that_is_not_of_this_log_or_malformed_is_refused(line):
    assert read(LINE) == Answer("9f2c", "li", 2, Label.NEEDED, AT)
    assert read(line) is None


def test_an_answer_without_a_rewrite_is_the_line_that_it_was():
    answer = Answer("9f2c", "li", 2, Label.NEEDED, AT)
    assert line_of(answer) == LINE
    assert line_of(replace(answer, rewrite="Does 2.1 run?")) == LINE.replace("}", ', "rewrite": "Does 2.1 run?"}')


def test_lines_spelled_otherwise_count_just_as_much(tmp_path):
    path = log_path(tmp_path, 2, "li")
    path.parent.mkdir()
    row = json.loads(LINE)
    compact = json.dumps({**row, "item_id": "a"}, separators=(",", ":"))
    turned = json.dumps(dict(reversed({**row, "item_id": "b", "seconds": 3}.items())))
    escaped = json.dumps({**row, "item_id": "需"})
    path.write_text("\n\n".join([LINE, f"{compact}\r", f"  {turned}", escaped]), encoding="utf-8")
    seen = replay(path)
    assert list(seen.answers) == ["9f2c", "a", "b", "需"]
    assert seen.lines == {"9f2c": 1, "a": 3, "b": 5, "需": 7}
    assert len(set(seen.answers.values())) == 4
    assert seen.torn is None


def write(folder, content, who="li"):
    path = log_path(folder, 2, who)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def lines_of(*item_ids):
    return [LINE.replace("9f2c", item_id).encode() for item_id in item_ids]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("ended", [True, False])
def test_a_log_that_an_editor_saved_is_read_whole_and_goes_on(tmp_path, mark, end, ended):
    content = mark + end.join(lines_of("a", "b", "需")) + end * ended
    path = write(tmp_path, content)
    seen = replay(path)
    assert (seen.lines, seen.torn) == ({"a": 1, "b": 2, "需": 3}, None)
    with LogWriter(path) as log:
        assert log.set_aside == 0
        log.append(Answer("d", "li", 2, Label.NEEDED, AT))
    assert [*replay(path).answers] == ["a", "b", "需", "d"]
    assert path.read_bytes().startswith(content)


@pytest.mark.parametrize("end", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "", " "])
def test_lines_that_end_in_anything_else_are_refused_with_their_place(tmp_path, end):
    content = end.encode().join(lines_of("a", "b", "c"))
    path = write(tmp_path, content)
    for attempt in (lambda: replay(path), lambda: LogWriter(path)):
        with pytest.raises(DataError, match=r"li\.jsonl:1: .* several answers: end each with a line feed"):
            attempt()
    assert path.read_bytes() == content
    path.write_bytes(b"\n".join([*lines_of("z"), content]))
    with pytest.raises(DataError, match=r"li\.jsonl:2: .* several answers"):
        replay(path)


@given(
    ends=st.lists(
        st.sampled_from(["\n", "\r", "\r\n", "\n\n", "\u2028", "\x85", "\x0b", "", " ", ",", "\0"]), max_size=5
    ),
    cut=st.integers(0, 150),
    put=st.binary(max_size=2),
    data=st.data(),
)
def test_whatever_becomes_of_a_log_it_is_refused_or_every_answer_in_it_is_read(tmp_path_factory, ends, cut, put, data):
    whole = "".join(
        f"{line.decode()}{end}" for line, end in zip(lines_of(*"abcdef"), [*ends, "\n"], strict=False)
    ).encode()
    at = data.draw(st.integers(0, len(whole)))
    content = data.draw(st.sampled_from([whole[: len(whole) - cut], whole[:at] + put + whole[at:]]))
    path = write(tmp_path_factory.mktemp("log"), content)
    try:
        seen = replay(path)
    except DataError:
        return
    torn = content.splitlines()[-1].count(b'"item_id"') if seen.torn else 0
    assert len(seen.history) == content.count(b'"item_id"') - torn
    assert torn < 2


@given(answers, st.data())
def test_what_an_interrupted_write_leaves_is_known_by_its_form(answer, data):
    """Cut anywhere, a line is a beginning; with anything of another record or sign in it, it is none."""
    line = line_of(answer).encode()
    cut = line[: data.draw(st.integers(1, len(line) - 1))]
    own = Owner(answer.round, answer.annotator, "annotates")
    assert log_module._is_cut_short(cut, own)
    assert not log_module._is_cut_short(cut + b"\x00", own)
    assert not log_module._is_cut_short(cut + b'{"item_id": "', own)
    assert not log_module._is_cut_short(b" " + cut, own)
    assert not log_module._is_cut_short(line + b"}", own)


@pytest.mark.parametrize(
    "end",
    [
        LINE[:-1].replace('"round": 2', '"round": 3'),
        LINE.replace("li", "wu")[:-1],
        LINE[:20] + LINE,
        LINE[:-1] + LINE,
        LINE + "}",
        LINE[:30] + "\0" * 40,
        "\0" * 200,
        "<<<<<<< HEAD",
        "not json",
        '{"item": "9f2c',
    ],
)
def test_an_end_that_no_interrupted_write_leaves_is_an_error_and_stays(tmp_path, end):
    content = lines_of("a")[0] + b"\n" + end.encode()
    path = write(tmp_path, content)
    for attempt in (lambda: replay(path), lambda: LogWriter(path)):
        with pytest.raises(DataError, match=r"li\.jsonl:2: expected a JSON object"):
            attempt()
    assert path.read_bytes() == content
    assert not (path.parent / ".li.torn").exists()


@pytest.mark.parametrize("content", [b"", b"\n", b"\xef\xbb\xbf", b" \r\n\n"])
def test_a_log_that_lost_its_answers_is_an_error_for_whoever_reads_or_writes_it(tmp_path, content):
    path = write(tmp_path, content)
    for attempt in (
        lambda: replay(path),
        lambda: LogWriter(path),
        lambda: create(path, []),
        lambda: [replay(log) for log in log_files(tmp_path, 2)],
    ):
        with pytest.raises(DataError, match=r"li\.jsonl: expected answers, got none.* Restore it"):
            attempt()
    assert path.read_bytes() == content


def test_an_empty_log_of_any_round_is_told_where_rounds_are_listed(tmp_path):
    write(tmp_path, LINE.encode())
    settled = tmp_path / "round_1" / "adjudication" / "chen.jsonl"
    settled.parent.mkdir(parents=True)
    settled.touch()
    with pytest.raises(DataError, match=r"chen\.jsonl: expected answers, got none"):
        adjudication_files(tmp_path, 2)
    (tmp_path / "round_3").mkdir()
    (tmp_path / "round_3" / "wu.jsonl").touch()
    for attempt in (lambda: latest_answered(tmp_path), lambda: log_files(tmp_path, 2)):
        with pytest.raises(DataError, match=r"wu\.jsonl: expected answers, got none"):
            attempt()


@pytest.mark.parametrize("what", ["folder", "broken link", "link to itself"])
def test_a_log_that_is_no_file_is_refused(tmp_path, what):
    path = log_path(tmp_path, 2, "li")
    path.parent.mkdir()
    if what == "folder":
        path.mkdir()
    else:
        path.symlink_to(path if what == "link to itself" else "nowhere")
    for attempt in (lambda: replay(path), lambda: LogWriter(path), lambda: log_files(tmp_path, 2)):
        with pytest.raises(DataError, match=r"li\.jsonl: "):
            attempt()


def test_a_torn_line_alone_is_moved_aside_with_its_mark(tmp_path):
    path = write(tmp_path, b"\xef\xbb\xbf" + LINE[:40].encode())
    assert (replay(path).torn, replay(path).answers) == (1, {})
    with LogWriter(path) as log:
        assert log.set_aside == 40
    assert [each.name for each in path.parent.iterdir()] == [".li.torn"]
    assert replay(path).history == []


def test_a_name_that_is_no_utf_8_is_refused_with_its_line(tmp_path):
    path = tmp_path / "round_2" / "l\udcff.jsonl"
    path.parent.mkdir()
    path.write_text(f"{LINE}\n")
    with pytest.raises(DataError, match=r'expected "annotator" .l\\udcff., as the file is named, got .li.'):
        replay(path)


@given(steps=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([*Label, None])), max_size=30))
def test_replay_gives_what_a_stack_for_each_item_would(steps, tmp_path_factory):
    """None takes back the latest answer to the item, where there is one."""
    path = log_path(tmp_path_factory.mktemp("log"), 1, "li")
    stacks, lines = {}, []
    for item_id, label in steps:
        stack = stacks.setdefault(item_id, [])
        if label is not None:
            stack.append((len(lines) + 1, label))
        elif stack:
            stack.pop()
        else:
            continue
        lines.append(
            line_of(Answer(item_id, "li", 1, Label.NEEDED if label is None else label, AT, undo=label is None))
        )
    if lines:
        path.parent.mkdir()
        path.write_text("".join(f"{line}\n" for line in lines))
    seen = replay(path)
    first = dict.fromkeys(json.loads(line)["item_id"] for line in lines)
    counting = {item_id: stacks[item_id][-1] for item_id in first if stacks[item_id]}
    assert [*seen.lines.items()] == [(item_id, number) for item_id, (number, _) in counting.items()]
    assert {item_id: answer.label for item_id, answer in seen.answers.items()} == {
        item_id: label for item_id, (_, label) in counting.items()
    }
    standing = sorted((number, item_id, label) for item_id, stack in stacks.items() for number, label in stack)
    assert [(answer.item_id, answer.label) for answer in seen.history] == [row[1:] for row in standing]


def test_undo_brings_back_the_answer_before_it_though_others_lie_between():
    history = [Answer(item_id, "li", 1, label, AT) for item_id, label in
               [("a", Label.UNSURE), ("a", Label.NEEDED), ("b", Label.NEEDED), ("a", Label.NOT_NEEDED)]]  # fmt: skip
    session = Session(dict.fromkeys("abc", 1), history, lambda _answer: None, annotator="li")
    seen = []
    while session.undo():
        seen.append((session.label("a"), session.label("b"), session.progress().done))
    assert seen == [
        (Label.NEEDED, Label.NEEDED, 2),
        (Label.NEEDED, None, 1),
        (Label.UNSURE, None, 1),
        (None, None, 0),
    ]
