"""Logs say what happened and where, never what somebody else's text said."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from nordan_core.domain.errors import OperatorError
from nordan_core.logs import configure_logs


@pytest.fixture(autouse=True)
def undone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take back what `configure_logs` does to the whole process."""
    for module in (sys, threading):
        monkeypatch.setattr(module, "excepthook", module.excepthook)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    structure = structlog.get_config()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.configure(**structure)
    structlog.contextvars.clear_contextvars()


def line(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    document: dict[str, object] = json.loads(capsys.readouterr().err)
    return document


def test_an_exception_leaves_its_type_and_its_place_but_not_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("test")
    try:
        Path("/nowhere/canary").read_bytes()
    except FileNotFoundError:
        structlog.get_logger().exception("step_failed", attempt_id="att_x")
    told = line(capsys)
    assert (told["event"], told["error"], told["errno"], told["attempt_id"]) == (
        "step_failed",
        "FileNotFoundError",
        2,
        "att_x",
    )
    assert "test_logs.py" in str(told["frames"])
    assert "canary" not in str(told)


def test_an_exception_may_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("test")
    structlog.get_logger().error("failed", exc_info=ValueError("canary"))
    told = line(capsys)
    assert told["error"] == "ValueError"
    assert "canary" not in str(told)


def test_what_is_said_to_the_operator_stays(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("test")
    structlog.get_logger().error("failed", exc_info=OperatorError("the port is taken"))
    assert line(capsys)["message"] == "the port is taken"


def test_of_a_library_only_the_place_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("test")
    logging.getLogger("celery.worker").error("received %r", "canary")
    told = line(capsys)
    assert (told["event"], told["library"], told["level"]) == ("library_message", "celery.worker", "error")
    assert "canary" not in str(told)


def test_of_a_warning_only_the_place_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("test")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("canary", UserWarning, stacklevel=1)
    told = line(capsys)
    assert (told["event"], told["library"]) == ("library_message", "py.warnings")
    assert "canary" not in str(told)


def test_lines_name_their_process(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("test")
    structlog.get_logger().info("started")
    assert line(capsys)["process"] == "test"


def test_a_line_that_a_full_disk_refuses_is_lost_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        configure_logs("test")
        structlog.get_logger().error("defect", exc_info=ValueError("x"))
        logging.getLogger("library").error("more")
        # What its buffer holds must not meet the full disk again at the end of this test.
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_nobody_caught_is_told_without_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("test")

    def fail() -> None:
        raise ValueError("canary")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    told = line(capsys)
    assert (told["event"], told["error"], told["level"]) == ("thread_died", "ValueError", "critical")
    sys.excepthook(ValueError, ValueError("canary"), None)
    assert "canary" not in str(told | line(capsys))
