"""Whose folder it is: Nordan changes the mode of its own alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from nordan_core.domain.errors import OperatorError
from nordan_core.embedded.data_dir import prepare_data_dir
from nordan_core.embedded.layout import Identities, Layout


@pytest.mark.parametrize("mode", [0o755, 0o1777, 0o2775])
def test_a_folder_that_holds_something_else_is_refused_and_keeps_its_mode(
    data_dir: Path, identities: Identities, mode: int
) -> None:
    (data_dir / "logs").mkdir()
    (data_dir / "thesis.tex").write_text("x")
    data_dir.chmod(mode)
    with pytest.raises(OperatorError, match=rf"^{data_dir} .*--data-dir"):
        prepare_data_dir(Layout(data_dir), identities)
    assert data_dir.stat().st_mode & 0o7777 == mode
    assert sorted(entry.name for entry in data_dir.iterdir()) == ["logs", "thesis.tex"]


def test_a_folder_that_all_users_share_is_refused_even_while_it_is_empty(
    data_dir: Path, identities: Identities
) -> None:
    data_dir.chmod(0o1777)
    with pytest.raises(OperatorError, match=rf"is open to all users.* chmod 0755 {data_dir}$"):
        prepare_data_dir(Layout(data_dir), identities)
    assert data_dir.stat().st_mode & 0o7777 == 0o1777
    (data_dir / "somebody's").touch()
    with pytest.raises(OperatorError, match=r"--data-dir\.$"):
        prepare_data_dir(Layout(data_dir), identities)
    (data_dir / "somebody's").unlink()
    data_dir.chmod(0o755)
    prepare_data_dir(Layout(data_dir), identities)


@pytest.mark.parametrize(
    "there", [(), ("lost+found",), ("region-numbers.json",), ("logs",), ("logs", "processes", "regions", "mine.yaml")]
)
def test_an_empty_folder_and_one_that_an_earlier_start_made_serve(
    data_dir: Path, identities: Identities, there: tuple[str, ...]
) -> None:
    for name in there:
        (data_dir / name).mkdir()
    prepare_data_dir(Layout(data_dir), identities)
    prepare_data_dir(Layout(data_dir), identities)
    assert data_dir.stat().st_mode & 0o777 == (0o711 if identities.is_root else 0o700)
