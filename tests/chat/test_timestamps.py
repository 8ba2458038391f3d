"""Timestamps: numbers, texts, timezones, and the mistakes that are refused."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chatladder.chat.formats.times import parse_timestamp, resolution
from chatladder.io.console import DataError

SHANGHAI = ZoneInfo("Asia/Shanghai")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        (1672531200, 1672531200),
        (1672531200.9, 1672531200),
        (" 1672531200.9 ", 1672531200),
        ("2023-01-01T00:00:00Z", 1672531200),
        ("2023-01-01 08:00+08:00", 1672531200),
        ("2023-01-01T08:00:00", 1672531200),
        ("2023-01-01", 1672531200 - 8 * 3600),
        ("1883-03-07T12:00:00+00:00", -2739787200),
        ("1969-12-31T23:59:59.5+00:00", -1),
        (datetime(2023, 1, 1, 8), 1672531200),
        (datetime(2023, 1, 1, tzinfo=UTC), 1672531200),
    ],
)
def test_seconds_of_numbers_and_of_texts_in_a_timezone(value, seconds):
    assert parse_timestamp(value, "chat:1", SHANGHAI) == seconds


def test_a_text_without_an_offset_is_utc_unless_told_otherwise():
    assert parse_timestamp("2023-01-01T00:00:00", "chat:1") == 1672531200


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-5, r"chat:1: expected a timestamp in UTC seconds since 1970, got -5\."),
        ("-5", r"since 1970, got -5\.0\."),
        (float("nan"), "since 1970, got nan"),
        (float("inf"), "since 1970, got inf"),
        (1672531200000, "got 1672531200000, which looks like milliseconds. Divide"),
        (True, "in UTC seconds, got bool"),
        ([], "in UTC seconds, got list"),
        ("yesterday at 5\x1b", r"ISO 8601 such as 2023-01-31T14:05:00, got one like 'a a 9\ufffd' \(9 for a digit"),
        ("0001-01-01T00:00:00", "got 0001-01-01T00:00:00, which some programs write for none"),
    ],
)
def test_mistakes_are_refused_by_name(value, message):
    with pytest.raises(DataError, match=message):
        parse_timestamp(value, "chat:1", SHANGHAI)


@settings(deadline=None)
@given(value=st.one_of(st.text(max_size=30), st.integers(), st.floats(), st.datetimes(), st.none(), st.booleans()))
@example(value="0\x1f")
def test_any_value_is_seconds_or_refused(value):
    try:
        seconds = parse_timestamp(value, "chat:1", SHANGHAI)
    except DataError:
        return
    assert seconds is None or isinstance(seconds, int)


def test_texts_without_seconds_are_exact_to_a_minute():
    values = ("2023-01-01 08:00", "2023-01-01T08:00Z", "2023-01-01 08:00:00", 5)
    assert [resolution(value) for value in values] == [60, 60, 1, 1]
