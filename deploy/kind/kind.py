"""`make kind-up | kind-demo | kind-down`: the rehearsal on a cluster of kind, for whoever has Docker.

`up` may be repeated: it finds what is there. The login that it makes lies in a folder of its own, so that nobody's
configuration is touched.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import rehearsal
from rehearsal import REGIONS, ROOT, Failed, Kubectl, Nordan, run

CLUSTER = "nordan"
IMAGE = "localhost/nordan:0.1.0"
API = "http://127.0.0.1:30471"
#: As deploy/overlays/kind and deploy/kind/cluster.yaml open them.
GATEWAYS = {"fr-bru-1": "http://127.0.0.1:30480", "se-bor-1": "http://127.0.0.1:30481"}
REHEARSAL_LABEL = "rehearsal.nordan.eu/region"


def main(words: list[str]) -> int:
    """Run one of the three and return the exit code."""
    acts = {"up": up, "demo": demo, "down": down}
    if len(words) != 1 or words[0] not in acts:
        sys.stderr.write("usage: kind.py up | demo | down\n")
        return 2
    try:
        check_programs()
        return acts[words[0]]()
    except Failed as failure:
        sys.stderr.write(f"error: {failure}\n")
        return 1


def check_programs() -> None:
    """Tell what is missing before anything is begun.

    Raises:
        Failed: Docker or kind is not there, or Docker's engine does not answer.
    """
    for program, where in (("docker", "https://docs.docker.com/engine/install"), ("kind", "https://kind.sigs.k8s.io")):
        if shutil.which(program) is None:
            raise Failed(
                f"{program} is not installed ({where}). The rehearsal needs Docker and kind; without them, "
                "`make demo` tells the same story on this machine alone"
            )
    try:
        run(["docker", "info"], within_s=30)
    except Failed as failure:
        raise Failed(f"Docker is installed, but its engine does not answer: {failure}") from None


def up() -> int:
    """Make the cluster and everything in it."""
    steps = (
        ("cluster", _make_cluster),
        ("image", _load_image),
        ("nodes", lambda: rehearsal.prepare_nodes(_kubectl(), _nodes())),
        ("secrets", lambda: rehearsal.make_secrets(_kubectl())),
        ("overlay", lambda: rehearsal.apply_overlay(_kubectl())),
        ("control plane", lambda: rehearsal.wait_for_control_plane(_kubectl())),
        ("login", _log_in),
        ("world", lambda: rehearsal.apply_world(_nordan())),
        ("join", lambda: rehearsal.join_regions(_kubectl(), _nordan(), GATEWAYS)),
        ("regions", lambda: rehearsal.wait_for_regions(_kubectl(), _nordan())),
    )
    for name, step in steps:
        print(f"  {name}", flush=True)
        step()
    print(f"\nReady at {API}. In a shell of your own:\n  export NORDAN_CONFIG={_login()}\n  nordan regions")
    return 0


def demo() -> int:
    """Tell the demo's story on the cluster."""
    if not _login().exists():
        raise Failed("there is no rehearsal to run the demo on; start with: make kind-up")
    environment = {**os.environ, **_nordan().environment(), "NORDAN_DEMO_KUBECTL": json.dumps(list(_kubectl().argv))}
    command = [sys.executable, str(ROOT / "deploy/demo/run.py"), "--cluster"]
    return subprocess.run(command, env=environment, check=False).returncode


def down() -> int:
    """Remove the cluster and the login."""
    run(["kind", "delete", "cluster", "--name", CLUSTER], within_s=300)
    shutil.rmtree(_home(), ignore_errors=True)
    return 0


def _make_cluster() -> None:
    if CLUSTER not in run(["kind", "get", "clusters"]).split():
        run(["kind", "create", "cluster", "--config", str(ROOT / "deploy/kind/cluster.yaml")], within_s=900)


def _load_image() -> None:
    build = ["docker", "build", "--tag", IMAGE, "--file", str(ROOT / "deploy/images/Dockerfile"), str(ROOT)]
    run(build, within_s=1800)
    run(["kind", "load", "docker-image", IMAGE, "--name", CLUSTER], within_s=600)


def _nodes() -> dict[str, list[str]]:
    def of(code: str) -> list[str]:
        return _kubectl()("get", "nodes", "-l", f"{REHEARSAL_LABEL}={code}", "-o", "name").replace("node/", "").split()

    return {region.code: of(region.code) for region in REGIONS}


def _log_in() -> None:
    if _login().exists():
        return
    _home().mkdir(parents=True, exist_ok=True, mode=0o700)
    config = {"url": API, "key": rehearsal.first_key(_kubectl()), "project": "default"}
    descriptor = os.open(_login(), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(config, file)


def _kubectl() -> Kubectl:
    beside = Path(sys.executable).parent / "kubectl"
    return Kubectl((str(beside) if beside.exists() else "kubectl", "--context", f"kind-{CLUSTER}"))


def _nordan() -> Nordan:
    return Nordan(API, str(json.loads(_login().read_text())["key"]), _home())


def _home() -> Path:
    state = os.environ.get("XDG_STATE_HOME", "")
    return (Path(state) if state else Path.home() / ".local" / "state") / "nordan-kind"


def _login() -> Path:
    return _home() / "config.json"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
