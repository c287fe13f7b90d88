"""Canaries in every field that a tenant controls: found where they belong, and nowhere else in any form."""

from __future__ import annotations

import base64
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from support.canaries import Canaries
from support.canary_acts import played
from support.canary_fields import KNOWN, places
from support.canary_story import (
    CALLED,
    CONTENTS,
    DESCRIBED,
    ENTERED,
    HOME_REGION,
    OTHER_REGION,
    PASSING,
    SAID,
    Story,
)
from support.chaos_stack import ChaosStack
from support.tenants import Tenant

#: All that is played is part of one test's time.
pytestmark = pytest.mark.timeout(600)
ROOT = Path(__file__).parents[2]
#: The fields that a document may have, where a route says them word by word.
KNOWS = re.compile(r"""only\(body, ("[^*)]+)\)|\.keys\(\) - \{(.+)\}""")
#: By its name, or by that of a constant of the same file.
READS_HEADER = re.compile(r"""request\.headers(?:\.get\(|\[)(["\w-]+)|(["\w-]+) in request\.headers\b(?!\.)""")
#: A request with something else there never comes to us: the server that parses it answers.
FRAMING = frozenset({"content-length", "transfer-encoding"})
FORMS: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda text: text,
    "in capitals": bytes.upper,
    "base64": base64.b64encode,
    "base64 behind one letter": lambda text: base64.b64encode(b"x" + text),
    "base64 behind two letters": lambda text: base64.b64encode(b"xy" + text).rstrip(b"="),
    "base64 that ends another word": lambda text: b"key" + base64.b64encode(b"?>~" + text),
    "base64 for addresses": lambda text: base64.urlsafe_b64encode(b"?>~?>~" + text),
    "base64 of base64": lambda text: base64.b64encode(base64.b64encode(text)),
    "hex": lambda text: text.hex().encode(),
    "hex in capitals behind a digit": lambda text: b"0" + text.hex().upper().encode(),
    "percent signs": lambda text: "".join(f"%{byte:02X}" for byte in text).encode(),
    "percent signs in JSON": lambda text: json.dumps({"a": quote(text)}).encode(),
    "gzip": lambda text: b"noise" + gzip.compress(text),
    "zlib": lambda text: zlib.compress(text, 9),
    "gzip as MONITOR prints it": lambda text: repr(gzip.compress(text))[2:-1].encode(),
    "base64 of gzip in JSON in JSON": lambda text: json.dumps(
        json.dumps({"body": base64.b64encode(gzip.compress(text)).decode()})
    ).encode(),
    "escapes of JSON": lambda text: "".join(f"\\u{byte:04x}" for byte in text).encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_search_finds_a_canary_in_each_form(form: str) -> None:
    """Or finding nothing would say nothing."""
    canaries = Canaries()
    words = b"name=" + canaries["name"].encode() + b" and more"
    assert canaries.found_in(b"some words " + FORMS[form](words) + b" some more") >= {"name"}
    assert canaries.found_in(b"some words " + FORMS[form](b"name=anything else")) == set()


@pytest.fixture(scope="module")
def story(stack: ChaosStack, admin: Tenant, organisation: str, canaries: Canaries) -> Iterator[Story]:
    """Play every kind of job while brokers and processes are watched."""
    with played(stack, admin, organisation, canaries) as story:
        yield story


def test_every_place_of_every_request_had_a_canary(story: Story) -> None:
    """So a new field or parameter cannot be forgotten."""
    assert sorted(places() - story.sent.places) == []


def test_what_routes_know_word_by_word_is_known_here() -> None:
    """So a new field of theirs cannot be forgotten either."""
    found = (KNOWS.findall(path.read_text()) for path in (ROOT / "api").rglob("*.py"))
    said = {frozenset(re.findall(r"\w+", one or other)) for matches in found for one, other in matches}
    files_put, batch = frozenset({"region", "job"}), frozenset({"jobs"})
    assert said - {frozenset(fields) for fields in KNOWN.values()} == {files_put, batch}


def test_every_header_that_is_read_had_a_canary(story: Story) -> None:
    """By the api and by gateways; what frames a request is in requests that are none."""
    sources = [path for part in ("api", "workers/nordan_workers/gateway") for path in (ROOT / part).rglob("*.py")]
    read = {name.lower() for path in sources for name in _headers_read(path.read_text())}
    assert read >= {"authorization", "idempotency-key", "range", *FRAMING}
    assert read - FRAMING - story.sent.headers == set()


def _headers_read(source: str) -> Iterator[str]:
    for word in (one or other for one, other in READS_HEADER.findall(source)):
        constant = re.search(rf'^{word}\b.* = (".+")$', source, re.MULTILINE)
        yield (constant[1] if constant else word).strip('"')


def test_canaries_are_where_they_belong(story: Story) -> None:
    """In the database what describes, in the region what it holds, in the log what the job said."""
    assert DESCRIBED - story.in_database == set()
    assert CONTENTS - story.canaries.found_in(story.folders(f"regions/{HOME_REGION}/store")) == set()
    assert SAID - story.canaries.found_in(story.folders(f"regions/{HOME_REGION}/logs")) == set()
    assert story.heard == CALLED


def test_content_never_comes_into_the_database(story: Story) -> None:
    """Neither bytes nor secrets nor the words of a call: only what describes a job."""
    assert story.in_database & (CONTENTS | SAID | PASSING) == set()


def test_nobody_keeps_what_goes_through_a_session(story: Story) -> None:
    """Not even the region that it went through: neither logs nor records nor work folders."""
    kept = story.canaries.found_in(story.folders(f"regions/{HOME_REGION}"))
    assert kept >= CONTENTS
    assert kept & ENTERED == set()


@pytest.mark.parametrize("region", [HOME_REGION, OTHER_REGION])
def test_a_broker_is_told_grant_ids_and_no_canary(story: Story, region: str) -> None:
    """By MONITOR from before the first job to behind the last, and by the whole keyspace meanwhile."""
    tap, grants = story.taps[region], story.grants(region)
    assert bool(grants) == (region == HOME_REGION)
    commands = b"\n".join([tap.told, story.unquoted(tap.told)])
    assert [grant for grant in grants if grant.encode() not in commands] == []
    assert story.canaries.found_in(tap.told) == set()
    assert story.canaries.found_in(tap.kept) == set()


def test_a_message_that_waits_in_the_broker_is_a_grant_id_and_no_canary(story: Story) -> None:
    """What lies in the queue while the worker does not take it."""
    assert len(story.waited) >= 2
    kept = story.taps[HOME_REGION].kept
    assert b"nordan.nudge" in kept
    assert story.canaries.found_in(kept) == set()


def test_no_process_of_nordan_is_called_with_a_canary(story: Story) -> None:
    """Neither arguments nor environment, of long-lived and of short-lived ones."""
    seen = story.watch.seen
    for part in ("postgres", "nordan_api", "nordan_scheduler", "nordan_workers.supervisor", "nordan_workers.gateway"):
        assert any(part.encode() in whole for whole in seen.values()), f"{part} was not seen"
    assert any(b"nordan_workers.shim" in whole for whole in seen.values()), sorted(seen)
    found = {name: fields for name, whole in seen.items() if (fields := story.canaries.found_in(whole))}
    assert found == {}


def test_no_log_and_no_other_file_of_the_control_plane_holds_a_canary(story: Story, stack: ChaosStack) -> None:
    """Logs of every process of control plane and regions, what `up` printed, and all that lies beside the database."""
    files = story.own_files()
    names = {path.name for path in files}
    assert names >= {f"{name}.log" for name in (*stack.names(), "bootstrap", "migrate", "up")}
    assert sum(path.stat().st_size for path in files if path.name == f"supervisor-{HOME_REGION}.log") > 1000
    found = {str(path): fields for path in files if (fields := story.canaries.found_in(path.read_bytes()))}
    assert found == {}


def test_another_region_holds_no_canary(story: Story) -> None:
    """The project's policy names France alone: nothing of its jobs is in Sweden, in no file and in no log."""
    assert story.canaries.found_in(story.folders(f"regions/{OTHER_REGION}")) == set()
