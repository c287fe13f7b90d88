"""`up` with real PostgreSQL and Valkey, and tiny stand-ins for the processes of the other packages."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest

from nordan_core.domain.errors import NordanError, OperatorError
from nordan_core.embedded.control import Stack
from nordan_core.embedded.data_dir import prepare_data_dir
from nordan_core.embedded.layout import Identities, Layout
from nordan_core.embedded.lock import holder
from nordan_core.embedded.proc import ProcessId
from nordan_core.embedded.runtime import Runtime, prepare_runtime
from nordan_core.embedded.stopping import Stopping
from nordan_core.embedded.up import Ready, UpOptions, run_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
PARTS = Path(__file__).with_name("fake_parts.py")
FAKE_UP = Path(__file__).with_name("fake_up.py")


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


def up_process(data_dir: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start `nordan up` with stand-ins as a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(FAKE_UP), str(data_dir / "parts.py"), f"--data-dir={data_dir}", "--port=0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="session")
def shared_runtime() -> Iterator[Runtime]:
    """Laid out once: it takes seconds, and every data folder would get the same."""
    data = Path(tempfile.mkdtemp(prefix="nt-", dir="/tmp"))
    identities = Identities.of_this_process()
    prepare_data_dir(Layout(data), identities)
    yield prepare_runtime(Layout(data), identities)
    shutil.rmtree(data, ignore_errors=True)


@pytest.fixture(autouse=True)
def stand_ins(data_dir: Path, shared_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nordan_core.embedded.up.prepare_runtime", lambda *_: shared_runtime)
    # Beside the data folder's own files, since other users have to read it.
    script = data_dir / "parts.py"
    shutil.copyfile(PARTS, script)
    script.chmod(0o644)
    monkeypatch.setattr(
        Stack,
        "command",
        lambda self, module, *arguments: (str(self.runtime.python), str(script), module, *arguments),
    )


@pytest.fixture
def options(data_dir: Path) -> UpOptions:
    return UpOptions(data_dir=data_dir, port=0)


@contextmanager
def stack(options: UpOptions) -> Iterator[Recorder]:
    """Run `up` in a thread until the block ends; fails with what made it fail."""
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
        if not failures:
            yield recorder
    finally:
        stopping.request()
        thread.join(60)
    if failures:
        raise failures[0]


def live(data: Path) -> dict[str, ProcessId]:
    records = {record.stem: ProcessId.from_json(record.read_text()) for record in (data / "processes").glob("*.json")}
    return {name: process for name, process in records.items() if process.is_alive()}


def until(condition: Callable[[], object], timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_another(data: Path, name: str, before: ProcessId) -> bool:
    return live(data).get(name, before) != before


EVERYTHING = {
    "postgres",
    "api",
    "scheduler-1",
    "scheduler-2",
    "valkey-home-1",
    "supervisor-home-1",
    "gateway-home-1",
    "worker-home-1",
}


def test_every_process_runs_under_its_own_user_and_all_stop_together(options: UpOptions) -> None:
    identities = Identities.of_this_process()
    with stack(options) as recorder:
        processes = live(options.data_dir)
        assert set(processes) == EVERYTHING
        users = {name: Path(f"/proc/{process.pid}").stat().st_uid for name, process in processes.items()}
        assert recorder.what
        assert recorder.what.regions == ("home-1",)
        assert recorder.what.admin_key == "nordan_admin"
    assert users["postgres"] == identities.postgres.uid
    assert {users[name] for name in ("api", "scheduler-1", "scheduler-2")} == {identities.control.uid}
    assert {users[f"{part}-home-1"] for part in ("valkey", "gateway", "worker")} == {identities.region(0).uid}
    assert users["supervisor-home-1"] == os.geteuid()
    assert live(options.data_dir) == {}
    assert holder(options.data_dir / "lock") is None


def test_a_second_start_finds_ports_keys_and_passwords_again(options: UpOptions) -> None:
    layout = Layout(options.data_dir)

    def state() -> tuple[str, ...]:
        broker = layout.region("home-1").broker / "password"
        return tuple(path.read_text() for path in (layout.ports, layout.grant_key, layout.database_password, broker))

    with stack(options) as first:
        before = state()
    with stack(replace(options, port=None)) as second:
        assert state() == before
    assert first.what == second.what


def test_a_process_that_is_killed_comes_back(options: UpOptions) -> None:
    with stack(options) as recorder:
        for name in ("api", "gateway-home-1", "valkey-home-1"):
            before = live(options.data_dir)[name]
            before.send(signal.SIGKILL)
            until(partial(is_another, options.data_dir, name, before))
        until(lambda: any("api ended and was started again" in note for note in recorder.notes))


def test_regions_that_appear_later_are_started_and_foreign_executors_are_not(options: UpOptions) -> None:
    several = replace(options, environment=(("NORDAN_FAKE_REGIONS", '["a-1", "b-1"]'),))
    with stack(several) as recorder:
        assert recorder.what
        assert recorder.what.regions == ("a-1", "b-1")
        joined = json.loads((options.data_dir / "control" / "joined-a-1.json").read_text())
    assert joined["offers_tenancy"] == (["shared", "dedicated", "single"] if os.geteuid() == 0 else ["single"])
    assert joined["broker_url"].startswith("redis://a-1:")
    with stack(options):
        assert {"valkey-home-1", "supervisor-home-1"} <= set(live(options.data_dir))
    numbers = json.loads((options.data_dir / "region-numbers.json").read_text())
    assert numbers == {"a-1": 0, "b-1": 1, "home-1": 2}


def test_what_a_killed_up_left_is_stopped_first(options: UpOptions) -> None:
    process = up_process(options.data_dir)
    until(lambda: set(live(options.data_dir)) == EVERYTHING, 60)
    process.kill()
    process.communicate()
    orphans = live(options.data_dir)
    assert set(orphans) == EVERYTHING
    with stack(options) as recorder:
        assert not any(process.is_alive() for process in orphans.values())
        assert any("an earlier run left behind" in note for note in recorder.notes)
        assert set(live(options.data_dir)) == EVERYTHING


def test_two_at_once_are_refused_with_the_pid(options: UpOptions) -> None:
    with stack(options):
        with pytest.raises(OperatorError, match=rf"pid {os.getpid()}\) is running on {options.data_dir}"):
            run_up(options, Recorder(), Stopping())
        assert set(live(options.data_dir)) == EVERYTHING


def test_a_taken_port_is_refused_before_anything_runs(options: UpOptions) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OperatorError, match=rf"Port {port} .* is taken .* --port"):
            run_up(replace(options, port=port), Recorder(), Stopping())
    assert live(options.data_dir) == {}


@pytest.mark.parametrize("module", ["nordan_core.store.migrate", "nordan_api.bootstrap", "nordan_api"])
def test_a_part_that_fails_ends_the_start_and_leaves_nothing_running(options: UpOptions, module: str) -> None:
    failing = replace(options, environment=(("NORDAN_FAKE_FAILS", module),))
    with pytest.raises(OperatorError, match=rf"exit code 7[\s\S]*{module} fails on purpose"), stack(failing):
        pass
    assert live(options.data_dir) == {}


def test_a_world_that_the_api_refuses_ends_the_start_with_its_reason(options: UpOptions) -> None:
    world = options.data_dir / "mine.yaml"
    world.write_text("kind: Nonsense\n")
    with pytest.raises(OperatorError, match="'Nonsense' is not a kind"), stack(replace(options, world=world)):
        pass
    assert live(options.data_dir) == {}
    assert not Layout(options.data_dir).world.exists()


def test_a_wish_to_stop_while_starting_is_granted(options: UpOptions) -> None:
    stopping = Stopping()
    stopping.request()
    recorder = Recorder()
    run_up(options, recorder, stopping)
    assert recorder.what is None
    assert live(options.data_dir) == {}


def test_no_secret_is_in_an_argument_list_and_none_is_in_a_log(options: UpOptions) -> None:
    layout = Layout(options.data_dir)
    with stack(options):
        secrets = [
            path.read_text().strip()
            for path in (layout.database_password, layout.admin_key, layout.region("home-1").broker / "password")
        ]
        lines = [Path(f"/proc/{process.pid}/cmdline").read_text() for process in live(options.data_dir).values()]
    logs = [log.read_text() for log in layout.logs.iterdir()]
    assert not any(secret in text for secret in secrets for text in (*lines, *logs))


def test_the_regions_environment_names_nothing_of_the_control_plane(options: UpOptions) -> None:
    with stack(options):
        processes = live(options.data_dir)
        for part in ("worker", "gateway", "supervisor"):
            text = Path(f"/proc/{processes[f'{part}-home-1'].pid}/environ").read_text()
            assert "DATABASE" not in text
            assert "GRANT_KEY" not in text
            assert "BROKERS" not in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything_in_order_and_the_exit_code_is_0(options: UpOptions, number: signal.Signals) -> None:
    process = up_process(options.data_dir)
    until(lambda: (options.data_dir / "up.json").exists() or process.poll() is not None, 60)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "Nordan is ready at http://127.0.0.1:" in output
    assert live(options.data_dir) == {}


def test_the_command_logs_the_invoking_user_in(options: UpOptions, own_home: Path) -> None:
    process = up_process(options.data_dir)
    until(lambda: (options.data_dir / "up.json").exists() or process.poll() is not None, 60)
    config = own_home / ".config" / "nordan" / "config.json"
    until(config.exists)
    process.terminate()
    process.communicate(timeout=60)
    values = json.loads(config.read_text())
    assert (values["key"], values["project"]) == ("nordan_admin", "default")
    assert config.stat().st_mode & 0o777 == 0o600


def test_an_error_is_one_paragraph_and_exit_code_1(options: UpOptions) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = up_process(options.data_dir, f"--port={taken.getsockname()[1]}")
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in errors
    assert "is taken by another program" in errors
