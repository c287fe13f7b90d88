"""What counts as a mutant, and that those listed as equivalent still exist."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from mutation.kept import Results, Trace, Traces
from mutation.mutants import mutants_of
from mutation.run import equivalents
from mutation.trial import SOURCE

CHANGED: dict[str, tuple[str, set[str]]] = {
    "a comparison is turned round and its edge moved": ("x < y", {"x >= y", "x <= y"}),
    "an equality is turned round": ("x == y", {"x != y"}),
    "`and` becomes `or`, and each part goes": ("x and y", {"x or y", "x", "y"}),
    "`not` goes": ("not x", {"bool(x)"}),
    "a choice takes one way": ("x if y else z", {"x", "z"}),
    "any becomes all": ("any(x)", {"all(x)"}),
    "a number moves": ("f(1)", {"2"}),
    "each element of a list goes": ("[x, y]", {"[x, y] without x", "[x, y] without y"}),
    "a filter goes": ("[x for x in y if x]", {"for x in y"}),
}


@pytest.mark.parametrize(("expression", "expected"), CHANGED.values(), ids=CHANGED)
def test_an_expression_has_its_mutants(expression: str, expected: set[str], tmp_path: Path) -> None:
    path = tmp_path / "sample.py"
    path.write_text(f"def told(x, y, z):\n    return {expression}\n", encoding="utf-8")
    mutants = mutants_of(path)
    assert {mutant.name.removeprefix("sample told: ").rpartition(" -> ")[2] for mutant in mutants} == expected
    assert {mutant.function for mutant in mutants} == {"told"}
    original = ast.dump(ast.parse(path.read_text(encoding="utf-8")))
    trees = {ast.dump(mutant.tree()) for mutant in mutants}
    assert len(trees) == len(mutants)
    assert original not in trees


def test_a_refusal_that_is_not_yielded_and_a_branch_that_is_not_taken_are_mutants(tmp_path: Path) -> None:
    path = tmp_path / "sample.py"
    path.write_text("def told(x):\n    if x:\n        yield x\n", encoding="utf-8")
    assert [mutant.name for mutant in mutants_of(path)] == [
        "sample told: if x -> if False",
        "sample told: if x -> if True",
        "sample told: yield x -> (nothing)",
    ]


def test_no_two_mutants_of_the_core_have_one_name() -> None:
    names = [mutant.name for path in sorted(SOURCE.glob("*.py")) for mutant in mutants_of(path)]
    assert len(names) == len(set(names)) > 2_000


def test_each_equivalent_mutant_exists_and_has_a_reason() -> None:
    names = {mutant.name for path in SOURCE.glob("*.py") for mutant in mutants_of(path)}
    assert set(equivalents()) <= names
    assert all(len(reason) >= 20 for reason in equivalents().values())


def test_what_was_noticed_is_kept_until_the_module_changes(tmp_path: Path) -> None:
    path, kept = tmp_path / "sample.py", tmp_path / "kept.jsonl"
    path.write_text("def told(x):\n    return not x\n", encoding="utf-8")
    (mutant,) = mutants_of(path)
    Results(kept).keep(mutant, "a test")
    assert Results(kept).noticed_by(mutant) == "a test"
    path.write_text("def told(x):\n    return not x or None\n", encoding="utf-8")
    assert [Results(kept).noticed_by(one) for one in mutants_of(path)].count("a test") == 0


def test_what_a_test_goes_through_is_kept_until_a_source_changes(tmp_path: Path) -> None:
    source, kept = tmp_path / "sample.py", tmp_path / "kept.jsonl"
    source.write_text("x = 1\n", encoding="utf-8")
    trace = Trace("a test", 0.25, frozenset({"checks exposed", "masks held"}))
    Traces(kept, [source]).keep(trace)
    assert Traces(kept, [source]).known == {"a test": trace}
    source.write_text("x = 2\n", encoding="utf-8")
    assert Traces(kept, [source]).known == {}
