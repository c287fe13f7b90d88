"""Each rule holds on the source, and each rule finds the snippet that breaks it."""

from __future__ import annotations

import pytest

from architecture import rules
from architecture.source_tree import Module, modules_of_tests, report, source_modules

ENGINE = "scheduler/nordan_scheduler/engine/scores.py"
RESIDENCY = "core/nordan_core/residency/judge.py"
SERVICE = "api/nordan_api/jobs/service.py"

ALL = [
    rules.commits_only_in_unit_of_work,
    rules.queries_only_in_store,
    rules.public_functions_documented,
    rules.modules_documented,
    rules.modules_short,
    rules.functions_short,
    rules.few_positional_parameters,
    rules.pure_code_imports_values_only,
    rules.pure_code_reads_no_clock,
    rules.broker_carries_grant_ids_only,
    rules.folders_of_tests_have_no_init,
]

BROKEN = {
    "a service commits": (rules.commits_only_in_unit_of_work, SERVICE, "session.commit()"),
    "a service imports select": (rules.queries_only_in_store, SERVICE, "from sqlmodel import select"),
    "a service imports sqlalchemy": (rules.queries_only_in_store, SERVICE, "import sqlalchemy as sa"),
    "an engine function says nothing": (rules.public_functions_documented, ENGINE, "def score(): ..."),
    "a residency method says nothing": (
        rules.public_functions_documented,
        RESIDENCY,
        'class Judge:\n    """Judges."""\n    def permits(self): ...',
    ),
    "a module says nothing": (rules.modules_documented, SERVICE, "LIMIT = 1"),
    "a module of 501 lines": (rules.modules_short, SERVICE, "x = 1\n" * 501),
    "a function of 51 lines": (rules.functions_short, SERVICE, "def run():\n" + "    x = 1\n" * 50),
    "six positional parameters": (rules.few_positional_parameters, SERVICE, "def run(a, b, c, d, e, f): ..."),
    "the engine imports time": (rules.pure_code_imports_values_only, ENGINE, "import time"),
    "the engine imports the store": (
        rules.pure_code_imports_values_only,
        ENGINE,
        "from nordan_core.store import jobs",
    ),
    "the engine takes NumPy's chance": (
        rules.pure_code_imports_values_only,
        ENGINE,
        "import numpy.random",
    ),
    "residency imports NumPy": (rules.pure_code_imports_values_only, RESIDENCY, "import numpy"),
    "residency reads the clock": (rules.pure_code_reads_no_clock, RESIDENCY, "datetime.now(UTC)"),
    "residency opens a file": (rules.pure_code_reads_no_clock, RESIDENCY, "open('atlas.json')"),
    "a task takes a job's specification": (
        rules.broker_carries_grant_ids_only,
        "workers/nordan_workers/tasks.py",
        "@app.task(name='nordan.nudge')\ndef nudge(*grant_ids, spec): ...",
    ),
    "the relay sends a message of its own": (
        rules.broker_carries_grant_ids_only,
        "scheduler/nordan_scheduler/relay.py",
        "app.send_task('nordan.nudge', args=[spec])",
    ),
    "a test folder is a package": (rules.folders_of_tests_have_no_init, "tests/api/__init__.py", ""),
}


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.__name__)
def test_the_source_keeps_the_rule(rule: rules.Rule) -> None:
    findings = rule([*source_modules(), *modules_of_tests()])
    assert not findings, report(findings)


@pytest.mark.parametrize(("rule", "path", "text"), BROKEN.values(), ids=BROKEN.keys())
def test_the_rule_finds_what_breaks_it(rule: rules.Rule, path: str, text: str) -> None:
    assert len(rule([Module(path, text)])) == 1


def test_every_rule_is_shown_to_fail_once() -> None:
    assert {rule for rule, _, _ in BROKEN.values()} == set(ALL)


def test_an_escape_comment_with_a_reason_is_heard() -> None:
    text = "session.commit()  # architecture: allow commit, the driver's own session, not a unit of work"
    assert not rules.commits_only_in_unit_of_work([Module(SERVICE, text)])


@pytest.mark.parametrize("escape", ["allow commit", "allow commit, no", "allow query, for another rule"])
def test_an_escape_comment_without_its_own_reason_is_not(escape: str) -> None:
    text = f"session.commit()  # architecture: {escape}"
    assert rules.commits_only_in_unit_of_work([Module(SERVICE, text)])
