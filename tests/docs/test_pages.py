"""The pages hang together: links lead somewhere, every page is reachable, tables name what the code has."""

from __future__ import annotations

import re
import runpy

import pytest

from nordan_core.documents import JobDocument, ResourcesDocument
from nordan_core.domain.reasons import Reason
from support.pages import ROOT, Page, page, pages


@pytest.mark.parametrize("one", pages(), ids=lambda one: one.name)
def test_every_link_leads_to_a_file(one: Page) -> None:
    missing = [target for target in one.links() if not (one.path.parent / target.split("#", maxsplit=1)[0]).exists()]
    assert missing == []


def test_every_page_is_reachable_from_the_index() -> None:
    seen = {ROOT / "docs" / "index.md"}
    waiting = list(seen)
    while waiting:
        current = waiting.pop()
        for target in Page(current).links():
            path = (current.parent / target.split("#", maxsplit=1)[0]).resolve()
            if path.suffix == ".md" and path not in seen and path.exists():
                seen.add(path)
                waiting.append(path)
    assert {one.path for one in pages() if one.name.startswith("docs/")} - seen == set()


def test_every_reason_has_a_paragraph_in_the_order_of_the_enum() -> None:
    assert page("docs/reference/reasons.md").headings()[1:] == list(Reason)


def test_the_reasons_said_not_to_be_given_yet_are_those_that_no_code_gives() -> None:
    sources = [path for part in ("core", "api", "scheduler", "workers") for path in (ROOT / part).rglob("*.py")]
    given = "".join(path.read_text() for path in sources if path.parts[-2:] != ("domain", "reasons.py"))
    told = page("docs/reference/reasons.md").text.partition("not given yet:")[2].partition("\n\n")[0]
    unused = {one.value for one in Reason if not re.search(rf"Reason\.{one.name}\b", given)}
    assert set(re.findall(r"`(\w+)`", told)) == unused


def test_every_reason_says_what_to_do() -> None:
    sections = page("docs/reference/reasons.md").text.split("\n## ")[1:]
    assert [section.split("\n")[0] for section in sections if "**What to do:**" not in " ".join(section.split())] == []


def test_the_job_document_page_lists_every_field_and_no_other() -> None:
    fields = {name for name in JobDocument.model_fields if name not in {"resources", "retry", "readiness"}}
    nested = {f"resources.{name}" for name in ResourcesDocument.model_fields}
    nested |= {"retry.limit", "retry.on", "readiness.path"}
    assert set(page("docs/reference/job-document.md").codes_in_tables()) == fields | nested


def test_the_glossary_is_in_order_and_names_nothing_twice() -> None:
    lines = [line for line in page("docs/reference/glossary.md").text.splitlines() if line.startswith("| ")]
    words = [line.split("|")[1].strip() for line in lines[1:]]
    assert words == sorted(set(words))


def test_the_command_line_page_is_what_the_commands_make_it() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "generate_cli.py"))["page"]()
    assert page("docs/reference/cli.md").text == made, "run: make docs"
