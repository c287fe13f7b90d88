"""What the author of a job document is told."""

from __future__ import annotations

from typing import Any

import pytest

from nordan_core.documents import parse_job
from nordan_core.domain.errors import Invalid


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"command": []}, "command: give the program to run"),
        ({"inputs": ["patients"]}, "inputs.0: write dataset/NAME, artifact/ID or artifact/JOB/OUTPUT"),
        ({"env": {"1A": "x"}}, "env.1A.[key]: a name has letters, digits and _ only, and does not begin with a digit"),
        ({"comand": ["x"]}, "comand: no such field; see docs/reference/job-document.md"),
        ({"resources": {"disk": 1}}, "resources.disk: no such field; see docs/reference/job-document.md"),
        ({"nodes": 10_000}, "nodes: Input should be less than or equal to 4096"),
        ({"max_price": 0}, "max_price: 0 is not a price; give EUR per GPU-hour above zero, such as 2.50"),
    ],
)
def test_a_fault_is_told_in_words_and_not_as_the_rule_that_found_it(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid) as told:
        parse_job({"name": "a", "command": ["true"], **changes})
    assert str(told.value) == words
