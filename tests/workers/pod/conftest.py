"""The shim, compiled once, and runs of it that end with their test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.pod_shim import ShimRun, compile_shim, missing_compiler


@pytest.fixture(scope="session")
def shim_binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if reason := missing_compiler():
        pytest.skip(reason)
    return compile_shim(tmp_path_factory.mktemp("shim") / "shim")


@pytest.fixture(params=["ordinary process", "PID 1"])
def run(request: pytest.FixtureRequest, shim_binary: Path, tmp_path: Path) -> Iterator[ShimRun]:
    """One shim, as an ordinary process and as the first of a PID namespace, as in a container."""
    is_init = request.param == "PID 1"
    if is_init and (os.geteuid() != 0 or not shutil.which("unshare")):
        pytest.skip("a PID namespace of one's own needs root and unshare")
    run = ShimRun(shim_binary, tmp_path, is_init=is_init)
    yield run
    run.clean_up()


@pytest.fixture
def plain(shim_binary: Path, tmp_path: Path) -> Iterator[ShimRun]:
    """One shim as an ordinary process."""
    run = ShimRun(shim_binary, tmp_path)
    yield run
    run.clean_up()


@pytest.fixture
def new_run(shim_binary: Path, tmp_path: Path) -> Iterator[Callable[[], ShimRun]]:
    """A maker of shims, for tests that need several."""
    made: list[ShimRun] = []

    def make() -> ShimRun:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(ShimRun(shim_binary, folder))
        return made[-1]

    yield make
    for one in made:
        one.clean_up()
