"""Of the derogations that cover a job, no more are used than are needed."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from nordan_core.residency.derogations import Covering, coverings, fewer, fewest
from support.derogations import a_derogation, bearings


def _named(names: str) -> tuple[Covering, ...]:
    return coverings([a_derogation(id=f"drg_{name}") for name in reversed(names)], bearings())


def _names(some: Iterable[Covering]) -> str:
    return "".join(one.derogation.id.removeprefix("drg_") for one in some)


class TestTheFewestThatAreEnough:
    """So that none is used up without need."""

    @pytest.mark.parametrize(
        ("names", "needed", "used"),
        [
            ("ab", "", "a"),
            ("ab", "b", "b"),
            ("ab", "ab", "ab"),
            ("abc", "bc", "bc"),
            ("abc", "ac", "ac"),
            ("abcdef", "bdf", "bdf"),
            ("abcdefg", "bg", "bg"),
            ("abcdefg", "g", "g"),
            ("abcdefg", "bdf", "bdf"),
            ("abcdefgh", "acegh", "acegh"),
            ("abcdefg", "abcdefg", "abcdefg"),
            ("ab", "x", ""),
            ("", "", ""),
        ],
    )
    def test_no_more_are_used_than_needed_the_first_in_order_of_id(self, names: str, needed: str, used: str) -> None:
        """Of more than six too."""
        asked: list[str] = []

        def is_enough(some: tuple[Covering, ...]) -> bool:
            asked.append(_names(some))
            return set(needed) <= set(asked[-1])

        assert _names(fewest(_named(names), is_enough)) == used
        assert asked[:1] == ([names] if names else []), "all are asked first"
        assert used or len(asked) <= 1, "and the search is spared where they do not help"
        assert len(asked) <= 1 + (62 if len(names) <= 6 else 2 * len(names)), (
            "of many each is asked about twice at most"
        )

    def test_of_many_none_is_used_that_may_be_left_out(self) -> None:
        """Where several sets would do, what is used has none to spare; the newest are left out first."""

        def is_enough(some: tuple[Covering, ...]) -> bool:
            return any(set(one) <= set(_names(some)) for one in ("abc", "fg", "deg"))

        assert _names(fewest(_named("abcdefg"), is_enough)) == "abc"

    def test_those_who_are_fewer_come_first(self) -> None:
        """All ways to use some of six; of seven, each alone."""
        ways = [_names(some) for some in fewer(_named("abc"))]
        assert ways == ["a", "b", "c", "ab", "ac", "bc"]
        assert list(fewer(_named("a"))) == []
        assert [len([*fewer(_named("abcdefg"[:count]))]) for count in (6, 7)] == [62, 7]
