"""Logs say what happened and where, never what somebody else's text said."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from nordan_workers import log


@pytest.fixture(autouse=True)
def undone() -> Iterator[None]:
    """Take back what `configure` does to the whole process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def line(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    document: dict[str, object] = json.loads(capsys.readouterr().err)
    return document


def test_an_exception_leaves_its_type_and_its_place_but_not_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("test")
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
    assert "test_log.py" in str(told["frames"])
    assert "canary" not in str(told)


def test_an_exception_may_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("test")
    structlog.get_logger().error("failed", exc_info=ValueError("canary"))
    told = line(capsys)
    assert told["error"] == "ValueError"
    assert "canary" not in str(told)


def test_of_a_library_only_the_place_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("test")
    logging.getLogger("celery.worker").error("received %r", "canary")
    told = line(capsys)
    assert (told["event"], told["library"], told["level"]) == ("library_message", "celery.worker", "error")
    assert "canary" not in str(told)


def test_lines_name_their_process(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("test")
    structlog.get_logger().info("started")
    assert line(capsys)["process"] == "test"
