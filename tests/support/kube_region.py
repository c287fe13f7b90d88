"""A region whose jobs are pods, beside a running control plane: broker, supervisor, gateway, Celery worker.

`nordan up` starts regions of the local executor only. This does for a test what the overlay `region` does in a cluster,
with the processes on this machine's loopback.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from nordan_core.embedded.packaged import valkey_server

#: By territory: where its region stands, and its part of the grid.
PLACES = {"FR": ("FRPAR", "FR"), "SE": ("SESTO", "SE3")}
PARTS = {"supervisor": "nordan_workers.supervisor", "gateway": "nordan_workers.gateway", "worker": "nordan_workers.app"}
STOP_S = 15.0
_TESTS = Path(__file__).resolve().parents[1]


def world(
    code: str,
    pool: str,
    *,
    nodes: int | None,
    gpus_per_node: int = 8,
    territory: str = "FR",
    price: float = 1.0,
    **more: Any,
) -> list[dict[str, Any]]:
    """Return the documents of an operator, of a region of theirs that a cluster serves, and of one pool."""
    home = {"kind": "Entity", "name": "home", "legal_name": "Home", "seat": "FR", "presences": [], "owners": []}
    locode, grid_zone = PLACES[territory]
    region = {
        "kind": "Region",
        "name": code,
        "territory": territory,
        "operator": "home",
        "host": "home",
        "locode": locode,
        "grid_zone": grid_zone,
        "pue": 1.2,
        "executor": "kubernetes",
        "evidence": "E0",
        "access_territories": [territory],
    }
    shape = {
        "kind": "Pool",
        "name": pool,
        "region": code,
        "provider": "home",
        "accelerator": "H100",
        "gpu_memory_mib": 81920,
        "gpus_per_node": gpus_per_node,
        "cpus": 64,
        "memory_mib": 524288,
        "price_eur_per_gpu_h": price,
        "power_w_per_gpu": 700,
        "tenancy": "dedicated",
        "enforces": [],
        "certifications": [],
        "facts_valid_until": "2035-12-31",
        **({} if nodes is None else {"nodes": nodes}),
    }
    return [home, {**region, **more}, shape]


class KubeRegion:
    """The four processes of one region; each can be killed and started again."""

    def __init__(self, folder: Path, code: str, kubeconfig: Path, **settings: str) -> None:
        """`settings` become NORDAN_ variables of supervisor and gateway."""
        self.folder, self.code = folder, code
        folder.mkdir(exist_ok=True, mode=0o750)
        self.gateway_port, self._broker_port = _free_port(), _free_port()
        self._password = secrets.token_hex(16)
        self._settings = {"NORDAN_KUBECONFIG": str(kubeconfig), **_variables(settings)}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.clock_off_s = 0.0
        """How wrong the wall clock is of what is started from now on."""

    @property
    def gateway_url(self) -> str:
        """Where clients on this machine reach the region's content."""
        return f"http://127.0.0.1:{self.gateway_port}"

    def set(self, **settings: str) -> None:
        """Change settings before `start`: some are known only when the gateway's port is."""
        self._settings |= _variables(settings)

    def join(self, api_url: str, admin_key: str) -> None:
        """Join the control plane; the bundle lies in the region's folder."""
        broker = f"redis://:{self._password}@127.0.0.1:{self._broker_port}/0"
        answer = httpx.post(
            f"{api_url}/v1/regions/{self.code}:join",
            json={"gateway_url": self.gateway_url, "broker_url": broker},
            headers={"Authorization": f"Bearer {admin_key}"},
            trust_env=False,
            timeout=30,
        )
        assert answer.is_success, answer.text
        join = self.folder / "join.json"
        join.touch(mode=0o600)
        join.write_text(json.dumps({**answer.json(), "broker_url": broker}))

    def start(self, *names: str) -> None:
        """Start all processes, or those named."""
        for name in names or ("broker", *PARTS):
            self._processes[name] = self._spawn(name)

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to one process; after SIGKILL, wait until it is gone."""
        process = self._processes[name]
        process.send_signal(number)
        if number == signal.SIGKILL:
            process.wait(STOP_S)

    def restart(self, name: str) -> None:
        """Stop one process politely and start it again."""
        self._end(name)
        self.start(name)

    def has_ended(self, name: str) -> bool:
        """Tell whether a process that was started has ended by itself."""
        return self._processes[name].poll() is not None

    def stop(self) -> None:
        """Stop everything, the broker last."""
        for name in (*PARTS, "broker"):
            self._end(name)

    def log(self, name: str) -> str:
        """Return what a process has said."""
        return (self.folder / f"{name}.log").read_text()

    def _end(self, name: str) -> None:
        process = self._processes.pop(name, None)
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_S)

    def _spawn(self, name: str) -> subprocess.Popen[bytes]:
        command = self._command(name) if name in PARTS else self._broker_command()
        environment = {
            "PATH": os.environ["PATH"],
            **({"PYTHONPATH": str(_TESTS)} if self.clock_off_s else {}),
            "NORDAN_REGION_DIR": str(self.folder),
            "NORDAN_JOIN_FILE": str(self.folder / "join.json"),
            "NORDAN_GATEWAY_PORT": str(self.gateway_port),
            "NORDAN_EXECUTOR": "kubernetes",
            "NORDAN_AGENT_IMAGE": "localhost/nordan:test",
            "NORDAN_POD_GATEWAY_URL": self.gateway_url,
            **self._settings,
        }
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command, env=environment, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _command(self, name: str) -> list[str]:
        if self.clock_off_s:
            return [sys.executable, "-m", "support.wrong_clock", str(self.clock_off_s), PARTS[name]]
        return [sys.executable, "-m", PARTS[name]]

    def _broker_command(self) -> list[str]:
        config = self.folder / "broker.conf"
        config.touch(mode=0o600)
        # In a file: arguments are for all to see.
        config.write_text(f"port {self._broker_port}\nbind 127.0.0.1\nsave ''\nrequirepass {self._password}\n")
        return [str(valkey_server()), str(config)]


def wait_for_nodes(api_url: str, admin_key: str, pool: str, count: int, timeout_s: float = 60.0) -> float:
    """Wait until the control plane knows so many ready nodes of a pool; return how long it took."""
    started = time.monotonic()
    headers = {"Authorization": f"Bearer {admin_key}"}
    with httpx.Client(base_url=api_url, headers=headers, trust_env=False, timeout=30) as api:
        while time.monotonic() - started < timeout_s:
            if _ready(api, pool) >= count:
                return time.monotonic() - started
            time.sleep(0.2)
    raise AssertionError(f"the control plane does not know {count} ready nodes of {pool} after {timeout_s:.0f} s")


def _ready(api: httpx.Client, pool: str) -> int:
    items = api.get("/v1/nodes").json()["items"]
    return sum(1 for one in items if one["pool"] == pool and one["state"] == "ready")


def _variables(settings: Mapping[str, str]) -> dict[str, str]:
    return {f"NORDAN_{name.upper()}": value for name, value in settings.items()}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found: int = probe.getsockname()[1]
        return found
