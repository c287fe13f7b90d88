"""Strict YAML: what a person wrote is what arrives."""

from __future__ import annotations

from pathlib import Path

import pytest

from nordan_cli import jobfile
from nordan_cli.errors import WrongUse
from nordan_cli.jobs import FIELDS
from nordan_core.documents import JobDocument

MEANINGS: dict[str, tuple[str, object]] = {
    "NO is Norway": ("NO", "NO"),
    "yes is a word": ("yes", "yes"),
    "on is a word": ("on", "on"),
    "true is a boolean": ("true", True),
    "False is a boolean": ("False", False),
    "a number is a number": ("12", 12),
    "a negative number is a number": ("-3", -3),
    "a price is a number": ("2.50", 2.5),
    "a number that starts with a point is a number": (".5", 0.5),
    "an exponent is a number": ("1e3", 1000.0),
    "hexadecimal is a number": ("0x1f", 31),
    "a leading zero makes a text": ("0755", "0755"),
    "digits with a colon are a text": ("1:30", "1:30"),
    "digits with an underscore are a text": ("1_000", "1_000"),
    "a version is a text": ("1.2.3", "1.2.3"),
    "a date is a text": ("2027-12-31", "2027-12-31"),
    "an instant is a text": ("2027-12-31T00:00:00Z", "2027-12-31T00:00:00Z"),
    "infinity is a text": (".inf", ".inf"),
    "nothing is null": ("", None),
    "a tilde is null": ("~", None),
    "a quoted number is a text": ('"20"', "20"),
}


@pytest.mark.parametrize("case", MEANINGS)
def test_a_plain_value_means_what_it_looks_like(case: str) -> None:
    text, meaning = MEANINGS[case]
    [document] = jobfile.parse(f"value: {text}\n", "here")
    assert document == {"value": meaning}
    assert type(document["value"]) is type(meaning)


FAULTS: dict[str, tuple[str, str]] = {
    "a key given twice": ("name: a\nname: b\n", "job.yaml:2:1: the key 'name' is given twice"),
    "a nested key given twice": ("env:\n  A: '1'\n  A: '2'\n", "job.yaml:3:3: the key 'A' is given twice"),
    "a key given twice in JSON": ('{"a": 1, "a": 2}', "job.yaml:1:10: the key 'a' is given twice"),
    "a key that is a number": ("1: x\n", "job.yaml:1:1: the key 1 is not text; put it in quotes"),
    "a merge key": ("a: &a {b: 1}\nc:\n  <<: *a\n  d: 2\n  <<: *a\n", "is given twice"),
    "a Python object": ("a: !!python/object:os.system {}\n", "job.yaml:1:4: no such type of value:"),
    "a bracket that is not closed": ("a: [1, 2\n", "job.yaml:2:1: "),
    "a tab as indentation": ("a:\n\tb: 1\n", "job.yaml:2:1: "),
    "text alone": ("hello", "holds plain text where fields with values are wanted"),
    "a list alone": ("- a\n", "holds a list where fields with values are wanted"),
    "two documents": ("a: 1\n---\nb: 2\n", "holds 2 documents; one is wanted"),
    "no document": ("# nothing\n", "holds 0 documents; one is wanted"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_an_ambiguous_file_is_refused_with_its_place(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, message = FAULTS[case]
    monkeypatch.chdir(tmp_path)
    Path("job.yaml").write_text(text)
    with pytest.raises(WrongUse) as error:
        jobfile.load(Path("job.yaml"))
    assert message in str(error.value)
    assert error.value.exit_code == 2


def test_aliases_that_unfold_without_end_are_refused() -> None:
    levels = "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]\n" for n in range(1, 9))
    with pytest.raises(WrongUse, match="aliases unfold"):
        jobfile.parse("x0: &x0 [1]\n" + levels, "here")


def test_an_alias_that_holds_itself_is_refused() -> None:
    with pytest.raises(WrongUse, match=r"aliases unfold|recursive"):
        jobfile.parse("a: &a [*a]\n", "here")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(WrongUse, match=r"is not UTF-8 text \(byte 6\)"):
        jobfile.load(tmp_path / "job.yaml")


def test_a_file_that_is_far_too_large_is_refused_without_being_parsed(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_bytes(b"#" * (jobfile.MAX_BYTES + 1))
    with pytest.raises(WrongUse, match="large values go into files"):
        jobfile.load(tmp_path / "job.yaml")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(WrongUse, match=r"cannot read gone\.yaml: No such file"):
        jobfile.load(Path("gone.yaml"))


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_bytes(b"\xef\xbb\xbfname: a\n")
    assert jobfile.load(tmp_path / "job.yaml") == {"name": "a"}


def test_documents_of_a_world_come_in_order_without_empty_ones(tmp_path: Path) -> None:
    (tmp_path / "world.yaml").write_text("---\nname: a\n---\n---\nname: b\n")
    assert jobfile.load_all(tmp_path / "world.yaml") == [{"name": "a"}, {"name": "b"}]


def test_the_sample_world_is_strict_yaml_and_norway_stays_norway() -> None:
    documents = jobfile.load_all(Path(__file__).parents[2] / "deploy" / "world" / "europe.yaml")
    [region] = [one for one in documents if one.get("name") == "no-nar-1"]
    assert region["territory"] == "NO"
    assert region["access_territories"] == ["NO"]


def test_the_fields_that_are_suggested_are_those_of_the_document() -> None:
    assert set(FIELDS) == set(JobDocument.model_fields)
