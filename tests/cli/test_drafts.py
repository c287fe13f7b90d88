"""A job document out of a file, flags and a command line."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from nordan_cli import jobs
from nordan_cli.errors import FieldFault, Problem, WrongUse
from nordan_cli.jobs import Draft, Flags
from nordan_core.documents import parse_job

EMPTY_DIGEST = hashlib.sha256(b"").hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a program and what tools leave around."""
    (tmp_path / "train.py").write_text("print(1)\n")
    (tmp_path / "run.sh").write_text("#!/bin/sh\n")
    (tmp_path / "run.sh").chmod(0o700)
    for name in ("lib/a.py", "lib/deep/b.py", "lib/__pycache__/a.pyc", "lib/.git/HEAD"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def _draft(folder: Path, text: str, flags: Flags | None = None) -> Draft:
    (folder / "job.yaml").write_text(text)
    return jobs.draft(folder / "job.yaml", flags or Flags())


def test_files_become_a_manifest_relative_to_the_document(folder: Path) -> None:
    made = _draft(folder, "name: a\ncommand: [python]\nfiles: [train.py, run.sh]\n")
    digest = hashlib.sha256(b"print(1)\n").hexdigest()
    assert made.document["files"]["files"] == [
        {"path": "run.sh", "digest": hashlib.sha256(b"#!/bin/sh\n").hexdigest(), "size_bytes": 10, "mode": 0o755},
        {"path": "train.py", "digest": digest, "size_bytes": 9, "mode": 0o644},
    ]
    assert parse_job(made.document).files.digest


def test_a_folder_stands_for_what_is_in_it_without_what_tools_leave(folder: Path) -> None:
    made = _draft(folder, "command: [python]\nfiles: [lib]\n")
    assert [one.path for one in made.files.entries] == ["lib/a.py", "lib/deep/b.py"]


def test_equal_files_go_over_the_wire_once(folder: Path) -> None:
    made = _draft(folder, "command: [python]\nfiles: [lib]\n")
    assert [file.entry.digest for file in made.files.unique] == [EMPTY_DIGEST]


def test_a_linked_folder_is_not_entered(folder: Path) -> None:
    (folder / "lib" / "loop").symlink_to(folder)
    assert len(_draft(folder, "command: [python]\nfiles: [lib]\n").files.files) == 2


@pytest.mark.parametrize("name", ["../other", "/etc/passwd", "lib/../../x"])
def test_a_file_outside_the_folder_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(WrongUse, match="is not a path inside"):
        _draft(folder, f"command: [python]\nfiles: [{name}]\n")


def test_a_missing_file_is_named(folder: Path) -> None:
    with pytest.raises(WrongUse, match=r"there is no .*gone\.py"):
        _draft(folder, "command: [python]\nfiles: [gone.py]\n")


def test_digests_that_are_given_stay_as_they_are(folder: Path) -> None:
    manifest = f"{{files: [{{path: a, digest: {EMPTY_DIGEST}, size_bytes: 0}}]}}"
    made = _draft(folder, f"command: [python]\nfiles: {manifest}\n")
    assert made.document["files"] == {"files": [{"path": "a", "digest": EMPTY_DIGEST, "size_bytes": 0}]}
    assert not made.files.files


def test_flags_win_over_the_document_and_maps_are_merged(folder: Path) -> None:
    text = """\
name: a
command: [python]
nodes: 1
env: {A: '1', B: '2'}
resources: {gpu: 1, cpu: 4}
inputs: [dataset/x]
"""
    flags = Flags(
        fields={"nodes": 2, "name": None},
        resources={"gpu": "H100:8", "cpu": None},
        env=("B=3=3", "C="),
        inputs=("x", "y", "artifact/art_1"),
        policy={"residency": ["FR"]},
        command=("echo", "hello"),
    )
    assert _draft(folder, text, flags).document == {
        "name": "a",
        "command": ["echo", "hello"],
        "nodes": 2,
        "env": {"A": "1", "B": "3=3", "C": ""},
        "resources": {"gpu": "H100:8", "cpu": 4},
        "inputs": ["dataset/x", "dataset/y", "artifact/art_1"],
        "policy": {"residency": ["FR"]},
    }


NAMES = {
    "a program": (("echo", "hello"), "echo"),
    "a path with capitals": (("./bin/Train_v2.py",), "train-v2"),
    "something without letters": (("./__",), "job"),
    "something very long": (("x" * 80,), "x" * 63),
}


@pytest.mark.parametrize("case", NAMES)
def test_a_job_without_a_name_is_named_after_its_program(case: str) -> None:
    command, name = NAMES[case]
    document = jobs.draft(None, Flags(command=command)).document
    assert document["name"] == name
    assert parse_job(document).name == name


def test_a_job_without_a_command_says_how_to_give_one(folder: Path) -> None:
    with pytest.raises(WrongUse, match="no command; give one after --"):
        _draft(folder, "name: a\n")


@pytest.mark.parametrize("text", ["FOO", "=x"])
def test_a_malformed_assignment_is_refused(text: str) -> None:
    with pytest.raises(WrongUse, match="write NAME=VALUE"):
        jobs.draft(None, Flags(env=(text,), command=("true",)))


def test_a_list_where_fields_are_wanted_is_refused(folder: Path) -> None:
    with pytest.raises(WrongUse, match="env: expected fields with values"):
        _draft(folder, "command: [python]\nenv: [A]\n", Flags(env=("A=1",)))


SUGGESTIONS = {
    "a field with a slip": ("comand", "no such field", "no such field; did you mean 'command'?"),
    "a nested field with a slip": ("resources.gpus", "no such field", "no such field; did you mean 'gpu'?"),
    "a field that is nothing like ours": ("zebra", "no such field", "no such field"),
    "a field that exists": ("name", "is not a name", "is not a name"),
}


@pytest.mark.parametrize("case", SUGGESTIONS)
def test_an_unknown_field_gets_a_near_name(case: str) -> None:
    field, message, shown = SUGGESTIONS[case]
    problem = Problem(status=422, code="invalid", title="", faults=(FieldFault(field, message),))
    assert jobs.suggest(problem).faults == (FieldFault(field, shown),)
