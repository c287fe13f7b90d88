"""A canary in every place of every request where no act has planted one: where it does not fit, it is refused.

Each request has one canary, in one place, and is right otherwise; so the answer is about the canary. Whatever would
change the world for good is refused for another reason too, should the canary fit.
"""

from __future__ import annotations

from copy import deepcopy
from itertools import pairwise
from typing import Any

from support.canary_approvals import a_derogation
from support.canary_fields import POLICIES, Place, places
from support.canary_story import HOME_REGION, OTHER_REGION, Story
from support.tenants import Json

NEVER = "never-was"
#: Allowed nowhere here, so a job that could be accepted is refused after all.
NOWHERE = {"process": ["PT"]}
A_FILE = {"path": "a", "digest": "0" * 64, "size_bytes": 1, "mode": 0o644}
JOB: Json = {
    "name": "sown",
    "kind": "batch",
    "image": "",
    "command": ["true"],
    "files": {},
    "env": {"A": "b"},
    "nodes": 1,
    "resources": {"gpu": 1, "cpu": 1, "memory": "1GiB"},
    "inputs": [],
    "outputs": [],
    "policy": NOWHERE,
    "objective": "start",
    "max_price": "1",
    "max_duration": "1h",
    "max_wait": "1h",
    "grace": "1s",
    "retry": {"limit": 1, "on": []},
    "preemptible": False,
    "priority": 0,
    "port": None,
    "readiness": {"path": "/"},
}
A_SITE = {"territory": "DE", "operator": "loire-essais"}
AT = "2035-01-01T00:00:00Z"
WORLD: dict[str, Json] = {
    "ControlPlane": {"territory": "FR", "operator": "loire-essais"},
    "Entity": {
        "name": "sown",
        "legal_name": "",
        "seat": "DE",
        "presences": [],
        "owners": [{"owner": "loire-essais", "capital_percent": 1, "votes_percent": 1, "control": "none"}],
        "attestations": [{"name": "dpf", "valid_from": AT, "valid_until": AT}],
    },
    "Region": {
        "name": "sown",
        **A_SITE,
        "host": "loire-essais",
        "locode": "",
        "grid_zone": "",
        "pue": 1,
        "executor": "local",
        "evidence": "E0",
        "access_territories": [],
        "endpoints": {"store": A_SITE, "log": A_SITE, "key": A_SITE},
    },
    "Pool": {
        "name": "sown",
        "region": OTHER_REGION,
        "provider": "loire-essais",
        "accelerator": "H100",
        "nodes": 1,
        "gpu_memory_mib": 1,
        "gpus_per_node": 1,
        "cpus": 1,
        "memory_mib": 1,
        "price_eur_per_gpu_h": "1",
        "power_w_per_gpu": 1,
        "seal": [0] * 8,
        "tenancy": "shared",
        "encryption": "none",
        "compute": "none",
        "enforces": [],
        "facts_valid_until": AT,
        "has_made_up_gpus": True,
        "certifications": [
            {
                "scheme": "iso27001",
                "level": "certified",
                "scope": ["compute"],
                "valid_from": AT,
                "valid_until": AT,
                "issuer": "",
            }
        ],
    },
    "Organisation": {"name": "sown", "floor": {}},
    "Project": {"name": "sown", "organisation": "sown", "floor": {}},
}
#: Facets whose texts stand deeper.
DEEPER = {"certifications": "iso27001", "ownership_max": "group"}
#: Said of a request whose canary fitted: it is refused for what else is in it.
REFUSED_ANYWAY = ("residency_unsatisfiable", "nobody-there")
#: Refused when all else has been read and written, so that nothing of its request stays.
UNKNOWN_OWNER = {"kind": "Entity", "name": "sown-too", "seat": "FR", "owners": [{"owner": "nobody-there"}]}
DECLASSIFIED: Json = {
    "policy": {},
    "evidence": {"digest": "0" * 64, "title": "t"},
    "basis": "b",
    "reason": "r",
    "ticket": "t",
}
#: What a document begins with that is not as simple as its fields.
BEGINNINGS: dict[str, Json] = {
    "/jobs": JOB,
    "/jobs:plan": JOB,
    "/jobs:batchCreate": {"jobs": [JOB]},
    "/files:put": {"region": HOME_REGION, "job": JOB},
    ":declassify": DECLASSIFIED,
    "/v1/organisations": {"name": "sown"},
    "/v1/projects": {"name": "sown"},
    "/datasets": {"name": "sown"},
    "/v1/regions/{code}:join": {"gateway_url": "http://127.0.0.1:1", "broker_url": "redis://127.0.0.1:1"},
    "/v1/pools/{pool}:{verb}": {"reason": ""},
    "/v1/pools/{pool}/nodes/{node}:{verb}": {"reason": ""},
    "/v1/organisations/{organisation}/keys": {"role": "viewer"},
}


def sow(story: Story) -> None:
    """Plant a canary in every place that has none yet; a server that fails over one fails the test."""
    for place in sorted(places() - story.sent.places):
        method, path = place.route.split(" ")
        canary = story.canaries[f"{place.part} {place.field} of {place.route}"]
        filled = {**_real(story), place.field: canary} if place.part == "path" else _real(story)
        address = path.format_map(filled)
        options: dict[str, Any] = {"params": {place.field: canary}} if place.part == "query" else {}
        if method not in {"GET", "DELETE"}:
            options["json"] = _document(story, place, path, canary)
        caller = story.tenant if "{project}" in path else story.admin
        answer = caller.ask(method, address, **options)
        told = f"{place}: {answer.status_code} {answer.text}"
        assert answer.status_code < 500, told
        # Of a batch each job has an answer of its own.
        is_taken = answer.is_success and "urn:nordan:problem" not in answer.text
        # Otherwise nobody looked at the canary.
        assert is_taken or answer.status_code in {403, 404} or _is_about(answer.text, place.field, canary), told


def _real(story: Story) -> dict[str, str]:
    """Return what there is; operators' verbs and things are never those of the running world."""
    named = dict.fromkeys(("job", "dataset", "derogation", "declassification", "digest", "key"), NEVER)
    there = {"project": story.tenant.project, "organisation": story.canaries["organisation"], **story.made}
    return {**named, "code": NEVER, "pool": NEVER, "node": NEVER, "verb": "drain", "artifact": NEVER, **there}


def _document(story: Story, place: Place, path: str, canary: str) -> Json:
    if path == "/v1/admin:apply":
        if place.field == "documents.kind":
            return {"documents": [{**WORLD["Entity"], "kind": canary}]}
        kind, _, name = place.field.removeprefix("documents.").partition("Document.")
        here = {"organisation": story.canaries["organisation"]} if kind == "Project" else {}
        return {"documents": [planted({"kind": kind, **WORLD[kind], **here}, name, canary), UNKNOWN_OWNER]}
    known = next((one for end, one in BEGINNINGS.items() if path.endswith(end)), {})
    if path.endswith("/derogations"):
        known = a_derogation(story)
    elif path.startswith("/v1/atlas:"):
        known = _atlas(story)
    return planted(known, place.field, canary) if place.part == "body" else known


def _atlas(story: Story) -> Json:
    """Return the one in force, as whoever offers another must send it."""
    digest = story.admin.ask("GET", "/v1/atlas", expect=200).json()["in_force"]["digest"]
    found = story.admin.ask("GET", f"/v1/atlas/{digest}", expect=200).json()
    return {"data": found["data"], "signature": found["signature"]}


def planted(document: Json, name: str, canary: str) -> Json:
    """Return a document with a canary in one of its fields, in lists and free mappings as one of what is in them."""
    made = deepcopy(document)
    *before, last = name.split(".")
    one: Any = made
    for above, part in pairwise(["", *before]):
        one = _first(one).setdefault(part, [dict(A_FILE)] if above == part == "files" else {})
    one = _first(one)
    if last == "*":
        one |= dict.fromkeys(one, canary)
    elif before and before[-1] in POLICIES and last in DEEPER:
        one[last] = {DEEPER[last]: canary}
    elif isinstance(one.get(last), dict):
        one[last] = {**one[last], canary: canary}
    else:
        one[last] = [canary] if isinstance(one.get(last), list) else canary
    return made


def _first(one: Any) -> Any:  # Any: JSON
    return one[0] if isinstance(one, list) else one


def _is_about(text: str, field: str, canary: str) -> bool:
    if canary in text or any(told in text for told in REFUSED_ANYWAY):
        return True
    return [part for part in field.split(".") if part != "*"][-1] in text
