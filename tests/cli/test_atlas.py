"""`nordan admin atlas`: whose an atlas is, and what another one would change."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from nordan_core.atlas.loader import default_atlas, default_atlas_bytes, default_atlas_signature
from nordan_core.proof.atlas_signature import packaged_signature
from nordan_core.proof.keys import create_files
from nordan_core.residency.atlas import parse_atlas
from support.command_line import Nordan
from support.fake_rest import FakeRest


@pytest.fixture
def own(tmp_path: Path) -> Path:
    document = json.loads(default_atlas_bytes()) | {"version": "ours-2026-12"}
    path = tmp_path / "ours.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    create_files(tmp_path / "key")
    return path


def test_the_packaged_atlas_verifies_without_a_server(nordan: Nordan) -> None:
    done = nordan("admin", "atlas", "verify")
    assert done.code == 0
    assert done.out == f"{default_atlas().version} {default_atlas().digest}, signed by a release of Nordan\n"


def test_ones_own_atlas_is_signed_and_verifies_for_whoever_trusts_the_key(nordan: Nordan, own: Path) -> None:
    assert nordan("admin", "atlas", "sign", str(own), "--key", str(own.with_name("key"))).code == 0
    trusting = ("--trust", str(own.with_name("key.pub")))
    done = nordan("admin", "atlas", "verify", str(own), *trusting)
    assert (done.code, done.out[:13]) == (0, "ours-2026-12 ")
    stranger = nordan("admin", "atlas", "verify", str(own))
    assert (stranger.code, "not trusted here" in stranger.err) == (1, True)
    own.write_bytes(own.read_bytes().replace(b"Andorra", b"andorra"))
    changed = nordan("admin", "atlas", "verify", str(own), *trusting)
    assert (changed.code, "does not fit" in changed.err) == (1, True)


def test_what_is_no_atlas_is_not_signed(nordan: Nordan, own: Path) -> None:
    own.write_text("{}", encoding="utf-8")
    done = nordan("admin", "atlas", "sign", str(own), "--key", str(own.with_name("key")))
    assert (done.code, "nordan-atlas/1" in done.err) == (2, True)
    assert not own.with_name("ours.json.sig").exists()


def test_an_atlas_without_a_signature_is_wrong_use(nordan: Nordan, own: Path) -> None:
    done = nordan("admin", "atlas", "verify", str(own))
    assert (done.code, "cannot read" in done.err) == (2, True)


DIFF = {
    "in_force": {"version": "europe-2026-11", "digest": "a" * 64},
    "offered": {
        "version": "ours-2026-12",
        "digest": "b" * 64,
        "signed_by": {"key": "c" * 64, "release": False},
    },
    "is_newer": True,
    "lacking": [],
    "changes": [{"kind": "group", "name": "EU SE", "before": "from 1995", "after": ""}],
    "layers": [{"kind": "project", "name": "default", "of": "home", "refused": ["se-bor-1-h200"], "allowed": []}],
    "policies": [],
    "pools": [{"pool": "se-bor-1-h200", "refused": 1, "allowed": 0, "attempts": 1}],
    "attempts": [
        {
            "attempt": "att_1",
            "job": "job_1",
            "pool": "se-bor-1-h200",
            "project": "default",
            "now": "refused",
            "refusals": [{"facet": "process", "want": "[EU]", "have": "SE"}],
        }
    ],
    "data": [],
}


@pytest.fixture
def signed(nordan: Nordan, own: Path) -> Path:
    assert nordan("admin", "atlas", "sign", str(own), "--key", str(own.with_name("key"))).code == 0
    return own


def test_a_diff_is_shown_in_the_order_in_which_one_decides(nordan: Nordan, rest: FakeRest, signed: Path) -> None:
    rest.on("POST /v1/atlas:diff", DIFF)
    done = nordan("admin", "atlas", "diff", str(signed))
    assert done.code == 0
    places = [done.out.index(word) for word in ("ours-2026-12", "EU SE", "project default", "att_1", "to be fenced")]
    assert places == sorted(places)
    assert "process wants [EU], found SE" in done.out
    sent = json.loads(rest.sent("POST /v1/atlas:diff")[0].content)
    assert sent["signature"] == json.loads(signed.with_name("ours.json.sig").read_bytes())


def applied(rest: FakeRest) -> int:
    return len(rest.sent("POST /v1/atlas:apply"))


def test_apply_wants_the_digest_of_what_was_shown(
    nordan: Nordan, rest: FakeRest, signed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest.on("POST /v1/atlas:diff", DIFF)
    rest.on("POST /v1/atlas:apply", DIFF)
    digest = parse_atlas(signed.read_bytes()).digest
    typed = iter(["yes", digest[:11], "0" * 64, digest[:12], digest])
    monkeypatch.setattr("typer.prompt", lambda *_, **__: next(typed))
    for _ in range(3):
        refused = nordan("admin", "atlas", "apply", str(signed))
        assert (refused.code, "nothing was changed" in refused.err) == (1, True)
    assert applied(rest) == 0
    for count in (1, 2):
        done = nordan("admin", "atlas", "apply", str(signed))
        assert (done.code, "ours-2026-12 is in force" in done.err) == (0, True)
        assert applied(rest) == count
    assert json.loads(rest.sent("POST /v1/atlas:apply")[-1].content)["digest"] == digest


def test_a_script_says_the_digest_or_yes(nordan: Nordan, rest: FakeRest, signed: Path) -> None:
    rest.on("POST /v1/atlas:diff", DIFF)
    rest.on("POST /v1/atlas:apply", DIFF)
    other = nordan("admin", "atlas", "apply", str(signed), "--digest", "0" * 64)
    assert (other.code, applied(rest)) == (2, 0)
    assert nordan("admin", "atlas", "apply", str(signed), "--digest", parse_atlas(signed.read_bytes()).digest).code == 0
    assert nordan("admin", "atlas", "apply", str(signed), "--yes").code == 0
    assert applied(rest) == 2


def test_an_atlas_is_fetched_byte_for_byte_with_its_signature(nordan: Nordan, rest: FakeRest, tmp_path: Path) -> None:
    digest = default_atlas().digest
    named = {"version": "europe-2026-11", "digest": digest}
    rest.on("GET /v1/atlas", {"in_force": named, "packaged": named, "items": []})
    data = base64.b64encode(default_atlas_bytes()).decode()
    rest.on(f"GET /v1/atlas/{digest}", {"digest": digest, "data": data, "signature": dict(packaged_signature())})
    assert nordan("admin", "atlas", "get", "--out", str(tmp_path / "a.json")).code == 0
    assert (tmp_path / "a.json").read_bytes() == default_atlas_bytes()
    assert (tmp_path / "a.json.sig").read_bytes() == default_atlas_signature()
    assert digest in nordan("admin", "atlas", "show").out


@pytest.mark.parametrize("told", ["another's", "its own"])
def test_an_atlas_that_is_not_the_one_asked_for_is_not_written(
    nordan: Nordan, rest: FakeRest, tmp_path: Path, told: str
) -> None:
    """Whatever digest the server says that it has."""
    data, digest = default_atlas_bytes() + b" ", default_atlas().digest
    says = digest if told == "another's" else parse_atlas(data).digest
    body = {"digest": says, "data": base64.b64encode(data).decode(), "signature": dict(packaged_signature())}
    rest.on(f"GET /v1/atlas/{digest}", body)
    done = nordan("admin", "atlas", "get", digest, "--out", str(tmp_path / "a.json"))
    assert (done.code, "another atlas" in done.err) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_brackets_and_numbers_without_end_are_no_atlas(nordan: Nordan, own: Path) -> None:
    for text in ("[" * 100_000, '{"format": ' + "9" * 5000 + "}"):
        own.write_text(text, encoding="utf-8")
        done = nordan("admin", "atlas", "sign", str(own), "--key", str(own.with_name("key")))
        assert (done.code, "not JSON" in done.err) == (2, True)
