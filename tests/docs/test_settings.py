"""The page about settings lists every one that a process reads, and no other."""

from __future__ import annotations

import re

from pydantic_settings import BaseSettings

from nordan_api.bootstrap import BootstrapSettings
from nordan_core.settings import ApiSettings, DatabaseSettings, RegionSettings, SchedulerSettings
from support.pages import page

GROUPS: dict[str, type[BaseSettings]] = {
    "Database": DatabaseSettings,
    "api": ApiSettings,
    "Scheduler": SchedulerSettings,
    "Region": RegionSettings,
    "Bootstrap": BootstrapSettings,
}


def test_every_setting_is_on_the_page_in_its_section() -> None:
    sections = page("docs/reference/settings.md").text.split("\n## ")[1:]
    shown = {
        section.partition(":")[0]: set(re.findall(r"^\| `(NORDAN_[A-Z_]+)` ", section, re.MULTILINE))
        for section in sections
    }
    names = {
        title: {f"NORDAN_{name.upper()}" for name, field in group.model_fields.items() if not field.validation_alias}
        for title, group in GROUPS.items()
    }
    assert shown == names
