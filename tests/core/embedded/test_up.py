"""`up` inside this process: what it starts, finds again, refuses and stops."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from nordan_core.domain.errors import OperatorError
from nordan_core.embedded import up
from nordan_core.embedded.control import Stack
from nordan_core.embedded.layout import Identities, Layout
from nordan_core.embedded.lock import holder
from nordan_core.embedded.proc import ProcessId
from nordan_core.embedded.stopping import Stopping, StopRequested
from nordan_core.embedded.up import UpOptions, run_up
from support.stand_ins import EVERYTHING, Recorder, StandIns, live, stack, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", autouse=True)
def use_stand_ins(stand_ins: StandIns) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nordan_core.embedded.up.prepare_runtime", lambda *_: stand_ins.runtime)
        patch.setattr(Stack, "command", run_by(str(stand_ins.parts)))
        yield


def run_by(parts: str) -> object:
    def command(stack: Stack, module: str, *arguments: str) -> tuple[str, ...]:
        return (str(stack.runtime.python), parts, module, *arguments)

    return command


@pytest.fixture
def options(data_dir: Path) -> UpOptions:
    return UpOptions(data_dir=data_dir, port=0)


@pytest.fixture(scope="module")
def running(stand_ins: StandIns) -> Iterator[tuple[UpOptions, Recorder]]:
    """One stack for the tests that only look at it."""
    data = stand_ins.folder / "shared"
    data.mkdir()
    options = UpOptions(data_dir=data, port=0)
    with stack(options) as recorder:
        yield options, recorder
    shutil.rmtree(data)


def text_of(process: ProcessId, name: str) -> str:
    return Path(f"/proc/{process.pid}/{name}").read_text()


def test_every_process_runs_under_the_user_that_it_should(running: tuple[UpOptions, Recorder]) -> None:
    options, recorder = running
    identities = Identities.of_this_process()
    processes = live(options.data_dir)
    assert set(processes) == EVERYTHING
    users = {name: Path(f"/proc/{process.pid}").stat().st_uid for name, process in processes.items()}
    assert users["postgres"] == identities.postgres.uid
    assert {users[name] for name in ("api", "scheduler-1", "scheduler-2")} == {identities.control.uid}
    assert {users[f"{part}-home-1"] for part in ("valkey", "gateway", "worker")} == {identities.region(0).uid}
    assert users["supervisor-home-1"] == os.geteuid()
    assert recorder.what
    assert (recorder.what.regions, recorder.what.admin_key) == (("home-1",), "nordan_admin")


def test_no_secret_is_in_an_argument_list_or_a_log(running: tuple[UpOptions, Recorder]) -> None:
    options, _ = running
    layout = Layout(options.data_dir)
    files = (layout.database_password, layout.admin_key, layout.region("home-1").broker / "password")
    secrets = [file.read_text().strip() for file in files]
    texts = [text_of(process, "cmdline") for process in live(options.data_dir).values()]
    texts += [log.read_text() for log in layout.logs.iterdir()]
    assert not any(secret in text for secret in secrets for text in texts)


def test_a_regions_environment_names_nothing_of_the_control_plane(running: tuple[UpOptions, Recorder]) -> None:
    options, _ = running
    processes = live(options.data_dir)
    for part in ("worker", "gateway", "supervisor"):
        text = text_of(processes[f"{part}-home-1"], "environ")
        assert not any(word in text for word in ("DATABASE", "GRANT_KEY", "CERTIFICATE", "BROKERS"))


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs its parts under other users")
def test_users_of_attempts_and_of_other_regions_read_nothing_that_is_not_theirs(
    running: tuple[UpOptions, Recorder],
) -> None:
    options, _ = running
    layout, identities = Layout(options.data_dir), Identities.of_this_process()
    region = layout.region("home-1")
    closed = [layout.control, layout.keys, layout.logs, region.join, region.broker, region.attempts, region.run]
    closed += [layout.postgres / "run", layout.postgres / "cluster", layout.processes, layout.status]
    for uid in (identities.first_attempt_uid, identities.region(1).uid):
        for path in closed:
            done = subprocess.run(["test", "-r", path], user=uid, group=uid, extra_groups=[], check=False)
            assert done.returncode == 1, path
    own = identities.region(0).uid
    for path in (layout.control, layout.keys, layout.logs, region.attempts, layout.postgres / "run"):
        done = subprocess.run(["test", "-r", path], user=own, group=own, extra_groups=[], check=False)
        assert done.returncode == 1, path


def test_two_at_once_are_refused_with_the_pid(running: tuple[UpOptions, Recorder]) -> None:
    options, _ = running
    with pytest.raises(OperatorError, match=rf"pid {os.getpid()}\) is running on {options.data_dir}"):
        run_up(options, Recorder(), Stopping())
    assert set(live(options.data_dir)) == EVERYTHING


def test_a_process_that_is_killed_comes_back(running: tuple[UpOptions, Recorder]) -> None:
    options, recorder = running
    for name in ("api", "gateway-home-1", "valkey-home-1"):
        before = live(options.data_dir)[name]
        before.send(signal.SIGKILL)
        until(partial(is_another, options.data_dir, name, before))
    until(lambda: any("api ended and was started again" in note for note in recorder.notes))


def is_another(data: Path, name: str, before: ProcessId) -> bool:
    return live(data).get(name, before) != before


def test_jobs_outlive_a_stack_unless_they_are_to_be_stopped_and_a_second_start_finds_everything(
    options: UpOptions,
) -> None:
    layout = Layout(options.data_dir)

    def state() -> tuple[str, ...]:
        broker = layout.region("home-1").broker / "password"
        return tuple(path.read_text() for path in (layout.ports, layout.grant_key, layout.database_password, broker))

    with stack(options) as first:
        before, process = state(), job(layout)
    assert live(options.data_dir) == {}
    assert holder(layout.lock) is None
    assert process.poll() is None
    assert any("1 process of a job goes on" in note for note in first.notes)
    with stack(replace(options, port=None, stops_jobs=True)) as second:
        assert state() == before
        assert process.poll() is None
    assert process.wait(5) == -signal.SIGTERM
    assert first.what == second.what


def job(layout: Layout) -> subprocess.Popen[bytes]:
    """Start what a shim starts: a program in a session of its own, with its record."""
    process = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True)
    found = ProcessId.of(process.pid)
    assert found
    folder = layout.region("home-1").attempts / "att_1" / "rank-0"
    folder.mkdir(parents=True, exist_ok=True)
    record = {"boot_id": found.boot_id, "pid": found.pid, "start_time": found.started_ticks, "shim_pid": 1}
    (folder / "pid.json").write_text(json.dumps(record))
    return process


@pytest.fixture(autouse=True)
def short_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    # The stand-in for the api cancels nothing.
    monkeypatch.setattr("nordan_core.embedded.jobs.CANCEL_TIMEOUT_S", 0.1)


def test_regions_are_numbered_as_they_come_and_foreign_executors_are_left_alone(options: UpOptions) -> None:
    several = replace(options, environment=(("NORDAN_FAKE_REGIONS", '["a-1", "b-1"]'),), has_standby=False)
    with stack(several) as recorder:
        assert recorder.what
        assert recorder.what.regions == ("a-1", "b-1")
        assert "scheduler-2" not in live(options.data_dir)
        joined = json.loads((options.data_dir / "control" / "joined-a-1.json").read_text())
    assert joined["offers_tenancy"] == (["shared", "dedicated", "single"] if os.geteuid() == 0 else ["single"])
    assert joined["broker_url"].startswith("redis://a-1:")
    with stack(options):
        assert set(live(options.data_dir)) == EVERYTHING
    numbers = json.loads((options.data_dir / "region-numbers.json").read_text())
    assert numbers == {"a-1": 0, "b-1": 1, "home-1": 2}


def test_a_later_start_describes_nothing_again_unless_it_names_a_world(options: UpOptions, tmp_path: Path) -> None:
    def applied(regions: str, world: Path | None = None) -> list[str]:
        with stack(replace(options, world=world, environment=(("NORDAN_FAKE_REGIONS", regions),))):
            found: list[str] = json.loads((options.data_dir / "control" / "applied.json").read_text())
            return found

    world = tmp_path / "mine.yaml"
    world.write_text("kind: ControlPlane\nterritory: FR\noperator: me\n")
    assert applied("[]") == ["Entity", "ControlPlane", "Region", "Pool", "Project"]
    # The stand-in knows the region and none of its pools.
    assert applied('["home-1"]') == ["Pool", "Project"]
    assert applied('["home-1"]', world) == ["ControlPlane", "Project"]
    assert applied('["home-1"]') == ["Project"]


def test_a_taken_port_is_refused_before_anything_runs(options: UpOptions) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        recorder = Recorder()
        with pytest.raises(OperatorError, match=rf"Port {port} .* is taken .* --port"):
            run_up(replace(options, port=port), recorder, Stopping())
    assert not Layout(options.data_dir).postgres.exists()
    assert recorder.steps == [], "nothing was started, so nothing is said to be stopped"


def test_a_missing_world_is_refused_before_anything_runs(options: UpOptions) -> None:
    with pytest.raises(OperatorError, match=r"/no/such\.yaml cannot be read"):
        run_up(replace(options, world=Path("/no/such.yaml")), Recorder(), Stopping())
    assert not Layout(options.data_dir).postgres.exists()


@pytest.mark.parametrize("module", ["nordan_core.store.migrate", "nordan_api"])
def test_a_part_that_fails_ends_the_start_and_leaves_nothing_running(options: UpOptions, module: str) -> None:
    failing = replace(options, environment=(("NORDAN_FAKE_FAILS", module),))
    with pytest.raises(OperatorError, match=rf"exit code 7[\s\S]*{module} fails on purpose"), stack(failing):
        pass
    assert live(options.data_dir) == {}


def test_a_world_that_the_api_refuses_ends_the_start_with_its_reason(options: UpOptions) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as world:
        world.write("kind: Nonsense\n")
        world.flush()
        refused = replace(options, world=Path(world.name))
        with pytest.raises(OperatorError, match="'Nonsense' is not a kind"), stack(refused):
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


def test_an_api_that_refuses_later_is_told_of_once_and_ends_nothing(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, stopping, asked = Recorder(), Stopping(), list[int]()

    def refuse(*_: object) -> None:
        asked.append(1)
        if len(asked) == 3:
            stopping.request()
        raise OperatorError("the key was revoked")

    monkeypatch.setattr(up, "TICK_S", 0.0)
    running = up._Up(UpOptions(data_dir), recorder, stopping, Layout(data_dir), Identities.of_this_process())
    monkeypatch.setattr(running, "_reconcile", refuse)
    with pytest.raises(StopRequested):
        running._keep_running(None, None)  # type: ignore[arg-type]  # the method that would use them is replaced
    assert recorder.notes == ["New regions are not started: the key was revoked"]
