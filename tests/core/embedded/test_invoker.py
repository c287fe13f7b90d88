"""What processes get of the invoker's environment."""

from __future__ import annotations

from nordan_core.embedded.invoker import handed_on


def test_settings_and_libraries_are_handed_on_and_nothing_else() -> None:
    environment = {
        "NORDAN_CRASH_AT": "",
        "TZ": "UTC",
        "AWS_SECRET_ACCESS_KEY": "s",
        "HOME": "/root",
        "DATABASE_URL": "s",
    }
    assert handed_on(environment) == {"NORDAN_CRASH_AT": "", "TZ": "UTC"}


def test_neither_a_login_nor_the_databases_password_reaches_a_region() -> None:
    assert handed_on({"NORDAN_KEY": "s", "NORDAN_DATABASE_URL": "postgresql://u:s@h/d"}) == {}
