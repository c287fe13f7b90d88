"""What takes several people or an operator: derogations, declassifications, a world's documents, holds.

Canaries are in every text that they may write freely; whatever is granted is used, and so travels as far as it can.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from support.canary_story import OTHER_REGION, Story
from support.tenants import Json, Tenant, add_key

#: Offered by no pool here.
UNOFFERED = {"encryption": "rest"}


def derogate(story: Story) -> str:
    """A job that no pool may run, and runs because two people let it; returns the job."""
    word = story.canaries
    asked = story.tenant.ask("POST", "/derogations", json=a_derogation(story), expect=201).json()
    story.made["derogation"] = asked["id"]
    _approve(story, f"/derogations/{asked['id']}", asked)
    job = story.tenant.submit({"name": word["job name"], "command": ["sh", "-c", "sleep 0.5"], "policy": UNOFFERED})
    story.tenant.reaches(job, "succeeded")
    used = story.tenant.ask("GET", f"/derogations/{asked['id']}", expect=200).json()["uses"]
    assert used == 1
    return job


def a_derogation(story: Story) -> Json:
    """Return a request that all jobs of the project may run where nothing is encrypted, for a day."""
    return {
        "facet": "encryption",
        "to": "none",
        "subjects": [f"project/{story.tenant.project}"],
        "not_after": (datetime.now(UTC) + timedelta(days=1)).isoformat(),
        "max_uses": 5,
        **{name: story.canaries[f"{name} of a derogation"] for name in ("basis", "reason", "ticket")},
    }


def declassify(story: Story, job: str) -> None:
    """What a job made may be seen in Sweden too, by the word of two people."""
    word = story.canaries
    [made] = [
        one
        for one in story.tenant.ask("GET", f"/jobs/{job}/artifacts", expect=200).json()["items"]
        if one["name"] == word["output name"]
    ]
    story.made["artifact"] = made["id"]
    body = {
        "policy": {"residency": ["FR", "SE"]},
        "evidence": {"digest": "0" * 64, "title": word["evidence title of a declassification"]},
        **{name: word[f"{name} of a declassification"] for name in ("basis", "reason", "ticket")},
    }
    asked = story.tenant.ask("POST", f"/artifacts/{made['id']}:declassify", json=body, expect=201).json()
    story.made["declassification"] = asked["id"]
    _approve(story, f"/declassifications/{asked['id']}", asked)


def _approve(story: Story, path: str, asked: Json) -> None:
    wrong = {"digest": story.canaries[f"digest that {path.split('/')[1]} do not have"]}
    for number in (1, 2):
        key = add_key(story.admin, story.canaries["organisation"], "owner")
        member = Tenant(
            story.admin.http, story.canaries.add(f"key of approver {number} of {path}", key), story.tenant.project
        )
        member.ask("POST", f"{path}:approve", json=wrong, expect=422)
        answer = member.ask("POST", f"{path}:approve", json={"digest": asked["digest"]}, expect=200).json()
    assert answer["state"] == "approved"


def describe_a_world(story: Story) -> None:
    """A company, a region that never joins and its pool, an organisation and its project; and a hold, taken back."""
    word = story.canaries
    entity = {"kind": "Entity", "name": word["entity"], "legal_name": word["legal name"], "seat": "DE"}
    region = {
        "kind": "Region",
        "name": word["region"],
        "territory": "DE",
        "operator": word["entity"],
        "host": word["entity"],
        "grid_zone": word["grid zone"],
        # One that `nordan up` does not start: its name is a handle, which may stand in arguments and logs.
        "executor": "kubernetes",
    }
    pool = {
        "kind": "Pool",
        "name": word["pool"],
        "region": word["region"],
        "provider": word["entity"],
        "accelerator": word["accelerator"],
        "nodes": 1,
        "gpus_per_node": 1,
        "cpus": 1,
        "memory_mib": 1024,
        "gpu_memory_mib": 1024,
        "price_eur_per_gpu_h": "9999",
        "facts_valid_until": "2035-12-31",
        "certifications": [
            {
                "scheme": "iso27001",
                "level": "certified",
                "scope": ["compute"],
                "valid_until": "2035-12-31",
                "issuer": word["issuer"],
            }
        ],
    }
    organisation = {"kind": "Organisation", "name": word["organisation of a world"]}
    project = {
        "kind": "Project",
        "name": word["project of a world"],
        "organisation": word["organisation of a world"],
    }
    documents = [entity, region, pool, organisation, project]
    story.admin.ask("POST", "/v1/admin:apply", json={"documents": documents}, expect=200)
    there = next(
        one["name"]
        for one in story.admin.ask("GET", "/v1/pools", expect=200).json()["items"]
        if one["region"] == OTHER_REGION
    )
    for verb in ("cordon", "uncordon"):
        body = {"reason": word["reason of a hold"]}
        story.admin.ask("POST", f"/v1/pools/{there}:{verb}", json=body, expect=200)
