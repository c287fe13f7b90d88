"""The demo's last act: the model serves requests through its region's gateway, under the policy of its data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
from console import Console, Stopped, until
from demo_stack import Stack
from restricted import Training

HERE = Path(__file__).resolve().parent
SAMPLES = 100

SERVICE = """\
name: reader
kind: inference
command: [python, serve.py]
files: [serve.py]
env: {{OPENBLAS_NUM_THREADS: "1"}}
resources: {{gpu: "H100|H200:1", cpu: 2, memory: 8GiB}}
inputs: [artifact/{model}]
readiness: {{path: /healthz}}
"""


def serve_the_model(console: Console, stack: Stack, training: Training) -> None:
    """A replica becomes ready, answers a real request through the gateway, and is cancelled."""
    console.heading("Serve the model through the gateway of its region")
    shutil.copy(HERE / "serve.py", stack.files)
    (stack.files / "service.yaml").write_text(stack.fitted(SERVICE.format(model=training.model)))
    submitted = stack.nordan("submit", "-f", "service.yaml", "-o", "json")
    console.require(submitted.code == 0, "the service is accepted", submitted.text)
    job = str(submitted.data["id"])
    access = until(lambda: _access(stack, job), "the replica to be ready", within_s=30 * stack.patience)

    pixels, labels = _samples(stack.files / "digits.csv")
    answer = httpx.post(
        f"{access['url'].rstrip('/')}/predict",
        headers={"Authorization": f"Bearer {access['token']}"},
        json={"pixels": pixels},
        timeout=10,
    )
    console.require(answer.status_code == 200, "the gateway answers", answer.text)
    right = sum(want == got for want, got in zip(labels, answer.json()["digits"], strict=True))
    console.check(right > SAMPLES * 0.9, f"{right} of {SAMPLES} digits are read rightly")
    bare = httpx.get(f"{access['url'].rstrip('/')}/healthz", timeout=10)
    console.check(bare.status_code == 401, "without the token nobody is let in", bare.text)

    state = stack.nordan("get", job, "-o", "json").data
    console.check(
        state["policy"]["effective"].get("forbid_exposure") == ["US"], "it inherits the policy of the patients", state
    )
    console.check(state["attempts"][-1]["region"] == training.region, "it runs where the model is", state)
    cancelled = stack.nordan("cancel", job)
    console.check(cancelled.code == 0, "it is cancelled", cancelled.text)
    ended = until(lambda: _ended(stack, job), "the service to end", within_s=30 * stack.patience)
    console.check(ended["state"] == "cancelled", "and ends", ended)


def _access(stack: Stack, job: str) -> dict[str, Any] | None:
    answer = stack.nordan("connect", job, "-o", "json")
    if answer.code != 0:
        state = stack.nordan("get", job, "-o", "json").data
        if state["state"] in ("failed", "cancelled"):
            raise Stopped(f"the service has {state['state']}: {state['reason']} {state['message']}")
        return None
    access: dict[str, Any] = answer.data
    return access


def _samples(path: Path) -> tuple[list[list[float]], list[int]]:
    rows = [json.loads(f"[{line}]") for line in path.read_text().splitlines()[1 : SAMPLES + 1]]
    return [row[:64] for row in rows], [row[64] for row in rows]


def _ended(stack: Stack, job: str) -> dict[str, Any] | None:
    state: dict[str, Any] = stack.nordan("get", job, "-o", "json").data
    return state if state["state"] in ("failed", "cancelled", "succeeded") else None
