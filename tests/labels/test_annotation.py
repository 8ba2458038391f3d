import errno
import json
import os
import signal

import pytest

from chatladder.io.console import DataError
from chatladder.labels import log as log_module
from chatladder.labels.agreement import (
    agreement_by_round,
    agreement_over_time,
    cohen_kappa,
    krippendorff_alpha,
    largest,
    majority,
)
from chatladder.labels.answer import Answer, Label
from chatladder.labels.folds import split_conversations, stable_fraction
from chatladder.labels.log import HeldError, LogWriter, create, replay
from chatladder.labels.rounds import (
    Owner,
    adjudication_files,
    adjudication_path,
    check_owner,
    latest_answered,
    log_files,
    log_path,
    owner,
    round_folders,
)
from tests.logs import append

AT = "2023-10-01T12:00:00Z"


def answer(item_id="i1", label=Label.NEEDED, *, undo=False, annotator="li", round_number=1):
    return Answer(item_id, annotator, round_number, label, AT, undo)


@pytest.fixture
def li(tmp_path):
    return log_path(tmp_path, 1, "li")


def line(**changes):
    row = {"item_id": "i1", "annotator": "li", "round": 1, "label": "needed", "at": AT, **changes}
    return json.dumps({field: value for field, value in row.items() if value is not None}) + "\n"


def test_what_is_appended_is_replayed(li):
    append(li, answer("i1"))
    append(li, answer("i2", Label.UNSURE))
    seen = replay(li)
    assert {item: given.label for item, given in seen.answers.items()} == {
        "i1": Label.NEEDED,
        "i2": Label.UNSURE,
    }
    assert seen.lines == {"i1": 1, "i2": 2}
    assert seen.torn is None


def test_fault_5_not_a_question_is_an_enumeration_and_never_true_or_false(li):
    append(li, answer(label=Label.NOT_A_QUESTION))
    label = replay(li).answers["i1"].label
    assert label is Label.NOT_A_QUESTION
    with pytest.raises(TypeError, match="not true or false"):
        bool(label)
    for truthy in ("true", True, "not a question", "yes", 1):
        li.write_text(line(label=truthy))
        with pytest.raises(DataError, match=r'li\.jsonl:1: expected "label" to be'):
            replay(li)


def test_fault_6_resuming_gives_one_answer_per_item_and_annotator(li):
    for label in (Label.NEEDED, Label.UNSURE, Label.NOT_NEEDED):
        append(li, answer("i1", label))
        append(li, answer("i2", Label.NEEDED))
    seen = replay(li)
    assert list(seen.answers) == ["i1", "i2"]
    assert seen.answers["i1"].label == Label.NOT_NEEDED
    assert seen.lines["i1"] == 5


def test_fault_6_undo_brings_the_answer_before_it_back(li):
    append(li, answer("i1", Label.NEEDED))
    append(li, answer("i1", Label.NOT_NEEDED))
    append(li, answer("i1", Label.NOT_NEEDED, undo=True))
    assert replay(li).answers["i1"].label == Label.NEEDED
    append(li, answer("i1", Label.NEEDED, undo=True))
    assert replay(li).answers == {}


def test_undo_of_nothing_names_the_line(li):
    append(li, answer("i1"))
    append(li, answer("i2", undo=True))
    with pytest.raises(DataError, match=r"li\.jsonl:2: expected an earlier answer to undo"):
        replay(li)


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_torn_last_line_is_reported_and_healed_by_the_next_answer(li, cut):
    append(li, answer("i1"))
    append(li, answer("需要", Label.UNSURE))
    whole = li.read_bytes()
    li.write_bytes(whole[:-cut])
    torn = replay(li)
    # A line that lacks its newline alone is whole.
    assert torn.torn == (None if cut == 1 else 2)
    assert len(torn.answers) == (2 if cut == 1 else 1)
    append(li, answer("i3"))
    healed = replay(li)
    assert healed.torn is None
    assert "i3" in healed.answers
    assert healed.answers.keys() >= torn.answers.keys()


def test_a_log_cut_at_any_byte_loses_only_what_was_cut_and_doubles_nothing(li):
    for number in range(3):
        append(li, answer(f"问题{number}", Label.UNSURE))
    append(li, answer("问题2", Label.UNSURE, undo=True))
    whole = li.read_bytes()
    for size in range(1, len(whole) + 1):
        li.write_bytes(whole[:size])
        with LogWriter(li) as log:
            # A line that lacks its newline alone is whole.
            kept = whole[: size + 1] if whole[size : size + 1] == b"\n" else whole[:size]
            kept = kept[: kept.rfind(b"\n") + 1]
            assert log.set_aside == max(0, size - len(kept))
            # A log without an answer has no place yet.
            assert li.exists() == bool(kept)
            assert not kept or li.read_bytes() == kept
            log.append(answer("next"))
        assert li.read_bytes() == kept + line(item_id="next").encode()
        assert replay(li).torn is None


def test_a_line_cut_short_is_moved_aside_not_thrown_away(li):
    append(li, answer("i1"))
    li.write_bytes(li.read_bytes() + b'{"item_id": "i2", "annot')
    with LogWriter(li) as log:
        assert log.set_aside == 24
    assert (li.parent / ".li.torn").read_bytes() == b'{"item_id": "i2", "annot\n'
    assert log_files(li.parent.parent, 1) == [li]


def test_history_keeps_what_was_replaced_and_leaves_out_what_was_taken_back(li):
    append(li, answer("i1", Label.NEEDED))
    append(li, answer("i2", Label.UNSURE))
    append(li, answer("i1", Label.NOT_NEEDED))
    append(li, answer("i2", Label.UNSURE, undo=True))
    assert [(given.item_id, given.label) for given in replay(li).history] == [
        ("i1", Label.NEEDED),
        ("i1", Label.NOT_NEEDED),
    ]


def test_one_process_at_a_time_writes_a_log(li):
    with LogWriter(li):
        for attempt in (lambda: LogWriter(li), lambda: append(li, answer())):
            with pytest.raises(HeldError, match=r"li\.jsonl: another process .* 'li' annotates in another window"):
                attempt()
    append(li, answer())


def test_a_killed_process_leaves_no_lock(li):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        LogWriter(li)
        os.write(writer, b"held")
        signal.pause()
    assert os.read(reader, 4) == b"held"
    with pytest.raises(HeldError):
        LogWriter(li)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    append(li, answer())
    assert len(replay(li).answers) == 1


@pytest.mark.parametrize("change", ["replaced", "removed", "appended to", "cut"])
def test_a_log_that_something_else_changed_is_left_alone(li, change):
    append(li, answer("i1"))
    with LogWriter(li) as log:
        log.append(answer("i2"))
        before = li.read_bytes()
        if change in ("replaced", "removed"):
            li.rename(li.with_suffix(".old"))
            if change == "replaced":
                li.write_bytes(before)
        else:
            li.write_bytes(before + line(item_id="i3").encode() if change == "appended to" else before[:-20])
        there = li.read_bytes() if li.exists() else None
        with pytest.raises(DataError, match="something else changed, replaced or removed it"):
            log.append(answer("i4"))
        assert (li.read_bytes() if li.exists() else None) == there


@pytest.mark.parametrize("written", range(0, 90, 9))
def test_a_disk_that_fills_in_the_middle_of_a_line_leaves_the_log_as_it_was(li, monkeypatch, written):
    append(li, answer("i1"))
    before = li.read_bytes()
    write = os.write

    def full(handle, content):
        if not written or len(content) < len(line(item_id="i2")) - 1:
            raise OSError(28, os.strerror(28))
        return write(handle, content[:written])

    with LogWriter(li) as log:
        with monkeypatch.context() as patched:
            patched.setattr(log_module.os, "write", full)
            with pytest.raises(DataError, match="the disk is full"):
                log.append(answer("i2"))
        assert li.read_bytes() == before
        log.append(answer("i3"))
    assert list(replay(li).answers) == ["i1", "i3"]


def test_a_line_that_could_not_be_taken_back_at_once_is_taken_back_before_the_next(li, monkeypatch):
    with LogWriter(li) as log:
        log.append(answer("i1"))
        with monkeypatch.context() as patched:
            for call in ("fsync", "ftruncate"):
                patched.setattr(log_module.os, call, lambda *_: (_ for _ in ()).throw(OSError(5, "broken disk")))
            for _ in range(2):
                with pytest.raises(DataError, match="could not be recorded: broken disk"):
                    log.append(answer("i2"))
        log.append(answer("i3"))
    assert list(replay(li).answers) == ["i1", "i3"]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_folder_that_cannot_be_written_is_reported(li, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(log_module.os, "open", refuse)
    with pytest.raises(DataError, match=f"li.jsonl: the answer could not be recorded: {os.strerror(code)}"):
        LogWriter(li)


def test_a_log_without_an_answer_has_no_place_yet_and_does_not_stay(li):
    with LogWriter(li):
        assert log_module.replay(li).history == []
        assert not li.exists()
    assert [*li.parent.iterdir()] == []


def kill_in(path, call):
    """Give an answer in a process that is killed where it calls something of ``os``, or of the log's path."""
    child = os.fork()
    if child == 0:
        owner, name = (type(path), call) if call == "rename" else (os, call)

        def die(*_):
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(owner, name, die)
        with LogWriter(path) as log:
            log.append(answer("killed"))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize(("call", "cut"), [("write", False), ("fsync", True), ("rename", True)])
def test_a_kill_before_the_first_answer_is_confirmed_leaves_no_empty_log(li, call, cut):
    kill_in(li, call)
    assert not li.exists()
    with LogWriter(li) as log:
        assert (log.set_aside > 0) == cut
        log.append(answer("i1"))
    assert [*replay(li).answers] == ["i1"]
    assert sorted(path.name for path in li.parent.iterdir()) == [*[".li.torn"] * cut, "li.jsonl"]


def test_a_first_answer_that_could_not_be_confirmed_leaves_no_log(li, monkeypatch):
    with LogWriter(li) as log:
        with monkeypatch.context() as patched:
            patched.setattr(log_module, "_sync_folder", lambda _: (_ for _ in ()).throw(OSError(5, "broken disk")))
            with pytest.raises(DataError, match="could not be recorded: broken disk"):
                log.append(answer("i1"))
        assert not li.exists()
        log.append(answer("i2"))
    assert [*replay(li).answers] == ["i2"]


def test_a_log_that_appears_before_the_first_answer_is_left_alone(li):
    with LogWriter(li) as log:
        li.write_text(line(item_id="theirs"))
        with pytest.raises(DataError, match="something else changed, replaced or removed it"):
            log.append(answer("i1"))
    assert li.read_text() == line(item_id="theirs")


def test_a_log_is_created_whole_and_never_into_one_that_is_there(li):
    create(li, [answer("i1"), answer("i2")])
    before = li.read_bytes()
    for answers in ([answer("i3")], []):
        with pytest.raises(DataError, match=r"li\.jsonl: expected no log here yet"):
            create(li, answers)
    assert li.read_bytes() == before
    wu = log_path(li.parent.parent, 1, "wu")
    with pytest.raises(DataError, match="as the file is named"):
        create(wu, [answer("i1", annotator="wu"), answer("i2")])
    with LogWriter(wu), pytest.raises(HeldError):
        create(wu, [answer("i1", annotator="wu")])
    assert [path.name for path in li.parent.iterdir()] == ["li.jsonl"]


def test_the_latest_answered_round_is_not_one_that_was_only_begun(tmp_path):
    assert latest_answered(tmp_path) == 0
    for number in (1, 2):
        append(log_path(tmp_path, number, "li"), answer(round_number=number))
    append(adjudication_path(tmp_path, 4, "chen"), answer(annotator="chen", round_number=4))
    with LogWriter(log_path(tmp_path, 3, "li")):
        assert (tmp_path / "round_3").is_dir()
        assert latest_answered(tmp_path) == 2


def test_an_adjudicators_log_is_kept_and_mended_as_an_annotators(tmp_path):
    path = adjudication_path(tmp_path, 2, "chen")
    assert path == tmp_path / "round_2" / "adjudication" / "chen.jsonl"
    append(path, answer("i1", annotator="chen", round_number=2))
    path.write_bytes(path.read_bytes() + b'{"item_id"')
    assert replay(path).torn == 2
    with LogWriter(path) as log:
        assert log.set_aside == 10
        with pytest.raises(HeldError, match=r"chen\.jsonl: .* 'chen' adjudicates in another window"):
            LogWriter(path)
        log.append(answer("i1", annotator="chen", round_number=2, undo=True))
    assert replay(path).answers == {}
    for wrong in (answer(annotator="li", round_number=2), answer(annotator="chen")):
        with pytest.raises(DataError, match=r'expected "(annotator|round)"'):
            append(path, wrong)
    with pytest.raises(DataError, match=r"adjudicator '\.\./chen': expected letters, digits"):
        adjudication_path(tmp_path, 2, "../chen")
    with pytest.raises(DataError, match="expected a log in a folder round_1"):
        LogWriter(tmp_path / "adjudication" / "chen.jsonl")


def test_adjudicators_logs_are_listed_apart(tmp_path, li):
    append(li, answer())
    for number in (1, 2):
        append(adjudication_path(tmp_path, number, "chen"), answer(annotator="chen", round_number=number))
    assert log_files(tmp_path, 1) == [li]
    assert adjudication_files(tmp_path, 1) == [adjudication_path(tmp_path, 1, "chen")]
    assert len(adjudication_files(tmp_path, 2)) == 2


def test_a_line_cut_in_the_middle_of_the_log_is_an_error(li):
    append(li, answer("i1"))
    li.write_bytes(li.read_bytes()[:-9] + b"\n" + line(item_id="i2").encode())
    with pytest.raises(DataError, match=r"li\.jsonl:1: expected a JSON object"):
        replay(li)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            line(label="needd"),
            r'expected "label" to be one of needed, not_needed, not_a_question, unsure, got .needd.',
        ),
        (line(label="\x1b[2J"), r"expected \"label\" .*, got '\\x1b\[2J'"),
        (line(item_id=None), r'expected a field "item_id"'),
        (line(item_id=""), r'expected "item_id" to be str, got \'\''),
        (line(round=2), r'expected "round" 1, as the folder says, got 2'),
        (line(round=True), r'expected "round" to be int, got True'),
        (line(annotator="wu"), r"expected \"annotator\" 'li', as the file is named, got 'wu'"),
        (line(at="yesterday"), r'expected "at" in ISO 8601, UTC'),
        (line(at="2023-10-01T12:00:00+08:00"), r'expected "at" in ISO 8601, UTC'),
        (line(undo="no"), r'expected "undo" to be true or false'),
        ("[1]\n", "expected a JSON object, got list"),
        ("{\n", "expected a JSON object: "),
        ("[" * 100_000 + "\n", "expected a JSON object: "),
    ],
)
def test_a_malformed_line_names_file_and_line(li, text, message):
    li.parent.mkdir()
    li.write_text(line(item_id="before") + text)
    with pytest.raises(DataError, match=r"round_1/li\.jsonl:2: " + message):
        replay(li)


def test_an_answer_is_not_written_into_another_annotators_log(li):
    with pytest.raises(DataError, match="expected \"annotator\" 'li'"):
        append(li, answer(annotator="wu"))
    assert not li.exists()


def test_a_log_of_answers_from_elsewhere_is_written_once(li):
    create(li, [answer("i1"), answer("i2", Label.UNSURE)])
    written = li.read_bytes()
    assert written.decode() == line() + line(item_id="i2", label="unsure")
    with pytest.raises(DataError, match="expected no log here yet"):
        create(li, [answer("i3")])
    assert li.read_bytes() == written


def test_a_full_disk_is_reported_and_costs_no_earlier_answer(li, monkeypatch):
    append(li, answer("i1"))

    def full(_handle):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(log_module.os, "fsync", full)
    with pytest.raises(DataError, match=r"li\.jsonl: the answer could not be recorded: the disk is full"):
        append(li, answer("i2"))
    assert "i1" in replay(li).answers


@pytest.mark.parametrize("name", ["../li", "", ".li", "a b", "li/wu"])
def test_an_annotators_name_must_be_safe_as_a_files_name(tmp_path, name):
    with pytest.raises(DataError, match="expected letters, digits"):
        log_path(tmp_path, 1, name)


def test_logs_are_listed_by_round_up_to_the_last_that_counts(tmp_path):
    for round_number in (2, 10, 1):
        for annotator in ("wu", "li"):
            append(
                log_path(tmp_path, round_number, annotator),
                answer(annotator=annotator, round_number=round_number),
            )
    (tmp_path / "README.md").write_text("how we annotate")
    names = [f"{path.parent.name}/{path.name}" for path in log_files(tmp_path, 2)]
    assert names == ["round_1/li.jsonl", "round_1/wu.jsonl", "round_2/li.jsonl", "round_2/wu.jsonl"]
    with pytest.raises(DataError, match=r"answers of round 3 .* rounds that have some: 1, 2, 10"):
        log_files(tmp_path, 3)


@pytest.mark.parametrize("stray", ["round1", "li.jsonl"])
def test_answers_that_would_be_overlooked_are_an_error(tmp_path, li, stray):
    append(li, answer())
    (tmp_path / stray).mkdir()
    with pytest.raises(DataError, match=f"{stray}: expected only folders round_1"):
        log_files(tmp_path, 1)


def test_majority_breaks_no_tie():
    assert majority([Label.NEEDED, Label.NEEDED, Label.UNSURE]) == Label.NEEDED
    assert majority([Label.NOT_A_QUESTION]) == Label.NOT_A_QUESTION
    assert majority([Label.NEEDED, Label.NOT_NEEDED]) is None


def test_kappa_of_a_textbook_table():
    # Cohen's kappa by hand: agreement 35/50, chance .5 * .6 + .5 * .4 = .5, so (.7 - .5) / .5.
    first = [Label.NEEDED] * 25 + [Label.NOT_NEEDED] * 25
    second = [Label.NEEDED] * 20 + [Label.NOT_NEEDED] * 5 + [Label.NEEDED] * 10 + [Label.NOT_NEEDED] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)
    assert cohen_kappa([Label.NEEDED], [Label.NEEDED]) is None


def test_kappa_comes_from_the_round_with_most_shared_items_not_from_a_correction_round():
    labels = {f"i{n}": Label.NEEDED if n % 2 else Label.NOT_NEEDED for n in range(10)}
    corrected = {"i1": Label.NEEDED, "i2": Label.UNSURE}
    rounds = {
        1: {"li": labels, "wu": labels},
        2: {"li": corrected, "wu": dict.fromkeys(corrected, Label.NOT_NEEDED)},
    }
    assert largest(agreement_by_round(rounds))[:3] == (1, 10, 1.0)
    assert largest(agreement_by_round({1: {"li": labels}})) == (None, 0, None, None, {})


def test_agreement_is_told_for_every_round_that_two_annotators_share():
    first = {f"i{n}": Label.NEEDED if n % 2 else Label.NOT_NEEDED for n in range(10)}
    rounds = {
        1: {"li": first, "wu": first},
        2: {"li": first},
        3: {"li": {"i1": Label.NEEDED, "i2": Label.UNSURE}, "xu": {"i1": Label.UNSURE, "i2": Label.NEEDED}},
    }
    by_round = agreement_by_round(rounds)
    assert [(number, one.round, one.items, one.kappa) for number, one in by_round.items()] == [
        (1, 1, 10, 1.0),
        (3, 3, 2, -1.0),
    ]
    assert by_round[3].annotators == {"li": -1.0, "xu": -1.0}
    assert by_round[1] == largest(agreement_by_round(rounds))
    assert agreement_by_round({}) == {}
    again = dict.fromkeys((5, 4), rounds[1])
    assert largest(agreement_by_round(again)).round == 5


def timed(who, labels, minute=0, zone="Z"):
    return [
        Answer(item_id, who, 1, label, f"2023-10-01T12:{minute + place:02}:00{zone}")
        for place, (item_id, label) in enumerate(labels.items())
    ]


def test_agreement_is_followed_through_the_work_in_the_order_of_the_later_answer():
    # li answers i0…i7 and wu, later, from i7 down to i0: they agree on what wu answers first.
    first = {f"i{n}": Label.NEEDED if n % 2 else Label.NOT_NEEDED for n in range(8)}
    second = {f"i{n}": first[f"i{n}"] if n >= 4 else first[f"i{7 - n}"] for n in reversed(range(8))}
    answers = timed("li", first) + timed("wu", second, 20, "+00:00")
    parts = agreement_over_time([*answers, answer("own", annotator="li")], 2)
    assert [(part.start, part.end, part.items, part.kappa) for part in parts] == [
        ("2023-10-01T12:20:00+00:00", "2023-10-01T12:23:00+00:00", 4, 1.0),
        ("2023-10-01T12:24:00+00:00", "2023-10-01T12:27:00+00:00", 4, -1.0),
    ]
    assert agreement_over_time(answers[::-1], 2) == parts
    assert agreement_over_time(answers, 1)[0].items == 8
    assert [part.items for part in agreement_over_time(answers, 3)] == [2, 3, 3]


def test_agreement_over_time_of_few_items_has_fewer_parts():
    both = {"i1": Label.NEEDED, "i2": Label.UNSURE}
    parts = agreement_over_time(timed("li", both) + timed("wu", both), 5)
    assert [(part.items, part.kappa) for part in parts] == [(1, None), (1, None)]
    assert agreement_over_time(timed("li", both), 5) == []
    with pytest.raises(ValueError, match="at least one part"):
        agreement_over_time([], 0)


STARTS = {f"g1:{n}": 1_000 * n for n in range(4_000)}


def test_splits_have_the_shares_asked_for():
    splits = list(split_conversations(STARTS, validation=0.05, test=0.25, test_from=None).values())
    assert splits.count("test") / len(splits) == pytest.approx(0.25, abs=0.025)
    assert splits.count("validation") / len(splits) == pytest.approx(0.75 * 0.05, abs=0.012)


def test_a_conversations_split_depends_on_nothing_but_itself():
    everywhere = split_conversations(STARTS, validation=0.3, test=0.3, test_from=None)
    some = dict(list(STARTS.items())[::-7])
    alone = split_conversations(some, validation=0.3, test=0.3, test_from=None)
    assert alone == {conversation: everywhere[conversation] for conversation in some}
    # Written down, so that a change of the rule, which would mix test items into training, is noticed.
    assert stable_fraction("g1:1", "test") == pytest.approx(0.09426004, abs=1e-8)


def test_krippendorffs_alpha_is_that_of_a_worked_example_and_needs_no_complete_answers():
    # Computed by hand from coincidences: 8 pairable values, 2 of 8 ordered pairs within items differ, 30 of 56 of all.
    first = {
        "i1": Label.NEEDED,
        "i2": Label.NEEDED,
        "i3": Label.NOT_NEEDED,
        "i4": Label.NOT_NEEDED,
        "own": Label.UNSURE,
    }
    second = {"i1": Label.NEEDED, "i2": Label.NOT_NEEDED, "i3": Label.NOT_NEEDED, "i4": Label.NOT_NEEDED}
    observed, expected = 2 / 8, 2 * 3 * 5 / (8 * 7)
    assert krippendorff_alpha({"li": first, "wu": second}) == pytest.approx(1 - observed / expected)
    assert krippendorff_alpha({"li": first, "wu": {"other": Label.NEEDED}}) is None
    assert krippendorff_alpha({"li": {"i1": Label.NEEDED}, "wu": {"i1": Label.NEEDED}}) is None


def test_who_differs_from_the_others_stands_out():
    said = [Label.NEEDED, Label.NOT_NEEDED] * 10
    alike = {f"i{number}": label for number, label in enumerate(said)}
    other = alike | {f"i{number}": Label.NEEDED for number in range(0, 20, 3)}
    agreement = largest(agreement_by_round({1: {"li": alike, "wu": alike, "xu": other}}))
    assert agreement.annotators["li"] == agreement.annotators["wu"] > agreement.annotators["xu"]


@pytest.mark.parametrize("name", ["li", "7", "李", "li.wu", "li-wu_2"])
def test_names_of_any_script_with_dots_and_dashes_within_are_files_names(tmp_path, name):
    assert log_path(tmp_path, 12, name) == tmp_path / "round_12" / f"{name}.jsonl"
    assert owner(log_path(tmp_path, 12, name)) == Owner(12, name, "annotates")
    assert owner(adjudication_path(tmp_path, 12, name)) == Owner(12, name, "adjudicates")


@pytest.mark.parametrize("name", ["-li", "li\n", "li\x1b[2J", "li:wu"])
def test_a_name_that_is_no_files_name_is_shown_without_what_it_would_do_to_a_terminal(tmp_path, name):
    with pytest.raises(DataError, match=r"annotator .*: expected letters, digits") as caught:
        log_path(tmp_path, 1, name)
    assert ascii(name) in str(caught.value)


def test_rounds_are_numbered_from_one_without_leading_zeros(tmp_path):
    for number in (0, -1):
        with pytest.raises(DataError, match=rf"expected a log in a folder round_1, round_2, …, got 'round_{number}'"):
            log_path(tmp_path, number, "li")
    (tmp_path / "round_01").mkdir()
    with pytest.raises(DataError, match="round_01: expected only folders round_1"):
        round_folders(tmp_path)


def test_what_is_hidden_or_no_log_is_passed_over(tmp_path):
    (tmp_path / ".jsonl").touch()
    for name in (".git", "round_2", "round_1/adjudication"):
        (tmp_path / name).mkdir(parents=True)
    for name in (".li.jsonl", "li.jsonl~", "review.json", "li.jsonl", "adjudication/.chen.jsonl"):
        (tmp_path / "round_1" / name).write_text("x")
    assert list(round_folders(tmp_path).items()) == [(1, tmp_path / "round_1"), (2, tmp_path / "round_2")]
    assert log_files(tmp_path, 1) == [tmp_path / "round_1" / "li.jsonl"]
    assert adjudication_files(tmp_path, 2) == []
    with pytest.raises(DataError, match=r"expected answers of round 2 in round_2/.*; rounds that have some: 1\. "):
        log_files(tmp_path, 2)
    (tmp_path / "round_1" / "li.jsonl").unlink()
    with pytest.raises(DataError, match=r"rounds that have some: none\. "):
        log_files(tmp_path, 1)


def test_a_round_counts_as_answered_if_it_has_a_log(tmp_path):
    for number, logs in ((1, 1), (2, 2), (3, 0)):
        folder = tmp_path / f"round_{number}"
        folder.mkdir()
        for place in range(logs):
            (folder / f"a{place}.jsonl").write_text("x")
    assert latest_answered(tmp_path) == 2


def test_an_answer_is_held_against_the_round_and_the_name_of_its_log():
    log = Owner(2, "li", "annotates")
    check_owner(answer(round_number=2), log, "li.jsonl:3")
    with pytest.raises(DataError, match=r'li\.jsonl:3: expected "round" 2, as the folder says, got 1'):
        check_owner(answer(), log, "li.jsonl:3")
    with pytest.raises(DataError, match=r"li\.jsonl:3: expected .annotator. 'li', as the file is named, got 'wu'"):
        check_owner(answer(annotator="wu", round_number=2), log, "li.jsonl:3")


N, S, U = Label.NEEDED, Label.NOT_NEEDED, Label.UNSURE


@pytest.mark.parametrize(
    ("labels", "label"),
    [([N], N), ([N, N, S, S, U], None), ([N, S, S], S), ([U, S, U, N], U), ([N, S, U], None), ([S, N, N, N], N)],
)
def test_the_majority_is_the_label_given_most_often_whatever_the_order(labels, label):
    assert majority(labels) == majority(labels[::-1]) == label


def test_annotators_who_each_give_one_label_of_their_own_agree_no_better_than_by_chance():
    assert cohen_kappa([N, N], [S, S]) == 0.0
    assert cohen_kappa([], []) is None
    assert cohen_kappa([N, S], [S, N]) == -1.0


def test_a_pair_without_a_kappa_counts_for_nobody_and_one_item_is_enough_to_share():
    said = {"li": {"a": N, "b": S}, "wu": {"a": N, "b": S, "c": N}, "xu": {"c": N}, "yu": {"z": N}}
    agreement = agreement_by_round({1: said})[1]
    assert (agreement.items, agreement.kappa) == (3, 1.0)
    assert agreement.annotators == {"li": 1.0, "wu": 1.0, "xu": None, "yu": None}
    assert agreement_by_round({1: {"li": {"a": N}, "wu": {"a": N}}})[1][:4] == (1, 1, None, None)
    # Rounds come in the order of their numbers, and three who share an item share one item.
    three = {who: {"a": N, "b": S} for who in ("li", "wu", "xu")}
    assert [(number, one.items) for number, one in agreement_by_round({10: three, 2: said}).items()] == [
        (2, 3),
        (10, 2),
    ]


def test_kappa_of_three_is_the_mean_over_their_pairs():
    same = {f"i{number}": N if number % 2 else S for number in range(10)}
    other = {item: S if label == N else N for item, label in same.items()}
    agreement = agreement_by_round({1: {"li": same, "wu": same, "xu": other}})[1]
    assert agreement.kappa == pytest.approx((1 - 1 - 1) / 3)
    assert agreement.annotators == {"li": 0.0, "wu": 0.0, "xu": -1.0}
    # By hand: of 30 values 15 are of either label; 4 of 6 ordered pairs within an item differ, 450 of 870 of all.
    assert agreement.alpha == pytest.approx(1 - (4 / 6) / (450 / 870))


def test_agreement_follows_the_times_and_not_their_texts():
    # As texts, "12:00:00.5Z" sorts before "12:00:00Z".
    answers = [
        Answer(item_id, who, 1, label, f"2023-10-01T12:00:00{fraction}Z")
        for item_id, fraction, labels in (("a", "", (N, N)), ("b", ".5", (N, S)), ("c", ".7", (S, S)))
        for who, label in zip(("li", "wu"), labels, strict=True)
    ]
    parts = agreement_over_time(answers, 3)
    assert [(part.start[19:], part.end[19:], part.items) for part in parts] == [
        ("Z", "Z", 1),
        (".5Z", ".5Z", 1),
        (".7Z", ".7Z", 1),
    ]
    assert [part.items for part in agreement_over_time(answers, 2)] == [1, 2]
    assert agreement_over_time(answers, 1)[0].kappa == pytest.approx(0.4)
