"""Shared by every test: the time limits of each kind, and a home directory of its own."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling, Scheduling

from support.kube.fixtures import is_kube_test, kube_api, kube_control, kube_node, kube_node_b

__all__ = ["kube_api", "kube_control", "kube_node", "kube_node_b"]

# A shell ignores SIGINT for what it runs in the background, and ignoring is inherited: what tests start must hear it.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
# Not where a command under test writes: a thread that an earlier test left may log a last line meanwhile.
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.__stderr__))

# How long an example takes says how busy the machine is, and nothing about what is tested.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

#: Seconds. Kinds that start real services live in their own folders and get more.
LIMITS_S = {"chaos": 600, "e2e": 600, "integration": 300, "kube": 600, "upgrade": 300}
#: Part of the first test's time is the start of the cluster.
KUBE_LIMIT_S = 600
TESTS = Path(__file__).parent
#: Folders whose tests share one running stack.
STACKS = ("tests/chaos/", "tests/integration/")
#: Where nearly all tests on clusters are.
CLUSTERS = ("tests/kube/", "tests/workers/executors/kubernetes/", "tests/workers/cluster/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long; mark what asks for a cluster; give slow folders a limit, unless a test names one."""
    items.sort(key=lambda item: _turn(item.nodeid))
    for item in items:
        limit_s = LIMITS_S.get(_folder(item), 0)
        if is_kube_test(item):
            item.add_marker(pytest.mark.kube)
            limit_s = max(limit_s, KUBE_LIMIT_S)
        if limit_s and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(limit_s))


class OneForWhatIsShared(LoadFileScheduling):
    """Files go to whichever worker is free, but those that share a cluster or a stack to one: it starts each once."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        if file.startswith(CLUSTERS):
            return "clusters"
        return next((folder for folder in STACKS if file.startswith(folder)), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """Share the tests out, in their own order."""
    config.option.loadscopereorder = False
    return OneForWhatIsShared(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List at the end what was skipped and why, one line per reason."""
    reasons: dict[str, list[str]] = {}
    for report in terminalreporter.stats.get("skipped", []):
        _, _, text = report.longrepr
        reasons.setdefault(text.removeprefix("Skipped: "), []).append(report.nodeid.partition("::")[0])
    if reasons:
        terminalreporter.section("skipped")
    for reason, files in sorted(reasons.items()):
        terminalreporter.line(f"{len(files)}: {reason} ({', '.join(sorted(set(files)))})")


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point HOME and the XDG folders at an empty folder: no test touches a real configuration."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return home


def _turn(nodeid: str) -> int:
    """What shares a cluster or a stack takes one worker long: it comes first, but stacks not beside each other."""
    groups = (CLUSTERS, STACKS[:1], ("tests/core/",), STACKS[1:])
    return next((turn for turn, group in enumerate(groups) if nodeid.startswith(group)), len(groups))


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).parts[0]
