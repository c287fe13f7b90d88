"""`nordan policy` judges from files alone, and says what is wrong in them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from nordan_cli.invocation import Invocation
from nordan_core.atlas.loader import default_atlas_bytes
from support.command_line import Nordan
from support.pages import ROOT

WORLD = str(ROOT / "deploy" / "world" / "europe.yaml")
PATIENTS = "residency: [FR, SE]\nforbid_exposure: [US]\nclass: restricted\negress: unenforced\n"

Write = Callable[[str, str], str]


@pytest.fixture(autouse=True)
def no_server(run: Invocation) -> None:
    run.url = run.key = ""
    run.transport = httpx.MockTransport(lambda request: pytest.fail(f"asked {request.url}"))


@pytest.fixture
def file(tmp_path: Path) -> Write:
    def write(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def checked(nordan: Nordan, *words: str) -> tuple[int, dict[str, bool], dict[str, object]]:
    done = nordan("policy", "check", "--world", WORLD, "-o", "json", *words)
    answer = json.loads(done.out) if done.out else {}
    return done.code, {one["pool"]: one["allowed"] for one in answer.get("pools", ())}, answer


def test_check_says_for_each_pool_what_failed(nordan: Nordan, file: Write) -> None:
    code, allowed, answer = checked(nordan, "--policy", file("p.yaml", PATIENTS))
    assert code == 0
    assert {pool for pool, word in allowed.items() if word} == {"fr-bru-1-b200", "fr-bru-1-h100", "se-bor-1-h200"}
    (norway,) = [one for one in answer["pools"] if one["pool"] == "no-nar-1-h100"]  # type: ignore[attr-defined]
    assert norway["refusals"][0] | {"message": ""} == {
        "facet": "process",
        "wanted": "[FR, SE]",
        "found": "NO",
        "message": "",
    }
    assert norway["good_until"] == "2027-12-31T23:59:59Z"
    assert {"facet": "forbid_exposure", "wanted": "no exposure to [US]"}.items() <= norway["refusals"][-1].items()


def test_no_pool_is_exit_1_with_the_reason(nordan: Nordan, file: Write) -> None:
    code, allowed, answer = checked(nordan, "--policy", file("p.yaml", "residency: [PL]\n"))
    assert code == 1
    assert not any(allowed.values())
    assert "no registered pool is lawful" in str(answer["never"])
    table = nordan("policy", "check", "--world", WORLD, "--policy", file("q.yaml", "residency: [PL]\n"))
    assert table.code == 1
    assert "0 of 5 pools allowed" in table.out


def test_several_policies_are_met_and_a_job_only_narrows(nordan: Nordan, file: Write) -> None:
    floor, job = file("floor.yaml", "residency: [EU]\n"), file("job.yaml", "process: [SE]\n")
    _, allowed, _ = checked(nordan, "--policy", file("p.yaml", PATIENTS), "--policy", floor, "--job", job)
    assert {pool for pool, word in allowed.items() if word} == {"se-bor-1-h200"}
    # The job's own word is none of the owner's: what nobody else states is missing.
    code, _, answer = checked(nordan, "--policy", file("none.yaml", "class: internal\n"), "--job", job)
    assert code == 1
    assert answer["effective"]["missing"] == ["process", "store", "describe", "access", "key"]  # type: ignore[index]


def test_a_job_with_an_input_takes_the_defaults_of_content(nordan: Nordan, file: Write) -> None:
    floor = file("floor.yaml", "residency: [FR]\n")
    job = "name: digits\nkind: training\ncommand: [python, train.py]\ninputs: [dataset/patients]\n"
    code, _, answer = checked(nordan, "--policy", floor, "--job", file("job.yaml", job))
    assert answer["effective"]["policy"]["class"] == "confidential"  # type: ignore[index]
    # From confidential up nothing may be reached, which no pool of this world enforces.
    assert code == 1
    code, _, answer = checked(nordan, "--policy", floor)
    assert (code, answer["effective"]["policy"]["class"]) == (0, "internal")  # type: ignore[index]


def test_files_of_a_job_are_content_too(nordan: Nordan, file: Write) -> None:
    job = file("job.yaml", "name: digits\nkind: batch\ncommand: [python, a.py]\nfiles: [a.py]\n")
    _, _, answer = checked(nordan, "--policy", file("f.yaml", "residency: [FR]\n"), "--job", job)
    assert answer["effective"]["has_content"] is True  # type: ignore[index]


def test_floors_of_a_world_are_policies(nordan: Nordan, file: Write) -> None:
    floor = "floor: {process: [SE], store: [SE], describe: [SE], access: [SE, FR], key: [SE]}"
    text = f"kind: Project\nname: heart\norganisation: clinic\n{floor}\n"
    _, allowed, answer = checked(nordan, "--policy", file("p.yaml", text))
    assert {pool for pool, word in allowed.items() if word} == {"se-bor-1-h200"}
    # Its control plane stands in France and would learn the description; that is said beside the pools.
    assert answer["control_plane"]["allowed"] is False  # type: ignore[index]


def test_an_instant_and_an_atlas_can_be_given(nordan: Nordan, file: Write, tmp_path: Path) -> None:
    atlas = tmp_path / "atlas.json"
    atlas.write_bytes(default_atlas_bytes())
    policy = file("p.yaml", "residency: [FR]\n")
    late = ("--at", "2029-01-01", "--atlas", str(atlas))
    code, allowed, answer = checked(nordan, "--policy", policy, *late)
    assert (code, any(allowed.values())) == (1, False)
    assert answer["at"] == "2029-01-01T00:00:00Z"
    assert checked(nordan, "--policy", policy)[0] == 0


BAD = {
    "an unknown territory": ("residency: [UK]\n", "GB"),
    "a small letter": ("residency: [fr]\n", "capitals"),
    "full-width letters": ("residency: [ＦＲ]\n", "look like Latin"),  # noqa: RUF001
    "Greek for Greece": ("residency: [EL]\n", "GR"),
    "a line break": ('residency: ["FR\\n"]\n', "line breaks"),
    "an unknown facet": ("proces: [FR]\n", "did you mean 'process'"),
    "both forms": ("residency: [FR]\nstore: [FR]\n", "sets store already"),
    "a key twice": ("process: [FR]\nprocess: [SE]\n", "given twice"),
    "a null": ("process:\n", "nothing is given"),
    "a word": ("process: FR\n", "expected a list"),
    "nothing": ("", "holds no policy"),
    "a list": ("- FR\n", "fields with values"),
    "a percentage": ("ownership_max: {EU: {single: 101}}\n", "not within 0 to 100"),
    "a deep nest": ("process: " + "[" * 100_000 + "\n", "over 100 deep"),
    "ten megabytes": ("process: [" + "FR, " * 2_600_000 + "FR]\n", "over 256 KiB"),
    "a hundred thousand terms": ("process: [" + "F," * 100_000 + "F]\n", "over 100000 values"),
    "two thousand terms": ("process: [" + "FR," * 2_000 + "FR]\n", "at most 1000"),
}


@pytest.mark.parametrize(("text", "advice"), BAD.values(), ids=BAD)
def test_a_bad_policy_is_exit_2_with_advice(nordan: Nordan, file: Write, text: str, advice: str) -> None:
    started = time.monotonic()
    done = nordan("policy", "check", "--world", WORLD, "--policy", file("p.yaml", text))
    assert (done.code, done.out) == (2, "")
    assert advice in done.err
    assert "p.yaml" in done.err
    # No measurement: a parser that builds everything first takes half a minute for these.
    assert time.monotonic() - started < 15


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (("--policy", "absent.yaml", "--world", WORLD), "cannot read absent.yaml"),
        (("--policy", "{ok}", "--world", "{ok}"), "is not a kind"),
        (("--policy", "{ok}", "--world", WORLD, "--at", "soon"), "--at"),
        (("--policy", "{ok}", "--world", WORLD, "--atlas", "{ok}"), "the atlas is not JSON"),
        (("--policy", "{ok}", "--world", WORLD, "--job", "{waives}"), "only the owner of the data may say"),
        (("--policy", "{ok}", "--world", WORLD, "--job", "{half}"), "command"),
        (("--policy", "{ok}", "--world", "{dangling}"), "names the owner 'ghost'"),
        (("--policy", "{ok}", "--world", "{itself}"), "cannot own itself"),
    ],
)
def test_other_bad_files_are_exit_2_too(nordan: Nordan, file: Write, words: tuple[str, ...], advice: str) -> None:
    files = {
        "{ok}": file("ok.yaml", "residency: [FR]\n"),
        "{waives}": file("waives.yaml", "egress: unenforced\n"),
        "{half}": file("half.yaml", "name: x\ninputs: [dataset/a]\n"),
        "{dangling}": file("dangling.yaml", "kind: Entity\nname: a\nseat: FR\nowners: [{owner: ghost}]\n"),
        "{itself}": file("itself.yaml", "kind: Entity\nname: a\nseat: FR\nowners: [{owner: a}]\n"),
    }
    done = nordan("policy", "check", *(files.get(word, word) for word in words))
    assert done.code == 2
    assert advice in done.err


def test_diff_is_exit_1_when_something_got_wider(nordan: Nordan, file: Write) -> None:
    narrow, wide = file("narrow.yaml", "residency: [FR]\n"), file("wide.yaml", "residency: [FR, SE]\n")
    wider = nordan("policy", "diff", narrow, wide)
    assert wider.code == 1
    assert "+SE" in wider.out
    assert "as a whole: wider" in wider.out
    tighter = nordan("policy", "diff", wide, narrow, "-o", "json")
    assert tighter.code == 0
    assert json.loads(tighter.out)["direction"] == "tighter"
    assert nordan("policy", "diff", wide, wide).out == "the two say the same\n"


def test_lint_is_exit_1_for_errors_and_with_strict_for_warnings(nordan: Nordan, file: Write) -> None:
    assert nordan("policy", "lint", file("a.yaml", "residency: [SE]\nclass: internal\n")).out == "nothing to remark\n"
    half = file("b.yaml", "process: [SE]\n")
    assert nordan("policy", "lint", half).code == 0
    assert nordan("policy", "lint", "--strict", half).code == 1
    empty = nordan("policy", "lint", file("c.yaml", "residency: []\n"), "-o", "json")
    assert empty.code == 1
    assert json.loads(empty.out)["counts"]["error"] == 5


def test_explain_expands_places_and_tells_the_digest(nordan: Nordan, file: Write) -> None:
    policy = file("p.yaml", PATIENTS)
    shown = nordan("policy", "explain", policy)
    assert shown.code == 0
    assert "AS GU MP PR UM US VI" in shown.out
    answer = json.loads(nordan("policy", "explain", policy, "-o", "json").out)
    assert len(answer["digest"]) == 64
    assert answer["facets"][0] == {
        "facet": "process",
        "says": ["FR", "SE"],
        "asks": "where computation happens",
        "changes": None,
        "territories": ["FR", "SE"],
    }
