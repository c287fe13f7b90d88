"""Fill an empty control plane with one of everything that a version can store: what an upgrade has to carry over."""

from __future__ import annotations

from support.lab import PATIENTS, Lab
from support.region_side import manifest


def populate(lab: Lab) -> None:
    """Leave jobs in every state, data with lineage, sealed and unsealed entries, issued and pending certificates."""
    # Data, and a job that reads it, loses an attempt after a checkpoint, resumes and leaves a model.
    lab.put("patients", "fr-bru-1", manifest(digits__csv="1,2,3"), PATIENTS)
    trained, region, run = lab.running(
        name="train", inputs=["dataset/patients"], outputs=["model"], retry={"limit": 2, "on": ["container_exit"]}
    )
    region.publish(run, "epoch-1", manifest(state__npz="weights"))
    region.end(run, "failed", reason="container_exit")
    lab.pass_time(60)
    lab.cycle()
    region, run = lab.take(trained)
    region.start(run)
    region.end(run, outputs={"model": manifest(model__npz="model")})
    # A sealed log with a certificate; everything after it is unsealed.
    lab.seal()
    lab.running(name="running")
    lab.place(name="placed")
    lab.cancel(lab.submit(name="cancelled"))
    failing, region, run = lab.running(name="failing")
    region.end(run, "failed", reason="container_exit")
    assert lab.state(failing) == "failed"
    lab.submit(name="queued", resources={"gpu": 8}, nodes=4, max_wait="1h")
    lab.key("home", "viewer", territory="FR", expires_in_s=3600)
