"""Folders for real servers: short enough for sockets, and passable by the users that root starts them under."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nordan_core.embedded.data_dir import prepare_data_dir
from nordan_core.embedded.layout import Identities, Layout
from support.stand_ins import StandIns, laid_out


@pytest.fixture
def data_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="nt-", dir="/tmp"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def identities() -> Identities:
    return Identities.of_this_process()


@pytest.fixture
def layout(data_dir: Path, identities: Identities) -> Layout:
    layout = Layout(data_dir)
    prepare_data_dir(layout, identities)
    return layout


@pytest.fixture(scope="session")
def stand_ins() -> Iterator[StandIns]:
    with laid_out() as found:
        yield found
