from __future__ import annotations

from pathlib import Path

import pytest

from nordan_core.domain.errors import OperatorError
from nordan_core.sealing import SealingKey, broker_label

URL = "redis://fr-bru-1:a-password@127.0.0.1:6379/0"
LABEL = broker_label("fr-bru-1")


@pytest.fixture
def key(tmp_path: Path) -> SealingKey:
    path = tmp_path / "sealing-key"
    path.write_text("0123456789abcdef" * 4 + "\n")
    return SealingKey.load(path)


def test_what_is_sealed_opens_with_the_same_secret(key: SealingKey) -> None:
    sealed = key.seal(URL, LABEL)
    assert b"a-password" not in sealed
    assert SealingKey("0123456789abcdef" * 4).open(sealed, LABEL) == URL


def test_the_same_text_is_sealed_to_other_bytes_each_time(key: SealingKey) -> None:
    assert key.seal(URL, LABEL) != key.seal(URL, LABEL)


def test_a_seal_opens_under_its_own_label_and_key_only_and_unchanged_only(key: SealingKey) -> None:
    sealed = key.seal(URL, LABEL)
    other = SealingKey("f" * 64)
    attempts = [
        (key, sealed, broker_label("se-bor-1")),
        (other, sealed, LABEL),
        (key, sealed[:-1] + bytes([sealed[-1] ^ 1]), LABEL),
        (key, b"\x02" + sealed[1:], LABEL),
        (key, b"", LABEL),
        (key, sealed[:5], LABEL),
    ]
    for opener, given, label in attempts:
        with pytest.raises(OperatorError, match="does not open with this key") as caught:
            opener.open(given, label)
        assert "a-password" not in str(caught.value)


def test_a_secret_that_a_person_made_up_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sealing-key"
    path.write_text("correct horse")
    with pytest.raises(OperatorError, match=r"13 characters; it takes 32"):
        SealingKey.load(path)


def test_a_key_shows_nothing_of_itself(key: SealingKey) -> None:
    assert "0123" not in repr(key)
