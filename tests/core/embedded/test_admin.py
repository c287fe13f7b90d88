"""What `up` asks of the api: which jobs run, so that they are stopped and no others."""

from __future__ import annotations

import httpx

from nordan_core.embedded.admin import Admin, LiveJob

FIRST = [{"id": "job_3", "state": "running"}, {"id": "job_2", "state": "recovering"}]
LAST = [{"id": "job_1", "state": "recovering"}, {"id": "job_0", "state": "starting"}]
PAGES = {"": {"items": FIRST, "next_cursor": "job_2"}, "job_2": {"items": LAST}}
ATTEMPTS = {"job_1": [{"state": "ended"}], "job_2": [{"state": "ended"}, {"state": "pulling"}]}


def api(request: httpx.Request) -> httpx.Response:
    """Answer with one project, two pages of jobs, and the attempts of those that recover."""
    path, query = request.url.path, request.url.params
    if path == "/v1/projects":
        return httpx.Response(200, json={"items": [{"id": "prj_1"}]})
    if path.endswith("/attempts"):
        return httpx.Response(200, json={"items": ATTEMPTS[path.split("/")[-2]]})
    assert query.get_list("state") == ["starting", "running", "recovering"]
    return httpx.Response(200, json=PAGES[query.get("cursor", "")])


def test_running_jobs_are_all_that_have_a_live_attempt_and_none_that_waits() -> None:
    admin = Admin("http://api", "key", httpx.MockTransport(api))
    assert admin.running_jobs() == tuple(LiveJob("prj_1", one) for one in ("job_3", "job_2", "job_0"))
