"""How a running process was started, so that a test can start one like it."""

from __future__ import annotations

from pathlib import Path

from nordan_core.embedded.proc import ProcessId


def like_it(process: ProcessId) -> tuple[list[str], dict[str, str]]:
    """Return the command and the environment of a process."""
    proc = Path(f"/proc/{process.pid}")
    command = [word.decode() for word in (proc / "cmdline").read_bytes().split(b"\0")[:-1]]
    pairs = (pair.decode().partition("=") for pair in (proc / "environ").read_bytes().split(b"\0") if pair)
    return command, {name: value for name, _, value in pairs}
