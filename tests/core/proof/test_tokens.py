"""Grants, renewals and passes."""

import base64
import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nordan_core.proof.canonical import canonical_json
from nordan_core.proof.dsse import envelope_bytes, sign_envelope
from nordan_core.proof.errors import (
    TokenError,
    TokenExpired,
    TokenForged,
    TokenMalformed,
    TokenNotYetValid,
)
from nordan_core.proof.keys import SigningKey, trusted
from nordan_core.proof.tokens import (
    SKEW_S,
    AccessClaims,
    GrantClaims,
    RenewalClaims,
    RenewalItem,
    SessionClaims,
    mint,
    mint_access,
    mint_grant,
    mint_renewal,
    mint_session,
    read,
    read_access,
    read_grant,
    read_renewal,
    read_session,
)

KEY = SigningKey.create()
KEYS = trusted(KEY.public)
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
NOW_S = int(NOW.timestamp())

GRANT = GrantClaims(
    grant_id="grt_1",
    attempt_id="att_1",
    job_id="job_1",
    region="fr-bru-1",
    pool="h100",
    nodes=("n1", "n2"),
    fence=3,
    redemption_id="r",
    issued_at=NOW,
    expires_at=NOW + timedelta(seconds=45),
    policy_digest="0" * 64,
    epoch=7,
)
RENEWAL = RenewalClaims(
    "fr-bru-1", "sup_1", "ab" * 16, NOW, (RenewalItem("att_1", 3, 45), RenewalItem("att_2", 1, 900))
)
ACCESS = AccessClaims("gateway:fr-bru-1", "attempt:att_1", "read", "key_1", NOW + timedelta(minutes=5))

SESSION = SessionClaims("gateway:fr-bru-1", "exs_1", "att_1", 1, "key_1", NOW + timedelta(minutes=1))


def test_each_kind_reads_back_as_it_was_minted() -> None:
    assert read_grant(mint_grant(GRANT, KEY), keys=KEYS, now=NOW) == GRANT
    assert read_renewal(mint_renewal(RENEWAL, KEY), keys=KEYS) == RENEWAL
    assert read_access(mint_access(ACCESS, KEY), keys=KEYS, now=NOW) == ACCESS
    assert read_session(mint_session(SESSION, KEY), keys=KEYS, now=NOW) == SESSION


def test_what_an_object_stands_for_is_said_where_there_is_something_to_say() -> None:
    about = replace(ACCESS, about="artifact:art_1")
    assert read_access(mint_access(about, KEY), keys=KEYS, now=NOW) == about
    assert len(mint_access(about, KEY)) > len(mint_access(ACCESS, KEY))


def test_a_token_is_one_word_that_a_header_can_carry() -> None:
    token = mint_grant(GRANT, KEY)
    assert token.isascii()
    assert not set(token) - set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_the_same_claims_give_the_same_token() -> None:
    assert mint_grant(GRANT, KEY) == mint_grant(GRANT, KEY)


def test_a_pass_cannot_be_shown_as_a_grant() -> None:
    with pytest.raises(TokenForged):
        read_grant(mint_access(ACCESS, KEY), keys=KEYS, now=NOW)


def test_a_pass_to_an_object_cannot_be_shown_as_one_to_a_session() -> None:
    with pytest.raises(TokenForged):
        read_session(mint_access(ACCESS, KEY), keys=KEYS, now=NOW)
    with pytest.raises(TokenForged):
        read_access(mint_session(SESSION, KEY), keys=KEYS, now=NOW)


def test_a_token_of_a_foreign_key_is_forged() -> None:
    with pytest.raises(TokenForged):
        read_grant(mint_grant(GRANT, SigningKey.create()), keys=KEYS, now=NOW)


def test_a_token_holds_until_its_end_and_the_skew_after_it() -> None:
    token = mint_grant(GRANT, KEY)
    last = GRANT.expires_at + timedelta(seconds=SKEW_S) - timedelta(microseconds=1)
    assert read_grant(token, keys=KEYS, now=last) == GRANT
    with pytest.raises(TokenExpired) as caught:
        read_grant(token, keys=KEYS, now=GRANT.expires_at + timedelta(seconds=SKEW_S))
    assert caught.value.expired_at == GRANT.expires_at


def test_a_token_from_the_future_is_refused_beyond_the_skew() -> None:
    token = mint_grant(GRANT, KEY)
    read_grant(token, keys=KEYS, now=NOW - timedelta(seconds=SKEW_S))
    with pytest.raises(TokenNotYetValid) as caught:
        read_grant(token, keys=KEYS, now=NOW - timedelta(seconds=SKEW_S + 1))
    assert caught.value.issued_at == NOW


def test_changing_any_character_is_noticed() -> None:
    token = mint_access(ACCESS, KEY)
    for position, old in enumerate(token):
        for new in ("A", "B", "-", "=", "é"):
            if new != old:
                with pytest.raises(TokenError):
                    read_access(token[:position] + new + token[position + 1 :], keys=KEYS, now=NOW)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_but_never_crashes(text: str) -> None:
    with pytest.raises(TokenError):
        read(text, kind="grant", keys=KEYS, now=NOW)


BAD_CLAIMS: dict[str, object] = {
    "no end": {"iat": NOW_S},
    "an end that is text": {"exp": str(NOW_S)},
    "an end that is a fraction": {"exp": NOW_S + 0.5},
    "an end that is true": {"exp": True},
    "a start that is null": {"exp": NOW_S + 9, "iat": None},
    "claims that are a list": [],
    "an end beyond the calendar": {"exp": -(10**30)},
}


@pytest.mark.parametrize("claims", BAD_CLAIMS.values(), ids=BAD_CLAIMS.keys())
def test_an_honestly_signed_token_without_sound_times_is_malformed(claims: object) -> None:
    envelope = sign_envelope("application/vnd.nordan.grant+json", canonical_json(claims), KEY)
    token = base64.urlsafe_b64encode(envelope_bytes(envelope)).rstrip(b"=").decode()
    with pytest.raises(TokenMalformed):
        read(token, kind="grant", keys=KEYS, now=NOW)


def claims_of(token: str) -> dict[str, object]:
    envelope = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    claims: dict[str, object] = json.loads(base64.b64decode(envelope["payload"]))
    return claims


@pytest.mark.parametrize(
    ("name", "value"),
    [("fence", "3"), ("fence", -1), ("fence", True), ("nodes", "n1"), ("nodes", [1]), ("region", ""), ("pool", None)],
)
def test_a_grant_with_a_mistyped_claim_is_malformed(name: str, value: object) -> None:
    token = mint({**claims_of(mint_grant(GRANT, KEY)), name: value}, kind="grant", key=KEY)
    with pytest.raises(TokenMalformed):
        read_grant(token, keys=KEYS, now=NOW)


@pytest.mark.parametrize("items", ["x", ["att_1"], [["att_1", 3]], [["att_1", 3, "45"]]])
def test_a_renewal_with_mistyped_items_is_malformed(items: object) -> None:
    token = mint({**claims_of(mint_renewal(RENEWAL, KEY)), "items": items}, kind="renewal", key=KEY)
    with pytest.raises(TokenMalformed):
        read_renewal(token, keys=KEYS)


def test_an_extra_or_missing_claim_makes_a_grant_malformed() -> None:
    honest = claims_of(mint_grant(GRANT, KEY))
    for claims in ({**honest, "admin": True}, {k: v for k, v in honest.items() if k != "epoch"}):
        with pytest.raises(TokenMalformed):
            read_grant(mint(claims, kind="grant", key=KEY), keys=KEYS, now=NOW)


def test_minting_refuses_a_naive_instant() -> None:
    with pytest.raises(ValueError, match="time zone"):
        mint_grant(replace(GRANT, issued_at=NOW.replace(tzinfo=None)), KEY)


def test_an_endless_text_is_refused_undecoded() -> None:
    with pytest.raises(TokenMalformed, match="at most"):
        read("A" * 5_000_000, kind="grant", keys=KEYS, now=NOW)


def test_a_thousand_grants_are_minted_and_read_in_a_blink() -> None:
    """The bound is loose (a tenth of the aim of 2,000 a second), to fail on a blunder and not on a busy machine."""
    started = time.process_time()
    for _ in range(1000):
        read_grant(mint_grant(GRANT, KEY), keys=KEYS, now=NOW)
    assert time.process_time() - started < 5.0
