"""The wish to stop: noted where something is started, heeded at once where a Python is copied."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nordan_core.embedded import files, runtime
from nordan_core.embedded.layout import Layout
from nordan_core.embedded.proc import ProcessId, wait_gone
from nordan_core.embedded.stopping import Stopping, StopRequested, stop_on_signals
from nordan_core.embedded.terminal import TerminalReporter
from nordan_core.embedded.up import UpOptions, run_up

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root brings a Python for other users")


def terminate_soon() -> None:
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()


def test_a_signal_ends_the_building_of_a_part_and_nothing_of_it_stays(tmp_path: Path) -> None:
    def build(new: Path) -> None:
        (new / "half").write_text("x")
        terminate_soon()
        time.sleep(30)

    stopping, began = Stopping(), time.monotonic()
    with stop_on_signals(stopping), pytest.raises(StopRequested), stopping.at_once():
        runtime._part(tmp_path, "site", "0", build)
    assert time.monotonic() - began < 10
    assert list(tmp_path.iterdir()) == []
    assert stopping.is_requested


def test_clearing_up_is_not_disturbed_by_a_second_signal() -> None:
    stopping = Stopping()
    cleared = []

    def twice() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            cleared.append(True)

    with stop_on_signals(stopping), pytest.raises(StopRequested), stopping.at_once():
        twice()
    assert cleared


def test_elsewhere_a_signal_is_only_noted() -> None:
    """What was asked for before ends the block as it begins."""
    stopping = Stopping()
    with stop_on_signals(stopping):
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopping.is_requested
        with pytest.raises(StopRequested), stopping.at_once():
            pytest.fail("nothing is begun any more")


def test_a_compiler_that_is_given_up_leaves_no_helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, helper = tmp_path / "python", tmp_path / "helper"
    script.write_text(f"#!/bin/sh\nsleep 60 &\necho $! > {helper}\nwait\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))

    def terminate_then() -> None:
        while not helper.exists() or not helper.read_text().endswith("\n"):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    stopping = Stopping()
    threading.Thread(target=terminate_then, daemon=True).start()
    with stop_on_signals(stopping), pytest.raises(StopRequested), stopping.at_once():
        runtime._compile(tmp_path)
    found = ProcessId.of(int(helper.read_text()))
    if found:
        wait_gone([found], 5)
        assert not found.is_alive()


@pytest.mark.root
@needs_root
def test_an_up_that_brings_its_python_ends_when_it_is_asked(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(runtime, "can_run", lambda *_: False)
    monkeypatch.setattr(runtime, "_succeeds", lambda *_: False)
    asked: list[float] = []
    real = files._link_or_copy

    def copy(source: str, target: str) -> None:
        real(source, target)
        asked.append(time.monotonic())
        if len(asked) == 100:
            subprocess.run(["kill", "-TERM", str(os.getpid())], check=True)

    monkeypatch.setattr(files, "_link_or_copy", copy)
    stopping = Stopping()
    with stop_on_signals(stopping):
        run_up(UpOptions(data_dir, port=0), TerminalReporter(), stopping)
    assert len(asked) < 110
    assert time.monotonic() - asked[-1] < 10
    assert list(Layout(data_dir).runtime.iterdir()) == []
