"""Certificates: fetched in the form in which they verify, checked without a server."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from nordan_cli.invocation import Invocation
from nordan_core.atlas.loader import default_atlas, default_atlas_bytes
from nordan_core.proof.canonical import canonical_json
from nordan_core.proof.certificate import sign_certificate, sign_redacted
from nordan_core.proof.checkpoint import Checkpoint, sign_checkpoint
from nordan_core.proof.growth import growth_document
from nordan_core.proof.keys import PublicKey, SigningKey, create_files
from nordan_core.proof.merkle import append, root
from nordan_core.residency.atlas import parse_atlas
from support.certificates import CERTIFICATE_KEY, GRANT_KEY, Story
from support.command_line import Nordan
from support.fake_rest import URL, FakeRest, problem

ID = "job_00000000000000000000000abc"
ROUTE = f"GET /v1/projects/default/jobs/{ID}/certificate"


def named(key: PublicKey) -> dict[str, str]:
    """Return a public key as the api sends it."""
    return {key.key_id: key.pem()}


KEYS = {"grant_keys": named(GRANT_KEY.public), "certificate_keys": named(CERTIFICATE_KEY.public)}
PENDING = {"job": ID, "state": "pending", "envelope": None}


@pytest.fixture(scope="module")
def envelope() -> dict[str, object]:
    """A real certificate."""
    return sign_certificate(Story().certificate(), CERTIFICATE_KEY)


@pytest.fixture
def offline(
    nordan: Nordan, rest: FakeRest, run: Invocation, envelope: dict[str, object], tmp_path: Path
) -> tuple[str, str]:
    """Certificate and keys fetched into files; from here on there is no server and no login."""
    rest.on(ROUTE, {"job": ID, "state": "issued", "envelope": envelope}).on("GET /v1/keys", KEYS)
    paper, keys = tmp_path / "certificate.json", tmp_path / "keys.json"
    assert nordan("certificate", "get", ID, "--out", str(paper)).code == 0
    assert nordan("certificate", "keys", "--out", str(keys)).code == 0
    run.url = run.key = ""
    run.transport = httpx.MockTransport(lambda request: pytest.fail(f"asked {request.url}"))
    return str(paper), str(keys)


def test_a_certificate_verifies_without_a_server(nordan: Nordan, offline: tuple[str, str]) -> None:
    paper, keys = offline
    ended = nordan("certificate", "verify", paper, "--keys", keys)
    assert ended.code == 0
    assert ended.out.rstrip().endswith("verified")
    assert "fails" not in ended.out
    assert "egress" in ended.out.partition("Gaps")[2]
    assert "fr-bru-1-h100" in ended.out


def test_programs_get_each_check(nordan: Nordan, offline: tuple[str, str]) -> None:
    paper, keys = offline
    report = json.loads(nordan("certificate", "verify", paper, "--keys", keys, "-o", "json").out)
    assert report["verified"] is True
    assert {"signature", "entries", "judgements"} <= {one["name"] for one in report["checks"]}
    assert all(one["ok"] for one in report["checks"])
    assert report["gaps"]


def test_a_copy_with_one_byte_changed_is_refused(nordan: Nordan, offline: tuple[str, str]) -> None:
    paper, keys = offline
    data = bytearray(Path(paper).read_bytes())
    data[len(data) // 2] ^= 1
    Path(paper).write_bytes(data)
    ended = nordan("certificate", "verify", paper, "--keys", keys)
    assert ended.code == 1
    assert "REFUSED: 1 of 1 checks failed" in ended.out


def test_a_certificate_by_another_key_is_refused(nordan: Nordan, offline: tuple[str, str]) -> None:
    paper, keys = offline
    stranger = SigningKey.create().public
    Path(keys).write_text(json.dumps({**KEYS, "certificate_keys": named(stranger)}))
    ended = nordan("certificate", "verify", paper, "--keys", keys)
    assert ended.code == 1
    assert "not trusted" in ended.out


def test_a_redacted_certificate_is_fetched_and_says_what_it_lacks(
    nordan: Nordan, rest: FakeRest, offline: tuple[str, str], run: Invocation, tmp_path: Path
) -> None:
    """It is made when somebody asks, so the first answers are that it is pending."""
    run.url, run.key, run.transport = URL, "nk_test", rest.transport
    shown = sign_redacted(Story().certificate(), default_atlas(), CERTIFICATE_KEY)
    rest.first(ROUTE, {"job": ID, "state": "issued", "envelope": shown}).first(ROUTE, PENDING)
    paper = tmp_path / "redacted.json"
    assert "redacted certificate" in nordan("certificate", "get", ID, "--redacted", "--out", str(paper)).err
    assert rest.sent(ROUTE)[-1].url.params["redacted"] == "true"
    ended = nordan("certificate", "verify", str(paper), "--keys", offline[1])
    assert ended.code == 0
    assert "job.spec_digest" in ended.out.partition("Redacted")[2]


def test_another_atlas_can_be_given(nordan: Nordan, offline: tuple[str, str], tmp_path: Path) -> None:
    other, paper = tmp_path / "atlas.json", tmp_path / "other.json"
    other.write_bytes(default_atlas_bytes() + b" ")
    digest = parse_atlas(other.read_bytes()).digest
    honest = Story().certificate()
    attempts = tuple(
        replace(one, judgements=tuple(replace(said, atlas_digest=digest) for said in one.judgements))
        for one in honest.attempts
    )
    judged = replace(honest, versions=replace(honest.versions, atlas_digest=digest), attempts=attempts)
    paper.write_bytes(canonical_json(sign_certificate(judged, CERTIFICATE_KEY)))
    asked = ("certificate", "verify", str(paper), "--keys", offline[1])
    without = nordan(*asked)
    assert without.code == 1
    assert "judged under the atlas" in without.out
    given = (*asked, "--atlas", str(other))
    unsigned = nordan(*given)
    assert (unsigned.code, "cannot read" in unsigned.err) == (2, True)
    create_files(tmp_path / "key")
    assert nordan("admin", "atlas", "sign", str(other), "--key", str(tmp_path / "key")).code == 0
    stranger = nordan(*given)
    assert (stranger.code, "not trusted here" in stranger.err, stranger.out) == (1, True, "")
    assert nordan(*given, "--trust", str(tmp_path / "key.pub")).code == 0


def a_head(size: int) -> dict[str, object]:
    """Return a signed head of another log, of so many equal leaves."""
    nodes = {(one.level, one.index): one.hash for one in append(0, [b"leaf"] * size, lambda *_: b"").nodes}
    at = datetime(2026, 11, 21, tzinfo=UTC)
    return sign_checkpoint(Checkpoint("log", size, root(size, lambda *place: nodes[place]), at), CERTIFICATE_KEY)


def test_a_certificate_is_compared_with_a_head_that_somebody_kept(
    nordan: Nordan, offline: tuple[str, str], tmp_path: Path
) -> None:
    paper, keys = offline
    own = Story().certificate().audit.checkpoint
    growth = tmp_path / "growth.json"
    words = ("certificate", "verify", paper, "--keys", keys, "--growth", str(growth))
    growth.write_bytes(canonical_json(growth_document(own, own, ())))
    ended = nordan(*words)
    assert ended.code == 0
    assert "one log" in ended.out
    growth.write_bytes(canonical_json(growth_document(a_head(2), a_head(2), ())))
    ended = nordan(*words)
    assert ended.code == 1
    assert "not about that of" in ended.out
    growth.write_bytes(canonical_json(growth_document(a_head(2), own, ())))
    assert "rewritten" in nordan(*words).out


BROKEN_KEYS = {
    "no JSON": ("-----BEGIN", "holds no public keys"),
    "no key in PEM": (json.dumps({**KEYS, "grant_keys": {"a": "b"}}), "not a public key in PEM"),
    "no keys at all": ("[]", "holds no public keys"),
}


@pytest.mark.parametrize("case", BROKEN_KEYS)
def test_a_broken_key_file_is_an_error_of_use(nordan: Nordan, offline: tuple[str, str], case: str) -> None:
    text, message = BROKEN_KEYS[case]
    paper, keys = offline
    Path(keys).write_text(text)
    ended = nordan("certificate", "verify", paper, "--keys", keys)
    assert ended.code == 2
    assert message in ended.err


def test_a_missing_file_is_named(nordan: Nordan, offline: tuple[str, str]) -> None:
    ended = nordan("certificate", "verify", "gone.json", "--keys", offline[1])
    assert (ended.code, ended.err) == (2, "error: cannot read gone.json: No such file or directory\n")


def test_a_pending_certificate_is_not_a_certificate(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(ROUTE, PENDING)
    ended = nordan("certificate", "get", ID)
    assert (ended.code, ended.out) == (1, "")
    assert "pending" in ended.err


def test_waiting_goes_through_the_jobs_end_and_the_seal(
    nordan: Nordan, rest: FakeRest, envelope: dict[str, object]
) -> None:
    running = problem(409, "job_not_ended", "the job is running")
    rest.on(ROUTE, running, running, PENDING, {"job": ID, "state": "issued", "envelope": envelope})
    ended = nordan("certificate", "get", ID, "--wait")
    assert ended.code == 0
    assert json.loads(ended.out) == envelope


def test_waiting_for_a_seal_that_never_comes_ends(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(ROUTE, PENDING)
    ended = nordan("certificate", "get", ID, "--wait")
    assert ended.code == 1
    assert "still pending after 60 s" in ended.err


def test_a_job_that_goes_on_has_no_certificate(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(ROUTE, problem(409, "job_not_ended", "the job is running; its certificate is written when it has ended"))
    ended = nordan("certificate", "get", ID)
    assert ended.code == 1
    assert "job_not_ended" in ended.err
