"""Submissions per second: 16 clients on the same cores as the stack, next to an empty FastAPI route in the same run.

    python benchmarks/submit.py [--jobs 1000] [--clients 16]

The jobs ask for more GPUs than are free after the first few, so that the scheduler and the region stay nearly idle:
what is measured is the api. Target: at least 100/s at 16 clients with p95 under 150 ms (dstack: 15/s, 1.5 s).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import socket
import time

import cpu
import load
import stack
import uvicorn
from fastapi import FastAPI


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=16)
    arguments = parser.parse_args()
    with stack.fresh_stack() as running:
        bodies = [_job(number) for number in range(arguments.jobs)]
        url = f"{running.url}/v1/projects/{running.project}/jobs"
        load.run(url, running.key, [_job(number) for number in range(50)], clients=4)
        used = cpu.seconds(running.pid)
        submitted = load.run(url, running.key, bodies, clients=arguments.clients)
        shares = cpu.table(used, cpu.seconds(running.pid), arguments.jobs)
        empty = _empty_route(arguments)
    print(f"submit, {arguments.clients} clients: {submitted.line()}")
    print(f"  {shares}")
    print(f"empty FastAPI route, {arguments.clients} clients: {empty.line()}")
    print(f"ratio submit / empty route: {submitted.rate / empty.rate:.2f}")
    print(f"target: 100/s and p95 < 150 ms: {_verdict(submitted)}")


def _job(number: int) -> bytes:
    document = {
        "name": f"bench-{number}",
        "command": ["sleep", "600"],
        "resources": {"gpu": 8},
        "env": {"EPOCHS": "20"},
        "max_duration": "1h",
    }
    return json.dumps(document).encode()


def _verdict(result: load.Result) -> str:
    return "met" if result.rate >= 100 and result.percentile_ms(95) < 150 and not result.failures else "MISSED"


def _empty_route(arguments: argparse.Namespace) -> load.Result:
    listener = socket.create_server(("127.0.0.1", 0))
    server = multiprocessing.get_context("fork").Process(target=_serve, args=(listener,), daemon=True)
    server.start()
    time.sleep(1.0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/empty"
    bodies = [_job(number) for number in range(2 * arguments.jobs)]
    result = load.run(url, "none", bodies, clients=arguments.clients)
    server.kill()
    return result


def _serve(listener: socket.socket) -> None:
    app = FastAPI()

    @app.post("/empty")
    def empty() -> dict[str, str]:
        return {"id": "none"}

    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener])


if __name__ == "__main__":
    main()
