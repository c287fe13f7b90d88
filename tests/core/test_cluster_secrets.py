"""A control plane's Secrets: each key where its one user is, and nothing twice."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from nordan_core.cluster_secrets import main
from nordan_core.proof.keys import PublicKey, SigningKey
from nordan_core.sealing import SealingKey


def made(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, dict[str, str]]:
    assert main(words) == 0
    objects = list(yaml.safe_load_all(capsys.readouterr().out))
    assert {one["kind"] for one in objects} == {"Secret"}
    assert {one["metadata"]["namespace"] for one in objects} == {"nordan"}
    return {one["metadata"]["name"]: one["stringData"] for one in objects}


def test_every_process_finds_keys_that_it_can_use(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = made(capsys)
    for secret in found.values():
        for name, text in secret.items():
            (tmp_path / name).write_text(text)
    SigningKey.load(tmp_path / "grant.key")
    SealingKey.load(tmp_path / "sealing-key")
    signer = SigningKey.load(tmp_path / "certificate.key")
    assert signer.public == PublicKey.load(tmp_path / "certificate.key.pub")


def test_the_two_signing_keys_are_in_secrets_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    found = made(capsys)
    assert [set(found[name]) for name in ("nordan-grant-key", "nordan-certificate-key")] == [
        {"grant.key"},
        {"certificate.key"},
    ]


def test_a_new_database_gets_a_password_that_its_url_does_not_hold(capsys: pytest.CaptureFixture[str]) -> None:
    assert "nordan-database" not in made(capsys)
    found = made(capsys, "--new-database", "nordan-postgres")["nordan-database"]
    assert found["url"] == "postgresql://nordan@nordan-postgres/nordan"
    assert len(found["password"]) == 64


def test_secrets_are_new_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = made(capsys), made(capsys)
    assert all(first[name] != second[name] for name in first)
