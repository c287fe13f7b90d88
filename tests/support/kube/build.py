"""Builds the cluster programs once into the user's cache: `make kube`.

Needs Go 1.26 and a module proxy; takes minutes the first time, nothing when the cache has them.
Each program is put in place whole, so tests may look while another one is still being built.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.kube import binaries

_VERSION = "k8s.io/component-base/version"
_MAJOR, _MINOR = binaries.KUBERNETES.removeprefix("v").split(".")[:2]
#: A program built outside Kubernetes' own tree does not know its version unless it is told.
_KUBE_FLAGS = (
    f"-X {_VERSION}.gitVersion={binaries.KUBERNETES} -X {_VERSION}.gitMajor={_MAJOR} -X {_VERSION}.gitMinor={_MINOR}"
    f" -X {_VERSION}.gitTreeState=clean -X k8s.io/client-go/pkg/version.gitVersion={binaries.KUBERNETES}"
)


def main() -> int:
    """Find or build every program; print what happens; return the exit code."""
    try:
        go, version = binaries.find_go()
    except binaries.Unavailable as reason:
        return _without_go(reason)
    folder = binaries.cache_folder(version)
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder):
        missing = [part for part in binaries.PARTS if not os.access(folder / part, os.X_OK)]
        if not missing:
            print(f"kube: {folder} has every program")
            return 0
        print(
            f"kube: building {', '.join(missing)} with {version} into {folder}; the first time takes minutes",
            flush=True,
        )
        return max(_build(go, part, folder) for part in missing)


def _without_go(reason: binaries.Unavailable) -> int:
    """Accept a cache that another machine's Go filled; else say what is missing."""
    try:
        found = binaries.find_binaries(binaries.PARTS, environment=os.environ)
    except binaries.Unavailable:
        print(f"error: {reason}", file=sys.stderr)
        return 1
    print(f"kube: {found.folder} has every program")
    return 0


def _build(go: str, part: str, folder: Path) -> int:
    start = time.monotonic()
    with tempfile.TemporaryDirectory(dir=folder, prefix=".building-") as scratch:
        argv, cwd = _command(go, part, scratch)
        process = subprocess.Popen(argv, cwd=cwd, env=_environment(scratch))
        while True:
            try:
                code = process.wait(timeout=30)
                break
            except subprocess.TimeoutExpired:
                print(f"kube: {part}: {time.monotonic() - start:.0f} s", flush=True)
        if code:
            print(f"error: {part} could not be built (exit code {code})", file=sys.stderr)
            return 1
        (Path(scratch) / part).rename(folder / part)
    size_mib = (folder / part).stat().st_size / 2**20
    print(f"kube: {part}: {size_mib:.0f} MiB in {time.monotonic() - start:.0f} s", flush=True)
    return 0


def _command(go: str, part: str, scratch: str) -> tuple[list[str], Path]:
    flags = ["-p", str(os.cpu_count() or 1), "-trimpath", "-buildvcs=false", "-ldflags"]
    if part == "kwok":
        return [go, "install", *flags, "-s -w", f"sigs.k8s.io/kwok/cmd/kwok@{binaries.KWOK}"], Path(scratch)
    if part == "coredns":
        return [go, "build", *flags, "-s -w", "-o", f"{scratch}/coredns", "."], binaries.GO_SOURCES / "dns"
    return [go, "build", *flags, f"-s -w {_KUBE_FLAGS}", "-o", f"{scratch}/kube", "."], binaries.GO_SOURCES


def _environment(scratch: str) -> dict[str, str]:
    """Return the environment without another toolchain's download, and with a place for `go install`."""
    return {**os.environ, "GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOBIN": scratch}


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Let one build at a time fill the folder; clear what a killed one left."""
    with (folder / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        for left in folder.glob(".building-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


if __name__ == "__main__":
    sys.exit(main())
