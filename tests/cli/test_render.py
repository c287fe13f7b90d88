"""Values as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from nordan_cli import render
from nordan_cli.errors import FieldFault, Problem
from nordan_cli.sse import Event, events
from nordan_cli.text import plain

NOW = datetime(2026, 11, 1, tzinfo=UTC)

SPANS = {0: "0s", 0.9: "0s", 59: "59s", 60: "1m", 61: "1m 1s", 3600: "1h", 3661: "1h 1m", 90000: "1d 1h", 86400: "1d"}


@pytest.mark.parametrize("seconds", SPANS)
def test_a_length_of_time_shows_its_two_largest_units(seconds: float) -> None:
    assert render.span(seconds) == SPANS[seconds]


def test_an_instant_is_told_from_now() -> None:
    assert render.ago(NOW - timedelta(seconds=90), NOW) == "1m 30s ago"
    assert render.ago(NOW + timedelta(hours=2), NOW) == "in 2h"
    assert render.ago(None, NOW) == ""


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, ""),
        (0, "0.00 EUR"),
        (1.5, "1.50 EUR"),
        (0.25, "0.25 EUR"),
        (0.000681, "0.000681 EUR"),
        (1234.5, "1234.50 EUR"),
    ],
)
def test_small_amounts_are_not_rounded_away(amount: float | None, text: str) -> None:
    assert render.eur(amount) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 * 1024**4, "5.0 TiB")])
def test_sizes_are_in_binary_units(count: int, text: str) -> None:
    assert render.size(count) == text


PLAIN: dict[str, tuple[object, str]] = {
    "a list": (["FR", "SE"], "FR, SE"),
    "an empty list": ([], "none"),
    "nothing": (None, ""),
    "an intersection": ({"all_of": [["EEA"], ["FR", "PT"]]}, "EEA and (FR, PT)"),
    "members": ({"facet": "process", "want": ["FR"], "have": None, "note": ""}, "facet process, want FR"),
    "a sentence among members": ({"facet": "process", "sentence": "the job asks PT"}, "the job asks PT"),
    "a list of members": ([{"a": 1}, {"b": 2}], "a 1; b 2"),
    "a number": (3, "3"),
}


@pytest.mark.parametrize("case", PLAIN)
def test_any_value_fits_on_one_line(case: str) -> None:
    value, text = PLAIN[case]
    assert plain(value) == text


def test_a_table_shows_markup_and_wide_letters_as_they_are() -> None:
    shown = render.table(("name", "x"), [("[red]a[/red]", 1), ("日本", 2)])
    assert shown.splitlines() == ["NAME          X", "[red]a[/red]  1", "日本          2"]


def test_a_problem_says_nothing_twice() -> None:
    fault = FieldFault("nodes", "must be above zero")
    problem = Problem(422, "invalid", "", "nodes: must be above zero", (fault,))
    assert str(problem) == "nodes: must be above zero (invalid)"


STREAMS: dict[str, tuple[bytes, list[Event]]] = {
    "an event with all its fields": (b"id: 1\nevent: log\ndata: a\n\n", [Event("log", b"a", "1")]),
    "data over several lines": (b"data: a\ndata: b\n\n", [Event("message", b"a\nb")]),
    "carriage returns": (b"data: a\r\n\r\n", [Event("message", b"a")]),
    "only one space is taken away": (b"data:  a\n\n", [Event("message", b" a")]),
    "no space": (b"data:a\n\n", [Event("message", b"a")]),
    "an empty line of a log": (b"data:\n\n", [Event("message", b"")]),
    "a kind without data": (b"event: end\n\n", [Event("end", b"")]),
    "a comment": (b": ping\n\n", [Event("keepalive", b"")]),
    "an unknown field": (b"retry: 3\n\ndata: a\n\n", [Event("message", b"a")]),
    "an event cut off": (b"data: a\n\ndata: b\n", [Event("message", b"a")]),
    "separators of other alphabets": ("data: a\u2028b\x0cc\n\n".encode(), [Event("message", "a\u2028b\x0cc".encode())]),
}


@pytest.mark.parametrize("case", STREAMS)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_events_are_read_whatever_the_chunks(case: str, size: int) -> None:
    text, found = STREAMS[case]
    assert list(events(text[at : at + size] for at in range(0, len(text), size))) == found
