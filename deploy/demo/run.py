"""The whole story of Nordan on real parts, as a client sees it: `make demo`.

Drives the command line and the REST interface from outside; knows nothing of the packages. Every step says what it
checks. Exits 1 when a check fails, and always stops what it started.
"""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path

import yaml
from cluster_stack import ClusterStack
from console import Console, Stopped
from demo_stack import Stack
from inference import serve_the_model
from proof import fetch_and_verify_the_certificate
from refusals import keep_a_description_in_sweden, refuse_what_no_pool_may_run, run_in_sweden
from restricted import (
    Training,
    plan_the_job,
    put_the_patients,
    show_the_world,
    sit_in_france,
    train_through_a_loss,
)

#: A begun micro-EUR counts whole.
COST_STEP_EUR = Decimal("0.000001")
WORLDS = Path(__file__).resolve().parents[1] / "world"


def main() -> int:
    """Run every step and return the exit code."""
    console = Console()
    is_cluster = "--cluster" in sys.argv[1:]
    if is_cluster:
        console.heading("Use the cluster of `make kind-up`: api and scheduler twice, PostgreSQL, two regions")
    else:
        console.heading("Start PostgreSQL, four brokers, api, scheduler and its standby, four regions")
    try:
        with ClusterStack(WORLDS / "kind.yaml") if is_cluster else Stack(WORLDS / "europe.yaml") as stack:
            _tell(console, stack)
            if not is_cluster:
                _stop(console, stack)
    except Stopped as stopped:
        console.check(False, f"the demo reached its end: {stopped}")
    print(f"\n{console.summary()}", flush=True)
    for claim in console.failed:
        print(f"  failed: {claim}")
    return 1 if console.failed else 0


def _tell(console: Console, stack: Stack) -> None:
    try:
        show_the_world(console, stack)
        sit_in_france(console, stack)
        put_the_patients(console, stack)
        plan_the_job(console, stack)
        training: Training = train_through_a_loss(console, stack)
        fetch_and_verify_the_certificate(console, stack, training.job)
        refuse_what_no_pool_may_run(console, stack)
        keep_a_description_in_sweden(console, stack)
        run_in_sweden(console, stack)
        serve_the_model(console, stack, training)
        _print_usage(console, stack, training.job)
    except Stopped as stopped:
        console.check(False, f"the step reached its end: {stopped}")
        console.say(stack.trouble())


def _print_usage(console: Console, stack: Stack, job: str) -> None:
    console.heading("Usage and cost of the training job")
    usage = stack.nordan("usage", job)
    console.say(usage.text)
    total = stack.nordan("usage", job, "-o", "json").data
    lines = total["items"]
    console.check(usage.code == 0 and len(lines) == 2, "both attempts are billed", total)
    world = [document for document in yaml.safe_load_all(stack.world.read_text()) if document["kind"] == "Pool"]
    asked = {pool["name"]: Decimal(str(pool["price_eur_per_gpu_h"])) for pool in world}
    for line in lines:
        price = Decimal(line["price_eur_per_gpu_h"])
        due = price * line["gpus"] * Decimal(str(line["running_s"])) / 3600
        is_asked = price == asked[line["pool"]]
        is_due = 0 <= Decimal(line["cost_eur"]) - due < COST_STEP_EUR
        console.check(is_asked and is_due, f"attempt {line['number']} costs its pool's price times its time", line)
    console.check(
        Decimal(total["cost_eur"]) == sum(Decimal(line["cost_eur"]) for line in lines), "the sum is right", total
    )


def _stop(console: Console, stack: Stack) -> None:
    console.heading("Stop")
    left = stack.stop()
    console.check(not left, "no process of the stack is left", "\n".join(left))


if __name__ == "__main__":
    sys.exit(main())
