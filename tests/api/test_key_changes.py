"""Both signing keys change while jobs run: nothing stops, and everything verifies by the keys of before the change."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from nordan_api.grant_keys import GrantKeys
from nordan_core.atlas.loader import default_atlas
from nordan_core.domain.errors import Unavailable
from nordan_core.proof.certificate import open_certificate, sign_certificate, verify_certificate
from nordan_core.proof.errors import TokenForged
from nordan_core.proof.keys import KeyRing, PublicKey, SigningKey, trusted
from nordan_core.proof.report import VerificationReport
from nordan_core.proof.rotation import NEXT, PUBLIC, REPLACES, Held, begin, finish, replace
from nordan_core.proof.succession import Purpose, follow
from nordan_core.proof.tokens import mint_session, read_grant, read_renewal, read_session
from nordan_workers.trust import Trust
from support.command_line import Nordan
from support.exports import export_of
from support.lab import CERTIFICATE_KEY, JOBS, Lab

Json = dict[str, Any]
SECOND, STRANGER = SigningKey.create(), SigningKey.create()


@pytest.fixture
def path(lab: Lab) -> Iterator[Path]:
    """Return where the api's key lies; afterwards it is as it was."""
    path = lab.context.settings.grant_key_file
    before = {one: one.read_bytes() for one in (path, path.with_name(path.name + PUBLIC)) if one.exists()}
    yield path
    for ending in ("", PUBLIC, NEXT, NEXT + PUBLIC, REPLACES):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    for one, data in before.items():
        one.write_bytes(data)


def certificate(lab: Lab, job: str) -> Json:
    """Return a job's certificate."""
    lab.seal()
    envelope: Json = lab.admin("GET", f"{JOBS}/{job}/certificate", expect=200).json()["envelope"]
    return envelope


def verified(envelope: Json, grant: KeyRing, certificate: KeyRing) -> VerificationReport:
    return verify_certificate(envelope, grant_keys=grant, certificate_keys=certificate, atlas=default_atlas())


def why(report: VerificationReport) -> list[str]:
    return [one.detail for one in report.checks if not one.ok]


def change_grant_key(lab: Lab, path: Path) -> PublicKey:
    made = begin(path)
    lab.context.grant_keys.refresh()
    return made


def change_certificate_key(lab: Lab) -> None:
    lab.held = Held(CERTIFICATE_KEY, SECOND)


def ended(lab: Lab) -> str:
    job, region, run = lab.running()
    region.end(run)
    return job


def test_jobs_run_on_and_old_and_new_certificates_verify_by_the_first_keys(lab: Lab, path: Path) -> None:
    """The whole change: one job before it, one across it, one after it."""
    first = lab.context.grant_key.public
    before = certificate(lab, ended(lab))
    across, region, run = lab.running()
    trust = Trust(trusted(first), lab.clock)
    made = change_grant_key(lab, path)
    change_certificate_key(lab)
    assert lab.context.grant_key.public == made
    lab.pass_time(60)  # so that the attempt's renewal is due

    down = region.sync()
    with pytest.raises(TokenForged):
        read_renewal(down["renewal"], keys=trust.live())
    trust.learn(down["successions"])
    claims = read_renewal(down["renewal"], keys=trust.live())
    assert [item.attempt_id for item in claims.items] == [run.attempt]
    assert read_grant(run.token, keys=trust.live(), now=None).attempt_id == run.attempt
    region.end(run)

    after, region, run = lab.running()
    assert read_grant(run.token, keys=trust.live(), now=None).attempt_id == run.attempt
    region.end(run)
    for envelope in (before, certificate(lab, across), certificate(lab, after)):
        assert why(verified(envelope, trusted(first), trusted(CERTIFICATE_KEY.public))) == []
    shown = lab.admin("GET", "/v1/keys", expect=200).json()
    assert set(shown["grant_keys"]) == {first.key_id, made.key_id}
    assert shown["successions"][0] in down["successions"]


def test_a_region_lets_go_of_the_old_key_when_its_time_is_over(lab: Lab, path: Path) -> None:
    first = lab.context.grant_key.public
    trust = Trust(trusted(first), lab.clock)
    _, region, run = lab.running()
    change_grant_key(lab, path)
    trust.learn(region.sync()["successions"])
    lab.clock.advance(lab.context.settings.grant_key_overlap_s - 1)
    assert first.key_id in trust.live()
    lab.clock.advance(1)
    assert first.key_id not in trust.live()
    with pytest.raises(TokenForged, match="not trusted here"):
        read_grant(run.token, keys=trust.live(), now=None)


def test_a_region_that_joins_during_a_change_believes_both_keys_and_later_one(lab: Lab, path: Path) -> None:
    first = lab.context.grant_key.public
    made = change_grant_key(lab, path)
    assert set(lab.join("fr-bru-1")["grant_keys"]) == {first.key_id, made.key_id}
    assert set(lab.call("GET", "/worker/v1/keys", key=lab.credentials["fr-bru-1"]).json()["grant_keys"]) == {
        first.key_id,
        made.key_id,
    }
    lab.clock.advance(lab.context.settings.grant_key_overlap_s)
    assert set(lab.join("fr-bru-1")["grant_keys"]) == {made.key_id}


def test_a_key_is_introduced_once_by_however_many_processes(lab: Lab, path: Path) -> None:
    made = begin(path)
    for _ in range(3):
        lab.context.grant_keys.refresh()
    assert lab.one("select count(*) from audit_entry where act = 'signing_key_changed'") == 1
    keys = lab.admin("GET", "/v1/keys", expect=200).json()
    finish(path, set(keys["grant_keys"]))
    lab.context.grant_keys.refresh()
    assert lab.context.grant_key.public == made


def test_an_api_without_the_next_key_signs_with_the_old_one_while_that_holds(lab: Lab, path: Path) -> None:
    """A Secret reaches one replica before the other."""
    first = lab.context.grant_key.public
    change_grant_key(lab, path)
    following = path.with_name(path.name + NEXT)
    data = following.read_bytes()
    following.unlink()
    lab.context.grant_keys.refresh()
    assert lab.context.grant_key.public == first
    lab.clock.advance(lab.context.settings.grant_key_overlap_s)
    lab.context.grant_keys.refresh()
    with pytest.raises(Unavailable):
        lab.context.grant_keys.current  # noqa: B018  # reading it is the act
    following.write_bytes(data)
    lab.context.grant_keys.refresh()
    assert lab.context.grant_key.public != first


def test_a_lost_grant_key_is_told_in_the_log_also_where_none_was_ever_changed(
    lab: Lab, path: Path, tmp_path: Path
) -> None:
    """It signs nothing from then on, and what it signed before verifies by the keys that the server tells."""
    lost = lab.context.grant_key.public
    before = certificate(lab, ended(lab))
    kept = tmp_path / "grant.key"
    kept.write_bytes(path.read_bytes())
    elsewhere = GrantKeys(kept, lab.context.store, lab.clock, lab.context.settings.grant_key_overlap_s)
    made = replace(path, lost)
    for _ in range(2):
        lab.context.grant_keys.refresh()
    assert lab.one("select count(*) from audit_entry where act = 'signing_key_changed'") == 1
    assert lab.context.grant_key.public == made
    assert set(lab.context.grant_keys.live(lab.clock.now())) == {made.key_id}
    elsewhere.refresh()
    with pytest.raises(Unavailable):
        elsewhere.current  # noqa: B018  # reading it is the act
    told = lab.admin("GET", "/v1/keys", expect=200).json()
    ring = trusted(*(PublicKey.from_pem(pem) for pem in told["grant_keys"].values()))
    assert set(ring) == {lost.key_id, made.key_id}
    ring = follow(ring, told["successions"], Purpose.GRANT)
    assert why(verified(before, ring, trusted(CERTIFICATE_KEY.public))) == []


def test_a_session_goes_on_by_a_key_that_may_sign_and_by_no_retired_one(lab: Lab, path: Path) -> None:
    first = lab.context.grant_key
    job, _, _ = lab.running()

    def renewed(token: str, status: int) -> Json:
        answer: Json = lab.admin("POST", f"{JOBS}/{job}:exec", {"renew": token}, expect=status).json()
        return answer

    token = lab.admin("POST", f"{JOBS}/{job}:exec", {}, expect=200).json()["token"]
    claims = read_session(token, keys=trusted(first.public), now=lab.clock.now())
    change_grant_key(lab, path)
    lab.clock.advance(30)
    renewed(token, 200)
    lab.pass_time(lab.context.settings.grant_key_overlap_s)
    later = dataclasses.replace(claims, expires_at=lab.clock.now() + timedelta(seconds=60))
    renewed(mint_session(later, lab.context.grant_key), 200)
    assert renewed(mint_session(later, first), 422)["errors"][0]["field"] == "renew"


FOREIGN: dict[str, tuple[Callable[[Lab, Json], Json], str]] = {
    "a stranger signs it": (lambda lab, envelope: resigned(lab, envelope, STRANGER), "which is not trusted here"),
    "the retired key signs it": (lambda lab, envelope: resigned(lab, envelope, CERTIFICATE_KEY), "was retired when"),
}


def resigned(lab: Lab, envelope: Json, key: SigningKey) -> Json:
    keys = lab.admin("GET", "/v1/keys", expect=200).json()["certificate_keys"]
    ring = trusted(*(PublicKey.from_pem(pem) for pem in keys.values()))
    return sign_certificate(open_certificate(envelope, ring), key)


@pytest.mark.parametrize(("forge", "reason"), FOREIGN.values(), ids=FOREIGN)
def test_a_certificate_by_a_foreign_key_is_refused_with_the_reason(
    lab: Lab, path: Path, forge: Callable[[Lab, Json], Json], reason: str
) -> None:
    change_certificate_key(lab)
    envelope = certificate(lab, ended(lab))
    grant = trusted(lab.context.grant_key.public)
    assert why(verified(envelope, grant, trusted(CERTIFICATE_KEY.public))) == []
    [fault, *_] = why(verified(forge(lab, envelope), grant, trusted(CERTIFICATE_KEY.public)))
    assert reason in fault


def test_a_redacted_certificate_of_before_the_change_is_made_after_it(lab: Lab, path: Path) -> None:
    job = ended(lab)
    certificate(lab, job)
    change_certificate_key(lab)
    lab.seal()
    lab.admin("GET", f"{JOBS}/{job}/certificate?redacted=true", expect=200)
    lab.seal()
    shown = lab.admin("GET", f"{JOBS}/{job}/certificate?redacted=true", expect=200).json()
    # Signed by the second key: whoever knows the first follows the statements that the server's keys come with.
    told = lab.admin("GET", "/v1/keys", expect=200).json()["successions"]
    ring = follow(trusted(CERTIFICATE_KEY.public), told, Purpose.CERTIFICATE)
    assert why(verified(shown["envelope"], trusted(lab.context.grant_key.public), ring)) == []


def test_the_command_line_follows_from_the_keys_that_were_kept(
    lab: Lab, path: Path, nordan: Nordan, tmp_path: Path
) -> None:
    kept, later, paper, log, head = (tmp_path / name for name in ("kept", "later", "paper", "log", "head"))
    assert nordan("certificate", "keys", "--out", str(kept)).code == 0
    ended(lab)
    lab.seal()
    head.write_text(nordan("admin", "audit", "--checkpoint").out)
    change_grant_key(lab, path)
    change_certificate_key(lab)
    paper.write_text(json.dumps(certificate(lab, ended(lab)), sort_keys=True, separators=(",", ":")))
    log.write_bytes(export_of(lab.context.store))
    assert nordan("certificate", "keys", "--from", str(kept), "--out", str(later)).code == 0
    for keys in (kept, later):
        assert nordan("certificate", "verify", str(paper), "--keys", str(keys)).code == 0
        done = nordan("admin", "audit", "verify", str(log), "--keys", str(keys), "--head", str(head))
        assert done.code == 0, done.out
        assert nordan("admin", "audit", "compare", str(head), "--keys", str(keys)).code == 0
    foreign = {"grant_keys": {}, "certificate_keys": {STRANGER.public.key_id: STRANGER.public.pem()}}
    kept.write_text(json.dumps(foreign))
    done = nordan("certificate", "keys", "--from", str(kept), "--out", str(later))
    assert (done.code, "no key that you kept leads to" in done.err) == (1, True)
    assert nordan("certificate", "verify", str(paper), "--keys", str(kept)).code == 1
    done = nordan("admin", "audit", "verify", str(log), "--keys", str(kept))
    assert (done.code, "not trusted here" in done.out) == (1, True)
