"""The page about REST lists the routes that there are, all of them and no other."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import cast

from nordan_api.context import Context
from nordan_api.main import create_app
from nordan_api.workers.no_grants import no_grant
from nordan_core.wire import RedeemCode, RedeemItem
from support.pages import page

SHOWN = re.compile(r"`(?P<method>GET|POST|PUT|DELETE) (?P<path>/[^`]*)`")
#: Described in a sentence, and for nobody but regions.
INTERNAL = "/worker/"
#: For machines that watch the process; not part of the description.
HEALTH = {"GET /healthz", "GET /readyz"}


def form(method: str, path: str) -> str:
    return f"{method} {re.sub(r'{[^}]*}', '{}', path)}"


def real_routes() -> set[str]:
    # cast: no route is called, so nothing looks into the context
    app = create_app(cast("Context", SimpleNamespace()))
    paths = app.openapi()["paths"]
    return {form(method.upper(), path) for path, methods in paths.items() for method in methods}


def shown_routes() -> set[str]:
    text = page("docs/reference/rest.md").prose.split("## The gateway")[0]
    return {form(match["method"], match["path"]) for match in SHOWN.finditer(text)}


def test_every_route_is_on_the_page() -> None:
    public = {route for route in real_routes() if INTERNAL not in route}
    assert public - shown_routes() == set()


def test_every_route_on_the_page_exists() -> None:
    assert shown_routes() - real_routes() == HEALTH


def test_the_worker_api_is_named_whole() -> None:
    text = page("docs/reference/rest.md").text.split("## The worker API")[1].split("\n### ")[0]
    internal = {route.split(f"{INTERNAL}v1/")[1] for route in real_routes() if INTERNAL in route}
    assert internal == set(re.findall(r"`([a-z:]+)`", text))


def test_every_code_of_a_grant_that_is_not_given_is_explained_with_its_outcome() -> None:
    text = page("docs/reference/rest.md").text.split("### Grants that are not given")[1]
    item = RedeemItem(grant_id="grt_x", redemption_id="0" * 32)
    given = [(code.value, no_grant(item, code).outcome.value) for code in RedeemCode]
    assert re.findall(r"^\| `(\w+)` \| `(\w+)` \|", text, re.MULTILINE) == given
