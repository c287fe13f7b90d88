"""A job that looks for what is not its own, and prints what came of each try as JSON. Runs as a program, by itself.

Its tasks are in `tasks.json` beside it: paths to read, folders to list and to write into, sockets to reach, processes
to look into and to signal, users to become, and bytes to say to ports. Needs nothing but Python.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PTRACE_ATTACH = 16
#: Asks only whether a signal might be sent.
NO_SIGNAL = 0
#: What the kernel shows of a process to its own user only.
PARTS = ("environ", "mem", "maps", "fd", "cwd", "root", "io", "stack")
#: What a try that came through, and found nothing to show, prints.
DONE = "done"
RIGHTS = ("NoNewPrivs", "CapEff", "CapPrm", "CapAmb", "Groups")
LONGEST = 2000


def main() -> int:
    """Try everything and print what came of it."""
    tasks: dict[str, Any] = json.loads(Path("tasks.json").read_text())
    acts: dict[str, tuple[str, Callable[..., object]]] = {
        "read": ("read", read),
        "open": ("read", open_to_all),
        "list": ("list", list_folder),
        "write": ("write", write),
        "reach": ("reach", reach),
        "look": ("look", look),
        "signal": ("processes", signal),
        "trace": ("processes", trace),
        "become": ("become", become),
    }
    found: dict[str, object] = {
        name: {str(one): tried(act, one) for one in tasks[what]} for name, (what, act) in acts.items()
    }
    found["say"] = {name: tried(say, *words) for name, words in tasks["say"].items()}
    print(json.dumps({**found, "own": own()}), flush=True)
    return 0


def tried(act: Callable[..., object], *arguments: object) -> str:
    """Return the name of the error, or the beginning of what was found."""
    try:
        return str(act(*arguments) or DONE)[:LONGEST]
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, repr(error))


def read(path: str) -> str:
    """Return the beginning of a file."""
    with Path(path).open("rb") as file:
        return repr(file.read(200))


def open_to_all(path: str) -> None:
    """Give a file a mode that lets everybody in."""
    Path(path).chmod(0o666)


def list_folder(path: str) -> list[str]:
    """Return the names in a folder."""
    return sorted(one.name for one in Path(path).iterdir())


def write(folder: str) -> None:
    """Make a file in a folder, and remove it again."""
    path = Path(folder, "spy")
    path.touch()
    path.unlink()


def reach(path: str) -> None:
    """Connect to a socket of either kind and send a line."""
    try:
        _send(path, socket.SOCK_STREAM)
    except OSError as error:
        if error.errno != errno.EPROTOTYPE:
            raise
        _send(path, socket.SOCK_DGRAM)


def _send(path: str, kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_UNIX, kind) as line:
        line.connect(path)
        line.send(b"\n")


def look(path: str) -> object:
    """Return the beginning of one part of a process."""
    part = path.rpartition("/")[2]
    if part == "fd":
        return list_folder(path)
    return Path(path).readlink() if part in {"cwd", "root"} else read(path)


def signal(pid: int) -> None:
    """Ask whether a process may be signalled."""
    os.kill(pid, NO_SIGNAL)


def trace(pid: int) -> None:
    """Attach to a process as a debugger does."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(PTRACE_ATTACH, pid, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def become(user: int) -> None:
    """Take the number of another user."""
    os.setresuid(user, user, user)


def say(port: int, text: str) -> str:
    """Say something to a port of this machine and return the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as line:
        line.sendall(text.encode())
        answer = b""
        while data := line.recv(4096):
            answer += data
        return answer.decode(errors="replace")


def own() -> dict[str, object]:
    """Return what the job has, and show that it works."""
    inputs = Path(os.environ["NORDAN_INPUT_DIR"])
    child = subprocess.Popen(["sleep", "60"])
    child.kill()
    Path(os.environ["NORDAN_OUTPUT_DIR"], "found").write_text("mine")
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return {
        "ids": [*os.getresuid(), *os.getresgid()],
        "rights": {name: status[name].strip() for name in RIGHTS},
        "environment": dict(os.environ),
        "files": sorted(_kind_of(one) for one in Path("/proc/self/fd").iterdir()),
        "inputs": {str(path.relative_to(inputs)): path.read_text() for path in inputs.rglob("*") if path.is_file()},
        "child ended by": child.wait(),
        "mode of cwd": stat.S_IMODE(Path.cwd().stat().st_mode),
        "environ": tried(read, "/proc/self/environ"),
    }


def _kind_of(file: Path) -> str:
    try:
        return f"{file.name} {file.readlink()}"
    except OSError:
        return "the listing itself"


if __name__ == "__main__":
    sys.exit(main())
