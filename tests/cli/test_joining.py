"""`nordan admin regions join` for a region in a cluster: one Secret with everything."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from nordan_workers.joining import read_join_file
from support.command_line import Nordan
from support.fake_rest import FakeRest

ROUTE = "POST /v1/regions/fr-bru-1:join"
BUNDLE = {"api_url": "https://nordan.example", "region": "fr-bru-1", "credential": "nr_secret", "grant_keys": {}}
WORDS = (
    "admin",
    "regions",
    "join",
    "fr-bru-1",
    "--gateway-url",
    "https://gw.example",
    "--broker",
    "rediss://b.example:7000",
)


def test_the_secret_lets_the_region_and_its_broker_start(nordan: Nordan, rest: FakeRest, tmp_path: Path) -> None:
    rest.on(ROUTE, BUNDLE)
    ended = nordan(*WORDS)
    assert ended.code == 0, ended.err
    secret = yaml.safe_load(ended.out)
    assert (secret["kind"], secret["metadata"]["name"]) == ("Secret", "nordan-join")
    assert secret["metadata"]["namespace"] == "nordan-region"
    path = tmp_path / "join.json"
    path.write_text(secret["stringData"]["join.json"])
    path.chmod(0o600)
    joined = read_join_file(path)
    told = urlsplit(rest.bodies(ROUTE)[0]["broker_url"])
    own = urlsplit(joined.broker_url)
    assert (told.scheme, told.hostname, told.port) == ("rediss", "b.example", 7000)
    assert (own.scheme, own.hostname, own.port) == ("redis", "nordan-broker", 6379)
    assert (told.username, told.password) == (own.username, own.password)
    digest = hashlib.sha256(str(own.password).encode()).hexdigest()
    assert f"user fr-bru-1 on #{digest} " in secret["stringData"]["users.acl"]
    assert str(own.password) not in secret["stringData"]["users.acl"]
    assert secret["stringData"]["users.acl"].startswith("user default off")


def test_each_join_makes_another_password(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(ROUTE, BUNDLE)
    assert nordan(*WORDS).out != nordan(*WORDS).out


def test_a_region_that_joins_again_keeps_its_gateway(nordan: Nordan, rest: FakeRest) -> None:
    rest.on(ROUTE, BUNDLE).on(
        "GET /v1/regions", {"items": [{"code": "fr-bru-1", "gateway_url": "https://before.example"}]}
    )
    assert nordan("admin", "regions", "join", "fr-bru-1", "--broker", "redis://b").code == 0
    assert rest.bodies(ROUTE)[0]["gateway_url"] == "https://before.example"
    assert rest.bodies(ROUTE)[0]["broker_url"].endswith("@b:6379/0")


def test_what_is_missing_is_named_before_anything_is_asked_for(nordan: Nordan, rest: FakeRest) -> None:
    rest.on("GET /v1/regions", {"items": []})
    for words, missing in (
        (["--gateway-url", "https://gw"], "--broker"),
        (["--format", "bundle", "--gateway-url", "https://gw"], "--broker-url-file"),
        (["--broker", "redis://b"], "--gateway-url"),
    ):
        ended = nordan("admin", "regions", "join", "fr-bru-1", *words)
        assert (ended.code, missing in ended.err) == (2, True)
    assert not rest.bodies(ROUTE)


@pytest.mark.parametrize(
    "url",
    [
        "b.example:6379",
        "http://b",
        "redis://",
        "redis://user:hunter2@b",
        "redis://b/1",
        "redis://b?ssl=no",
        "redis://b:x",
    ],
)
def test_a_broker_is_named_by_scheme_host_and_port(nordan: Nordan, rest: FakeRest, url: str) -> None:
    ended = nordan("admin", "regions", "join", "fr-bru-1", "--gateway-url", "https://gw", "--broker", url)
    assert ended.code == 2
    assert "redis://HOST:PORT" in ended.err
    assert "hunter2" not in ended.err


def test_a_secret_is_written_for_its_owner_alone(nordan: Nordan, rest: FakeRest, tmp_path: Path) -> None:
    rest.on(ROUTE, BUNDLE)
    out = tmp_path / "join.yaml"
    ended = nordan(*WORDS, "--namespace", "region-fr", "--out", str(out))
    assert "nr_secret" not in ended.out + ended.err
    assert yaml.safe_load(out.read_text())["metadata"]["namespace"] == "region-fr"
    assert json.loads(yaml.safe_load(out.read_text())["stringData"]["join.json"])["credential"] == "nr_secret"
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
