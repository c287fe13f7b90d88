"""One byte form for each value."""

from __future__ import annotations

import pytest

from nordan_core.residency.canonical import canonical_json, digest_of


def test_keys_are_sorted_and_nothing_is_spaced() -> None:
    assert canonical_json({"b": [1, "é"], "a": None}) == '{"a":null,"b":[1,"é"]}'.encode()


@pytest.mark.parametrize("value", [1.5, [1.5], {"a": {"b": (2.0,)}}])
def test_a_float_has_no_one_form(value: object) -> None:
    with pytest.raises(TypeError, match="is a float"):
        canonical_json(value)


def test_equal_values_have_equal_digests_and_others_do_not() -> None:
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": "1"})
