"""Who gets in: each wrong token has its own code, and none of them shows anything."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from nordan_core.domain.contents import FileEntry, Manifest
from nordan_core.identifiers import new_id
from nordan_core.proof.keys import SigningKey
from support.attempts import until
from support.gateways import GatewayUnderTest


@pytest.fixture
def digest(gateway: GatewayUnderTest) -> str:
    return gateway.store.put_manifest(Manifest.of([FileEntry("a", gateway.store.put([b"x"]).digest, 1)]))


def refusal(gateway: GatewayUnderTest, path: str, headers: dict[str, str]) -> tuple[int, str]:
    answer = gateway.http.get(path, headers=headers)
    body = answer.json()
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert body["status"] == answer.status_code
    assert body["type"] == f"urn:nordan:problem:{body['code']}"
    assert body["request_id"]
    return answer.status_code, body["code"]


def test_the_right_token_gets_in(gateway: GatewayUnderTest, digest: str) -> None:
    headers = gateway.token(f"manifest:{digest}")
    assert gateway.http.get(f"/v1/manifests/{digest}", headers=headers).status_code == 200


def test_each_wrong_token_has_its_own_code(gateway: GatewayUnderTest, digest: str) -> None:
    obj = f"manifest:{digest}"
    good = gateway.token(obj)["Authorization"]
    cases = {
        (401, "token_missing"): {},
        (401, "token_malformed"): {"Authorization": "Bearer nonsense"},
        (401, "token_expired"): gateway.token(obj, expires_in_s=-60),
        (401, "token_forged"): gateway.token(obj, key=SigningKey.create()),
        (403, "wrong_region"): gateway.token(obj, audience="gateway:se-bor-1"),
        (403, "wrong_action"): gateway.token(obj, "put"),
        (403, "wrong_object"): gateway.token("manifest:" + "0" * 64),
    }
    for expected, headers in cases.items():
        assert refusal(gateway, f"/v1/manifests/{digest}", headers) == expected
    assert refusal(gateway, f"/v1/manifests/{digest}", {"Authorization": good.replace("Bearer", "Basic")})[0] == 401
    assert refusal(gateway, f"/v1/manifests/{digest}", {"Authorization": "Bearer " + "A" * 5000})[0] == 401


def test_the_next_key_gets_in_once_the_supervisor_has_told_of_it(gateway: GatewayUnderTest, digest: str) -> None:
    obj, path = f"manifest:{digest}", f"/v1/manifests/{digest}"
    old = gateway.token(obj)
    gateway.api.change_key(until=datetime.now(UTC) + timedelta(seconds=1.5))
    new = gateway.token(obj)
    assert refusal(gateway, path, new) == (401, "token_forged")
    gateway.board.successions(gateway.api.successions)
    assert [gateway.http.get(path, headers=one).status_code for one in (new, old)] == [200, 200]
    until(lambda: gateway.http.get(path, headers=old).status_code == 401, "the old key's time to be over")
    assert gateway.http.get(path, headers=new).status_code == 200


def test_a_refusal_of_the_token_says_how_to_authenticate(gateway: GatewayUnderTest, digest: str) -> None:
    answer = gateway.http.get(f"/v1/manifests/{digest}")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_fenced_object_is_refused_with_the_right_token(gateway: GatewayUnderTest, digest: str) -> None:
    headers = gateway.token(f"manifest:{digest}")
    gateway.board.fences([f"manifest:{digest}"])
    assert refusal(gateway, f"/v1/manifests/{digest}", headers) == (403, "fenced")
    gateway.board.fences([])
    assert gateway.http.get(f"/v1/manifests/{digest}", headers=headers).status_code == 200


def test_a_fence_breaks_off_what_is_being_read(gateway: GatewayUnderTest) -> None:
    """A large file takes hours; whoever has begun gets no more of it than what was on its way."""
    size = 64 << 20
    blob = gateway.store.put([bytes(1 << 20)] * 64).digest
    large = gateway.store.put_manifest(Manifest.of([FileEntry("a", blob, size)]))
    headers, got = gateway.token(f"manifest:{large}", about="artifact:art_x"), 0
    with gateway.http.stream("GET", f"/v1/manifests/{large}/files/a", headers=headers) as answer:
        assert answer.headers["Content-Length"] == str(size)
        pieces = answer.iter_raw(1 << 16)
        got += len(next(pieces))
        gateway.board.fences(["artifact:art_x"])
        with pytest.raises(httpx.RemoteProtocolError):
            got += sum(map(len, pieces))
    assert 0 < got < size


def test_a_fence_of_what_the_object_stands_for_closes_only_that_way(gateway: GatewayUnderTest, digest: str) -> None:
    """Equal bytes may lie here under another policy, for somebody else."""
    obj = f"manifest:{digest}"
    mine, theirs = gateway.token(obj, about="artifact:one"), gateway.token(obj, about="artifact:two")
    gateway.board.fences(["artifact:one"])
    assert refusal(gateway, f"/v1/manifests/{digest}", mine) == (403, "fenced")
    assert gateway.http.get(f"/v1/manifests/{digest}", headers=theirs).status_code == 200
    gateway.board.fences([])
    assert gateway.http.get(f"/v1/manifests/{digest}", headers=mine).status_code == 200


def test_a_fence_for_one_reader_closes_nobody_elses_way(gateway: GatewayUnderTest, digest: str) -> None:
    """To the object as to what it stands for."""
    obj, path = f"manifest:{digest}", f"/v1/manifests/{digest}"
    mine = gateway.token(obj, about="artifact:art_x", subject="key_no")
    theirs = gateway.token(obj, about="artifact:art_x", subject="key_fr")
    for closed in (f"{obj} for key_no", "artifact:art_x for key_no"):
        gateway.board.fences([closed])
        assert refusal(gateway, path, mine) == (403, "fenced")
        assert gateway.http.get(path, headers=theirs).status_code == 200
    gateway.board.fences([f"{obj} for key_n", "artifact:art_y for key_no"])
    assert gateway.http.get(path, headers=mine).status_code == 200
    gateway.board.fences([])


def test_a_fence_list_that_cannot_be_read_keeps_what_it_said(gateway: GatewayUnderTest, digest: str) -> None:
    headers = gateway.token(f"manifest:{digest}")
    gateway.board.fences([f"manifest:{digest}"])
    assert refusal(gateway, f"/v1/manifests/{digest}", headers) == (403, "fenced")
    fences = gateway.folder / "fences.json"
    kept = fences.read_bytes()
    fences.write_text("half a li")
    assert refusal(gateway, f"/v1/manifests/{digest}", headers) == (403, "fenced")
    fences.unlink()
    assert refusal(gateway, f"/v1/manifests/{digest}", headers) == (403, "fenced")
    fences.write_bytes(kept)
    gateway.board.fences([])


def test_unknown_paths_and_methods_are_problems_too(gateway: GatewayUnderTest) -> None:
    assert refusal(gateway, "/v1/nothing", {}) == (404, "not_found")
    answer = gateway.http.delete(f"/v1/attempts/{new_id('att')}/logs")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


def test_health_needs_no_token(gateway: GatewayUnderTest) -> None:
    assert gateway.http.get("/healthz").json() == {"status": "ok"}
