"""One look at the disk for all running attempts, and a step of its own for those alone that have something."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from nordan_workers.executors import folders as layout
from nordan_workers.supervisor.checkpoints import entries
from nordan_workers.supervisor.held import Held
from nordan_workers.supervisor.publishing import Publisher
from nordan_workers.supervisor.records import Phase, Record
from nordan_workers.supervisor.staging import rank_zero
from support.attempts import launch_order


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def held(folder: Path, *checkpoints: str) -> Held:
    """Return an attempt whose program has finished these."""
    order = launch_order()
    one = Held(Record("grt", "r", phase=Phase.LAUNCHED, order=order), order, 1e9, 1)
    (folder / "work").mkdir(exist_ok=True)
    one.folders = layout.work_folders(folder, one.attempt_id, (0,), None)
    layout.make(one.folders)
    for name in checkpoints:
        (where(one) / name).write_text(name)
    return one


def where(one: Held) -> Path:
    assert one.folders is not None
    return rank_zero(one.folders).checkpoints


def with_news(pool: ThreadPoolExecutor, running: Sequence[Held]) -> list[Held]:
    parts: Any = dict.fromkeys(("api", "executor", "store", "records"))
    return asyncio.run(Publisher(pool=pool, **parts).with_news(running))


def test_only_those_with_something_new_are_named(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    empty, fresh, known = held(tmp_path), held(tmp_path, "one"), held(tmp_path, "one")
    known.record = Record("grt", "r", phase=Phase.LAUNCHED, order=known.order, seen=entries(where(known)))
    assert with_news(pool, [empty, fresh, known]) == [fresh]


def test_an_entry_beside_a_known_one_is_news(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    one = held(tmp_path, "one")
    one.record = Record("grt", "r", phase=Phase.LAUNCHED, order=one.order, seen=entries(where(one)))
    (where(one) / "two").write_text("two")
    assert with_news(pool, [one]) == [one]


def test_a_folder_that_cannot_be_read_or_is_not_known_is_looked_at_alone(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    broken, adopted, fresh = held(tmp_path), held(tmp_path), held(tmp_path, "one")
    where(broken).rmdir()
    where(broken).write_text("no folder")
    adopted.folders = None
    assert with_news(pool, [broken, adopted, fresh]) == [broken, adopted, fresh]


def test_a_folder_that_is_gone_has_no_news(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    gone = held(tmp_path)
    where(gone).rmdir()
    assert with_news(pool, [gone]) == []
