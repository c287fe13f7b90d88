"""One JSON text per value."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nordan_core.proof.canonical import canonical_json, digest_of, from_canonical, sha256_hex
from nordan_core.proof.errors import NotCanonical

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


def test_keys_are_sorted_and_nothing_is_spaced_or_escaped() -> None:
    assert canonical_json({"b": [1, True, None], "a": "Å/"}) == '{"a":"Å/","b":[1,true,null]}'.encode()


@given(VALUES)
def test_what_is_written_reads_back_equal_and_in_one_spelling(value: object) -> None:
    text = canonical_json(value)
    assert from_canonical(text) == value
    assert canonical_json(json.loads(text)) == text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": b"x"}, "\ud800", {1: 0, "1": 0}, {1, 2}])
def test_a_value_that_json_does_not_carry_is_refused(value: object) -> None:
    with pytest.raises(NotCanonical):
        canonical_json(value)


def test_nesting_too_deep_to_read_is_refused_both_ways() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(NotCanonical):
        canonical_json(deep)
    with pytest.raises(NotCanonical):
        from_canonical(b"[" * 100_000 + b"]" * 100_000)


@pytest.mark.parametrize(
    "data",
    [
        b'{"b":1,"a":2}',
        b'{"a": 1}',
        b'{"a":1,"a":1}',
        b'{"a":"\\u0062"}',
        b'{"a":1.0e0}',
        b'{"a":NaN}',
        b'{"a":1}\n',
        b"\xff",
        b"",
        b"{",
    ],
)
def test_another_spelling_is_refused(data: bytes) -> None:
    with pytest.raises(NotCanonical):
        from_canonical(data)


def test_digests_are_of_the_canonical_text() -> None:
    assert sha256_hex(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digest_of({"b": 1, "a": 2}) == sha256_hex(b'{"a":2,"b":1}')
