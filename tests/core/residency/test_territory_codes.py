"""Codes are exact, and an error says what was meant."""

from __future__ import annotations

import pytest

from nordan_core.residency.errors import PolicyError
from support.residency import ATLAS

MEANT = {
    "the old name of Great Britain's code": ("UK", "'GB'"),
    "Greece as the EU abbreviates it": ("EL", "'GR'"),
    "a lower-case code": ("fr", "'FR'"),
    "full-width letters": ("\uff26\uff32", "'FR'"),
    "a trailing newline": ("FR\n", "'FR'"),
    "a leading space": (" FR", "'FR'"),
    "a Cyrillic look-alike": ("\u0415\u0415", "'EE'"),
    "a Greek look-alike": ("\u039d\u039f", "'NO'"),
    "a three-letter code": ("FRA", "'FR'"),
    "an English name": ("France", "'FR'"),
    "a subdivision that has a code of its own": ("FR-GP", "'GP'"),
    "a subdivision without law of its own": ("FR-IDF", "'FR'"),
    "a reserved code": ("IC", "'ES-CN'"),
}


@pytest.mark.parametrize(("written", "meant"), MEANT.values(), ids=MEANT)
def test_a_code_that_is_nearly_right_is_refused_with_what_was_meant(written: str, meant: str) -> None:
    with pytest.raises(PolicyError) as caught:
        ATLAS.parse_territory(written, "process.0")
    assert caught.value.field == "process.0"
    assert f"did you mean {meant}?" in caught.value.message


REFUSED = {
    "YAML's NO": (False, 'write "NO" in quotes'),
    "another truth value": (True, "found a truth value"),
    "a number": (33, "found a number"),
    "nothing": (None, "found nothing"),
    "a list": (["FR"], "found a list"),
    "an empty text": ("", "is empty"),
    "spaces only": ("  ", "is empty"),
    "a star": ("*", "left out restricts nothing"),
    "a code that is in use but not assigned": ("XK", "Kosovo"),
    "two territories under one reserved code": ("EA", "ES-ML"),
    "a dissolved territory": ("AN", "dissolved in 2010"),
    "a code that never was": ("ZZ", "such as 'FR'"),
    "a vendor's region": ("eu-west-1", "regions' own names are not read"),
    "a vendor's region that begins like a state": ("us-east-1", "regions' own names are not read"),
    "a name in another language": ("Deutschland", "such as 'FR'"),
}


@pytest.mark.parametrize(("written", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_code_is_refused_with_a_reason(written: object, said: str) -> None:
    for parse in (ATLAS.parse_territory, ATLAS.parse_term):
        with pytest.raises(PolicyError) as caught:
            parse(written, "process.0")
        assert said in caught.value.message


def test_a_message_shows_characters_that_cannot_be_seen() -> None:
    with pytest.raises(PolicyError) as caught:
        ATLAS.parse_territory("\uff26\uff32\n", "process.0")
    assert r"'\uff26\uff32\n'" in caught.value.message


def test_a_message_never_repeats_a_long_text() -> None:
    with pytest.raises(PolicyError) as caught:
        ATLAS.parse_territory("x" * 100_000, "process.0")
    assert len(caught.value.message) < 300


def test_a_group_is_a_term_but_no_territory() -> None:
    assert ATLAS.parse_term("EU", "process.0") == "EU"
    with pytest.raises(PolicyError, match="is a group"):
        ATLAS.parse_territory("EU", "territory")


def test_a_lower_case_group_is_meant_only_where_groups_are_allowed() -> None:
    with pytest.raises(PolicyError, match="did you mean 'EU'"):
        ATLAS.parse_term("eu", "process.0")
    with pytest.raises(PolicyError) as caught:
        ATLAS.parse_territory("eu", "territory")
    assert "'EU'" not in caught.value.message


def test_a_misspelt_group_is_guessed() -> None:
    with pytest.raises(PolicyError, match="did you mean 'ADEQUATE'"):
        ATLAS.parse_term("ADEQUAT", "process.0")


def test_every_code_parses_to_itself() -> None:
    assert all(ATLAS.parse_territory(code, "f") == code for code in ATLAS.territories)


def test_no_code_of_another_case_width_or_spacing_parses() -> None:
    for code in ATLAS.territories:
        wide = "".join(chr(ord(letter) + 0xFEE0) if letter.isalpha() else letter for letter in code)
        for written in (code.lower(), code + "\n", " " + code, wide, code + "\u200b"):
            with pytest.raises(PolicyError):
                ATLAS.parse_territory(written, "f")
