"""What lets somebody begin, go on, read or keep is made in few places; each is on a path that asks the judge.

`tests/api/test_paths.py` walks the paths. Here every call that makes a permit, an attempt or a place of bytes is found
in the source; a new one fails until it is named with the path that shows that it is judged.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from architecture.source_tree import Module, source_modules

#: Calls that make something that only a verdict may bring about.
MAKERS = frozenset(
    {
        *("mint_grant", "mint_renewal", "mint_access", "mint_session", "apply_decisions", "add_location"),
        *("access_for", "grant_access", "sign_renewal", "mark_redeemed", "add_artifact", "add_upload", "resume"),
    }
)
#: Where they are called, and by which path of `tests/api/test_paths.py` that place is reached.
CALLERS: dict[tuple[str, str, str], str] = {
    ("api/nordan_api/access.py", "access_for", "mint_access"): "only by the two below",
    ("api/nordan_api/access.py", "grant_access", "access_for"): "only by those below",
    ("api/nordan_api/datasets/service.py", "allow_read", "grant_access"): "artifact read",
    ("api/nordan_api/datasets/service.py", "_allow_put", "grant_access"): "dataset put, files put, copy",
    ("api/nordan_api/datasets/service.py", "_allow_put", "add_upload"): "dataset put, files put, copy",
    ("api/nordan_api/jobs/contents.py", "log_access", "grant_access"): "log read",
    ("api/nordan_api/jobs/contents.py", "service_access", "grant_access"): "serve",
    ("api/nordan_api/jobs/resume.py", "_write", "resume"): "resume",
    ("api/nordan_api/jobs/routes.py", "retry", "resume"): "resume",
    ("api/nordan_api/jobs/sessions.py", "_pass", "mint_session"): "exec, exec renew",
    ("api/nordan_api/workers/content.py", "_store", "add_artifact"): "checkpoint, outputs",
    ("api/nordan_api/workers/content.py", "commit_upload", "add_artifact"): "commit",
    ("api/nordan_api/workers/content.py", "commit_upload", "add_location"): "commit, copy commit",
    ("api/nordan_api/workers/content.py", "copy_source", "access_for"): "copy fetch",
    ("api/nordan_api/workers/redeem.py", "_sign", "mint_grant"): "redeem",
    ("api/nordan_api/workers/redeem.py", "_write", "mark_redeemed"): "redeem",
    ("api/nordan_api/workers/redeem.py", "redeem", "sign_renewal"): "redeem",
    ("api/nordan_api/workers/renewals.py", "sign_renewal", "mint_renewal"): "only by redeem and renew",
    ("api/nordan_api/workers/sync.py", "sync", "sign_renewal"): "renew",
    ("core/nordan_core/store/contents.py", "add_artifact", "add_location"): "only by those above",
    ("core/nordan_core/store/scheduling.py", "apply", "apply_decisions"): "apply, retry, scale",
}


def calls(modules: tuple[Module, ...]) -> Iterator[tuple[str, str, str]]:
    """Yield (module, function, maker) for every call of a maker in the api, the scheduler and the store."""
    for module in modules:
        if module.path.startswith(("api/", "scheduler/", "core/nordan_core/store/")):
            for function in ast.walk(module.tree):
                if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield from ((module.path, function.name, name) for name in _called(function) if name in MAKERS)


def _called(function: ast.AST) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield node.func.id
            elif isinstance(node.func, ast.Attribute):
                yield node.func.attr


def test_every_maker_is_called_only_where_a_path_shows_it_judged() -> None:
    """A new call site is a new path, or part of one."""
    assert set(calls(source_modules())) == CALLERS.keys()


@pytest.mark.parametrize("text", ["def leak(): mint_access(x)", "def leak(work): work.contents.add_location(a, b)"])
def test_a_new_call_is_found(text: str) -> None:
    """Wherever in the api it stands."""
    assert set(calls((Module("api/nordan_api/jobs/leaks.py", text),))) - CALLERS.keys()
