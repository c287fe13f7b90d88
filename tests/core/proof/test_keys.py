"""Keys on disk and in memory."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from nordan_core.proof.errors import KeyFileExists, KeyUnusable
from nordan_core.proof.keys import PublicKey, SigningKey, create_files, main, trusted

EC_KEY = ec.generate_private_key(ec.SECP256R1())


def test_a_signature_fits_its_bytes_and_its_key_only() -> None:
    key, other = SigningKey.create(), SigningKey.create()
    signature = key.sign(b"order")
    assert key.public.verifies(signature, b"order")
    assert not key.public.verifies(signature, b"Order")
    assert not key.public.verifies(signature[:-1], b"order")
    assert not other.public.verifies(signature, b"order")


def test_a_saved_key_loads_as_the_same_key(tmp_path: Path) -> None:
    key = SigningKey.create()
    key.save(tmp_path / "grant")
    assert SigningKey.load(tmp_path / "grant").public == key.public


def test_a_saved_key_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        SigningKey.create().save(tmp_path / "open")
        os.umask(0o777)
        SigningKey.create().save(tmp_path / "closed")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_saving_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "grant").write_text("mine")
    with pytest.raises(KeyFileExists):
        SigningKey.create().save(tmp_path / "grant")
    assert (tmp_path / "grant").read_text() == "mine"


def test_saving_does_not_follow_a_link(tmp_path: Path) -> None:
    (tmp_path / "grant").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFileExists):
        SigningKey.create().save(tmp_path / "grant")
    assert not (tmp_path / "elsewhere").exists()


def test_public_keys_travel_as_pem_and_keep_their_id() -> None:
    public = SigningKey.create().public
    again = PublicKey.from_pem(public.pem())
    assert (again, again.key_id) == (public, public.key_id)
    assert trusted(public) == {public.key_id: again}
    assert len({public, again}) == 1


def test_no_representation_shows_the_secret(tmp_path: Path) -> None:
    key = SigningKey.create()
    key.save(tmp_path / "grant")
    secret_line = (tmp_path / "grant").read_text().splitlines()[1]
    assert secret_line not in repr(key) + str(key) + repr(key.public)


@pytest.mark.parametrize("pem", ["", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", b"\xff\x00"])
def test_text_that_is_no_key_is_refused(pem: str | bytes) -> None:
    with pytest.raises(KeyUnusable):
        PublicKey.from_pem(pem)


def test_a_public_key_of_another_kind_is_refused() -> None:
    pem = EC_KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(KeyUnusable, match="not an Ed25519"):
        PublicKey.from_pem(pem)


def test_a_private_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ec"
    path.write_bytes(
        EC_KEY.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    with pytest.raises(KeyUnusable, match="not an Ed25519"):
        SigningKey.load(path)


def test_an_absent_or_garbled_key_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "garbled").write_text("no key")
    for name in ("absent", "garbled"):
        with pytest.raises(KeyUnusable, match=name):
            SigningKey.load(tmp_path / name)
    with pytest.raises(KeyUnusable, match="absent"):
        PublicKey.load(tmp_path / "absent")


def test_the_command_writes_both_halves_and_refuses_to_do_it_twice(tmp_path: Path) -> None:
    path = tmp_path / "certificate"
    command = [sys.executable, "-m", "nordan_core.proof.keys", "create", str(path)]
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (first.returncode, first.stderr) == (0, "")
    key = SigningKey.load(path)
    assert first.stdout.strip() == key.public.key_id
    assert PublicKey.load(tmp_path / "certificate.pub") == key.public

    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert "never overwritten" in second.stderr
    assert SigningKey.load(path).public == key.public


def test_a_left_over_public_half_stops_creation_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "grant.pub").write_text("other")
    with pytest.raises(KeyFileExists):
        create_files(tmp_path / "grant")
    assert not (tmp_path / "grant").exists()


def test_a_missing_folder_is_one_sentence_not_a_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["create", str(tmp_path / "absent" / "grant")]) == 1
    assert "absent" in capsys.readouterr().err
