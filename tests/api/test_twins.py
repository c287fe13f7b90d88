"""The same thing asked for at the same time: one makes it, the others are told so, and nobody waits for ever."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from support.lab import PATIENTS, Lab

DATASETS = "/v1/projects/default/datasets"


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/v1/organisations", {"name": "twin"}, [201] + [409] * 5),
        ("/v1/projects", {"name": "twin"}, [201] + [409] * 5),
        (DATASETS, {"name": "twin", "policy": PATIENTS}, [201] * 6),
    ],
)
def test_twins_are_told_apart(lab: Lab, path: str, body: dict[str, Any], expected: list[int]) -> None:
    """A dataset with the same policy is the same dataset."""
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: lab.admin("POST", path, body), range(6)))
    assert sorted(one.status_code for one in answers) == expected


def test_projects_by_request_and_by_world_document_do_not_block_each_other(lab: Lab) -> None:
    """Both take the residency epoch first."""

    def create(number: int) -> int:
        name = f"twin-{number // 2}"
        if number % 2:
            return lab.admin("POST", "/v1/projects", {"name": name}).status_code
        documents = [{"kind": "Project", "name": name, "organisation": "home"}]
        return lab.admin("POST", "/v1/admin:apply", {"documents": documents}).status_code

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(create, range(16))) <= {200, 201, 409}
