"""A commit may name only bytes that came under the same upload."""

from __future__ import annotations

from pathlib import Path

import pytest

from nordan_core.identifiers import new_id
from nordan_workers.store.uploads import UploadNotes

ONE, OTHER = "1" * 64, "2" * 64


def test_bytes_of_another_upload_are_missing_here(tmp_path: Path) -> None:
    notes = UploadNotes(tmp_path / "uploads")
    mine, theirs = new_id("upl"), new_id("upl")
    notes.note(mine, ONE)
    notes.note(theirs, OTHER)
    assert notes.missing(mine, [ONE, OTHER, OTHER]) == [OTHER]
    assert notes.missing(theirs, [OTHER]) == []


def test_a_text_that_is_no_digest_is_missing(tmp_path: Path) -> None:
    notes = UploadNotes(tmp_path / "uploads")
    assert notes.missing(new_id("upl"), [".."]) == [".."]


@pytest.mark.parametrize("text", ["..", "upl_", "", "upl_" + "0" * 26 + "/"])
def test_only_an_uploads_id_names_an_upload(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="id"):
        UploadNotes(tmp_path / "uploads").note(text, ONE)


def test_old_notes_go(tmp_path: Path) -> None:
    notes = UploadNotes(tmp_path / "uploads")
    upload = new_id("upl")
    notes.note(upload, ONE)
    noted_s = (tmp_path / "uploads" / upload).stat().st_mtime
    assert notes.forget_older(now_s=noted_s + 10, kept_s=20) == 0
    assert notes.forget_older(now_s=noted_s + 30, kept_s=20) == 1
    assert notes.missing(upload, [ONE]) == [ONE]
