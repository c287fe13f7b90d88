"""Jobs end to end: 1,000 one-GPU `true` jobs through the whole stack, and one job at a time on an idle stack.

    python benchmarks/e2e.py [--jobs 1000] [--single 40]

Targets: at least 30 jobs/s end to end (Slurm: about 100/s); one job on an idle stack, submit to running, p95 under
500 ms (Slurm 0.6 to 3 s, Kueue on fake nodes 175 ms). Clients run on the same cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from datetime import datetime
from pathlib import Path

import cpu
import httpx
import load
import stack

WORLD = Path(__file__).with_name("world.yaml")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--single", type=int, default=40)
    arguments = parser.parse_args()
    with stack.fresh_stack("--world", str(WORLD)) as running, _client(running) as client:
        singles = [_single(client) for _ in range(arguments.single)]
        rate, wall_s = _burst(client, running, arguments.jobs)
    singles.sort()
    p95 = singles[int(len(singles) * 0.95)] if singles else 0.0
    print(f"one job on an idle stack, submit to running: p50 {statistics.median(singles) * 1000:.0f} ms, ", end="")
    print(f"p95 {p95 * 1000:.0f} ms over {len(singles)}; target 500 ms: {'met' if p95 < 0.5 else 'MISSED'}")
    print(f"{arguments.jobs} one-GPU `true` jobs: {rate:.1f}/s, first submit to last end {wall_s:.1f} s; ", end="")
    print(f"target 30/s: {'met' if rate >= 30 else 'MISSED'}")


def _client(running: stack.Stack) -> httpx.Client:
    headers = {"Authorization": f"Bearer {running.key}"}
    return httpx.Client(base_url=f"{running.url}/v1/projects/{running.project}", headers=headers, timeout=30)


def _single(client: httpx.Client) -> float:
    """Return the seconds from sending a submission to the api's first word that it runs."""
    started = time.perf_counter()
    job = client.post("/jobs", json={"name": "one", "command": ["sleep", "0.2"]}).json()["id"]
    while True:
        shown = client.get(f"/jobs/{job}").json()
        if shown["started_at"] or shown["finished_at"]:
            seen = time.perf_counter() - started
            break
        time.sleep(0.01)
    while not client.get(f"/jobs/{job}").json()["finished_at"]:
        time.sleep(0.02)
    return seen


def _burst(client: httpx.Client, running: stack.Stack, jobs: int) -> tuple[float, float]:
    url = f"{running.url}/v1/projects/{running.project}/jobs"
    bodies: list[bytes | None] = [
        json.dumps({"name": f"true-{number}", "command": ["true"]}).encode() for number in range(jobs)
    ]
    used = cpu.seconds(running.pid)
    started = time.perf_counter()
    sent = load.run(url, running.key, bodies, clients=8)
    print(f"submitted: {sent.line()}")
    while _any_unfinished(client):
        print(f"  {time.perf_counter() - started:5.1f} s: some are left", flush=True)
        time.sleep(0.5)
    wall_s = time.perf_counter() - started
    print(f"  {cpu.table(used, cpu.seconds(running.pid), jobs)}")
    finished = client.get("/jobs", params={"limit": 500}).json()["items"]
    bad = [one for one in finished if one["state"] != "succeeded"]
    ends = [datetime.fromisoformat(one["finished_at"]).timestamp() for one in finished]
    print(f"  last end seen {time.time() - max(ends):.1f} s ago; not succeeded among the last 500: {len(bad)}")
    return jobs / wall_s, wall_s


def _any_unfinished(client: httpx.Client) -> bool:
    """Ask for one job only: a page of five hundred costs the api what forty submissions cost, on the same cores."""
    states = ["queued", "starting", "running", "recovering", "cancelling"]
    return bool(client.get("/jobs", params={"state": states, "limit": 1}).json()["items"])


if __name__ == "__main__":
    main()
