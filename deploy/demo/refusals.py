"""The demo's refusals: what no pool may run, what this control plane may not know, and the form that helps."""

from __future__ import annotations

from typing import Any

import yaml
from console import Console, Stopped, until
from demo_stack import Stack

UNLAWFUL = """\
name: elsewhere
command: [python, -c, "print(1)"]
inputs: [dataset/patients]
policy: {process: [DE]}
"""

#: The owner of the data says FR and SE, the job says DE; either alone could be obeyed.
CONFLICT = [("process", "input 'patients'"), ("process", "job 'elsewhere'")]
#: The least that would help: the job's own word is widened by FR, the project's and the owner's stay.
RELAXATION = ("fr-bru-1", [("process", {"all_of": [["DE", "FR"], ["EEA"], ["FR", "SE"]]})])

HELLO = """\
name: hello
command: [echo, hej]
"""

#: In Sweden, but a control plane and people in France may know of it.
SWEDISH_FLOOR: dict[str, object] = {
    "class": "internal",
    "process": ["SE"],
    "store": ["SE"],
    "key": ["SE"],
    "describe": ["SE", "FR"],
    "access": ["SE", "FR"],
}


def refuse_what_no_pool_may_run(console: Console, stack: Stack) -> None:
    """A job that narrows the patients' policy to nothing is refused at once, not queued."""
    console.heading("A job that no pool may lawfully run is refused at submission")
    (stack.files / "unlawful.yaml").write_text(UNLAWFUL)
    refused = stack.nordan("submit", "-f", "unlawful.yaml")
    console.say(refused.text)
    console.check(refused.code != 0 and "residency_unsatisfiable" in refused.text, "it is refused", refused.text)
    with stack.rest() as client:
        answer = client.post("/v1/projects/default/jobs", json=yaml.safe_load(UNLAWFUL)).json()
    conflict = [(one["facet"], one["layer"]) for one in answer["conflict"]]
    console.check(conflict == CONFLICT, "the answer names the smallest conflict", answer)
    relaxation = answer["relaxation"]
    changes = [(one["facet"], one["value"]) for one in relaxation["changes"]]
    console.check((relaxation["region"], changes) == RELAXATION, "and the nearest relaxation", answer)


def keep_a_description_in_sweden(console: Console, stack: Stack) -> None:
    """A project whose description may be in SE alone cannot use a control plane in FR, and is told what can be done."""
    console.heading("A project that keeps its description in SE alone")
    only: dict[str, object] = {facet: ["SE"] for facet in ("process", "store", "describe", "access", "key")}
    _make_project(stack, "se-alone", only | {"class": "internal"})
    (stack.files / "hello.yaml").write_text(stack.fitted(HELLO))
    refused = stack.nordan("submit", "--project", "se-alone", "-f", "hello.yaml")
    console.say(refused.text)
    console.check("control_plane_outside_describe" in refused.text, "it is refused by reason", refused.text)
    console.check("describe" in refused.text and "FR" in refused.text, "with a sentence that helps", refused.text)


def run_in_sweden(console: Console, stack: Stack) -> None:
    """The form that helps: everything in SE, described and reached from SE and FR."""
    console.heading("A Swedish project with process, store, key: [SE] and describe, access: [SE, FR]")
    _make_project(stack, "swedish", SWEDISH_FLOOR)
    submitted = stack.nordan("submit", "--project", "swedish", "-f", "hello.yaml", "-o", "json")
    console.require(submitted.code == 0, "its job is accepted", submitted.text)
    job = str(submitted.data["id"])
    done = until(lambda: _ended(stack, "swedish", job), "the job to end", within_s=30 * stack.patience)
    places = [attempt["region"] for attempt in done["attempts"]]
    console.check(done["state"] == "succeeded" and places == ["se-bor-1"], "it runs in se-bor-1", done)


def _make_project(stack: Stack, name: str, floor: dict[str, object]) -> None:
    (stack.files / f"{name}.yaml").write_text(yaml.safe_dump(floor))
    made = stack.nordan("admin", "projects", "create", name, "--floor", f"{name}.yaml")
    if made.code != 0:
        raise Stopped(f"project {name}: {made.text}")


def _ended(stack: Stack, project: str, job: str) -> dict[str, Any] | None:
    state: dict[str, Any] = stack.nordan("get", "--project", project, job, "-o", "json").data
    return state if state["state"] in ("failed", "cancelled", "succeeded") else None
