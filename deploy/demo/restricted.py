"""The demo's first half: the world, a restricted dataset, the plan, and a training job that loses a rank."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from console import Console, Stopped, until
from dataset import write_digits
from demo_stack import Stack

HERE = Path(__file__).resolve().parent
REGIONS = {"de-fra-1", "fr-bru-1", "no-nar-1", "se-bor-1"}

#: What the hospital says about its data: FR and SE, nobody whom the US can compel; it accepts that the local
#: executor cannot keep a process off the network, and every certificate will say so.
POLICY = """\
class: restricted
residency: [FR, SE]
forbid_exposure: [US]
egress: unenforced
"""

JOB = """\
name: digits
kind: training
command: [python, train.py]
files: [train.py]
env: {EPOCHS: "30", PAUSE_S: "0.25", OPENBLAS_NUM_THREADS: "1"}
nodes: 2
resources: {gpu: "H100|H200:8", cpu: 8, memory: 64GiB}
inputs: [dataset/patients]
outputs: [model]
objective: cost
max_price: 3.50
max_duration: 10m
retry: {limit: 3, on: [node_lost, container_exit]}
"""


@dataclass(frozen=True)
class Training:
    """What the later steps need of the trained model."""

    job: str
    model: str
    """The artifact's id."""
    region: str


def show_the_world(console: Console, stack: Stack) -> None:
    """The four regions are there, and applying the same world again changes nothing."""
    console.heading(f"Four regions of three operators, from deploy/world/{stack.world.name}")
    regions = until(lambda: _joined(stack), f"{len(stack.regions)} regions to join", within_s=60)
    for region in regions:
        console.say(f"{region['code']}  {region['territory']}  operated by {region['operator']}")
    joined = tuple(sorted(region["code"] for region in regions if region.get("seen_at")))
    console.check({region["code"] for region in regions} == REGIONS, "the four regions are there", regions)
    console.check(joined == stack.regions, f"{len(joined)} of them have joined", regions)
    beyond = stack.listening_beyond_loopback()
    console.check(not beyond, "nothing listens beyond loopback addresses", beyond)
    again = stack.nordan("admin", "apply", "-f", str(stack.world), "-o", "json")
    actions = {result["action"] for result in again.data["results"]} if again.code == 0 else {again.text}
    console.check(actions == {"unchanged"}, "applying the same world again changes nothing", actions)


def sit_in_france(console: Console, stack: Stack) -> None:
    """A key records where its holder sits: readers of restricted data are judged, too."""
    console.heading("A key for somebody in France; the admin's own key says nothing of a place")
    made = stack.nordan("admin", "keys", "create", "home", "--role", "owner", "--territory", "FR", "-o", "json")
    console.require(made.code == 0, "the key is made", made.text)
    stack.act_as(made.data["key"])
    console.check(stack.nordan("list").code == 0, "it opens the project")


def put_the_patients(console: Console, stack: Stack) -> None:
    """The dataset goes to the gateway of fr-bru-1, with its policy; the control plane never sees a byte."""
    console.heading("Put scikit-learn's digits as dataset `patients` into fr-bru-1, for FR and SE only")
    count = write_digits(stack.files / "digits.csv")
    (stack.files / "policy.yaml").write_text(POLICY)
    console.say(POLICY)
    put = stack.nordan(
        "dataset", "put", "digits.csv", "--name", "patients", "--region", "fr-bru-1", "--policy", "policy.yaml"
    )
    console.say(put.text)
    console.require(put.code == 0, f"{count} records are stored in fr-bru-1", put.text)


def plan_the_job(console: Console, stack: Stack) -> None:
    """Every region is allowed or refused, and says why."""
    console.heading("Plan: where may this job run?")
    shutil.copy(HERE / "train.py", stack.files)
    (stack.files / "job.yaml").write_text(stack.fitted(JOB))
    console.say(stack.nordan("plan", "-f", "job.yaml").text)
    plan = stack.nordan("plan", "-f", "job.yaml", "-o", "json").data
    rows = plan["regions"]
    allowed = {row["region"] for row in rows if row["allowed"]}
    refused = {row["region"]: row["refusals"] for row in rows if not row["allowed"]}
    console.check({row["region"] for row in rows} == REGIONS, "the plan answers for all four regions", rows)
    console.check(allowed == {"fr-bru-1", "se-bor-1"}, "fr-bru-1 and se-bor-1 are lawful", allowed)
    for region in ("no-nar-1", "de-fra-1"):
        facets = {refusal["facet"] for refusal in refused.get(region, [])}
        console.check(
            {"process", "forbid_exposure"} <= facets, f"{region} is refused for its place and its owner", facets
        )
    without = {row["region"] for row in rows if not row["holds_inputs"]}
    console.check("se-bor-1" in without and "fr-bru-1" not in without, "se-bor-1 does not hold the data", without)


def train_through_a_loss(console: Console, stack: Stack) -> Training:
    """The ranks train; one is killed; a new attempt resumes from the last published checkpoint."""
    nodes = "two nodes" if stack.ranks > 1 else "one node"
    console.heading(f"Train on {nodes}; kill one rank with -9 in the middle")
    submitted = stack.nordan("submit", "-f", "job.yaml", "-o", "json")
    console.require(submitted.code == 0, "the job is accepted", submitted.text)
    job = str(submitted.data["id"])
    stack.follow("logs", "--follow", job, into=stack.files / "log")
    first = until(lambda: _running(stack, job), "attempt 1 to run", within_s=30 * stack.patience)
    until(lambda: _reached(stack, epoch=5), "five epochs in the streamed log", within_s=30 * stack.patience)
    console.say(stack.kill_rank(first, stack.ranks - 1))

    done = until(lambda: _ended(stack, job), "attempt 2 to end the job", within_s=150 * stack.patience)
    log = stack.nordan("logs", job).text
    console.say(log)
    console.require(done["state"] == "succeeded", "the job succeeded", json.dumps(done, indent=2))
    numbers = [attempt["number"] for attempt in done["attempts"]]
    console.check(numbers == [1, 2], "there were two attempts, one more than was lost", numbers)
    console.check(done["attempts"][0]["reason"] in ("node_lost", "container_exit"), "attempt 1 ended with its rank")
    resumed = re.search(r"from epoch (\d+)", log)
    console.check(bool(resumed and int(resumed[1]) > 0), "attempt 2 resumed from a published checkpoint", log)
    accuracy = re.search(r"rank 0: accuracy ([\d.]+)", log)
    console.check(bool(accuracy and float(accuracy[1]) > 0.90), "accuracy is over 0.90", log)
    streamed = (stack.files / "log").read_text(errors="replace")
    console.check("epoch 5 of 30" in streamed and "epoch 30 of 30" in streamed, "the log streamed through", streamed)
    places = {attempt["region"] for attempt in done["attempts"]}
    console.check(places == {"fr-bru-1"}, "every attempt ran where the data is", places)
    return Training(job, _model(stack, job), done["attempts"][-1]["region"])


def _joined(stack: Stack) -> list[dict[str, Any]] | None:
    answer = stack.nordan("regions", "-o", "json")
    regions: list[dict[str, Any]] = answer.data["items"] if answer.code == 0 else []
    seen = [region for region in regions if region.get("seen_at")]
    return regions if len(seen) >= len(stack.regions) else None


def _get(stack: Stack, job: str) -> dict[str, Any]:
    answer: dict[str, Any] = stack.nordan("get", job, "-o", "json").data
    return answer


def _running(stack: Stack, job: str) -> dict[str, Any] | None:
    state = _get(stack, job)
    if state["state"] in ("failed", "cancelled", "succeeded"):
        raise Stopped(f"the job has {state['state']}: {state['reason']} {state['message']}")
    found: list[dict[str, Any]] = [attempt for attempt in state["attempts"] if attempt["state"] == "running"]
    return found[0] if found else None


def _ended(stack: Stack, job: str) -> dict[str, Any] | None:
    state = _get(stack, job)
    return state if state["state"] in ("failed", "cancelled", "succeeded") else None


def _reached(stack: Stack, *, epoch: int) -> bool | None:
    return True if f"epoch {epoch} of" in (stack.files / "log").read_text(errors="replace") else None


def _model(stack: Stack, job: str) -> str:
    listing = stack.nordan("artifact", "list", job, "-o", "json").data
    found = [one["id"] for one in listing["items"] if one["kind"] == "output" and one["name"] == "model"]
    if not found:
        raise Stopped(f"the job published no model: {listing}")
    return str(found[0])
