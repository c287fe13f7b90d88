"""Users, ranges and path lengths."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from nordan_core.domain.errors import OperatorError
from nordan_core.embedded.data_dir import region_number
from nordan_core.embedded.layout import (
    ATTEMPT_BLOCKS,
    ATTEMPT_UIDS_PER_REGION,
    FIRST_ATTEMPT_UID,
    FIRST_ATTEMPT_UID_IN_NAMESPACE,
    LONGEST_REGION_CODE,
    MAX_DATA_DIR_BYTES,
    MAX_REGIONS,
    Identities,
    Identity,
    Layout,
    check_data_dir,
    first_attempt_uid,
    is_mapped,
)

ROOT = Identities(Identity(0, 0), Identity(60800, 60800), Identity(60801, 60801), is_root=True)


def test_no_two_users_are_the_same_and_ranges_do_not_meet() -> None:
    single = {ROOT.operator.uid, ROOT.postgres.uid, ROOT.control.uid, *(ROOT.region(i).uid for i in range(MAX_REGIONS))}
    assert len(single) == 3 + MAX_REGIONS
    ranges = [tuple(map(int, ROOT.attempt_uids(index).split("-"))) for index in range(MAX_REGIONS)]
    assert all(last - first + 1 == ATTEMPT_UIDS_PER_REGION for first, last in ranges)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(ranges))
    assert max(single) < FIRST_ATTEMPT_UID


def test_not_root_everybody_is_the_invoking_user() -> None:
    user = Identity(1000, 1000)
    identities = Identities(user, user, user, is_root=False)
    assert identities.region(3) == user
    assert identities.attempt_uids(0) == ""


def test_a_user_namespace_without_high_numbers_is_noticed(tmp_path: Path) -> None:
    uid_map = tmp_path / "uid_map"
    uid_map.write_text("         0     100000      65536\n")
    assert is_mapped(FIRST_ATTEMPT_UID_IN_NAMESPACE, uid_map)
    assert not is_mapped(FIRST_ATTEMPT_UID, uid_map)
    assert is_mapped(FIRST_ATTEMPT_UID, tmp_path / "absent")


def test_two_stacks_on_one_machine_have_different_users_for_their_attempts(tmp_path: Path) -> None:
    (tmp_path / "uid_map").write_text("0 0 4294967295\n")
    names = [f"/srv/{number}" for number in range(20)]
    firsts = [first_attempt_uid(Path(name), tmp_path / "subuid", tmp_path / "uid_map") for name in (*names, *names)]
    assert len(set(firsts)) == len(names)
    assert set(firsts) <= set(ATTEMPT_BLOCKS)


def test_a_block_that_is_lent_is_passed_over(tmp_path: Path) -> None:
    subuid, uid_map = tmp_path / "subuid", tmp_path / "uid_map"
    uid_map.write_text("0 0 4294967295\n")
    first = first_attempt_uid(Path("/data"), subuid, uid_map)
    subuid.write_text(f"ann:{first + 99_999}:1\n")
    other = first_attempt_uid(Path("/data"), subuid, uid_map)
    assert other != first
    assert other in ATTEMPT_BLOCKS


@pytest.mark.parametrize(
    ("lent", "first"),
    [
        ("", 200_000),
        ("ann:100000:65536\n", 200_000),
        ("ann:100000:65536\nbob:165536:65536\n", 300_000),
        ("ann:100000:65536\nbob:165536:65536\neve:390000:65536\n", FIRST_ATTEMPT_UID_IN_NAMESPACE),
        ("nonsense\nann:x:y\n", 200_000),
    ],
)
def test_numbers_that_are_lent_to_peoples_containers_are_left_alone(tmp_path: Path, lent: str, first: int) -> None:
    subuid, uid_map = tmp_path / "subuid", tmp_path / "uid_map"
    subuid.write_text(lent)
    uid_map.write_text("0 0 1000000\n")
    assert first_attempt_uid(Path("/data"), subuid, uid_map) == first
    uid_map.write_text("0 100000 65536\n")
    assert first_attempt_uid(Path("/data"), subuid, uid_map) == FIRST_ATTEMPT_UID_IN_NAMESPACE


def test_the_longest_socket_of_the_longest_folder_and_code_fits() -> None:
    data = Path("/" + "d" * (MAX_DATA_DIR_BYTES - 1))
    region = Layout(data).region("r" * LONGEST_REGION_CODE)
    assert len(str(region.run / "supervisor.sock").encode()) <= 107
    assert len(str(data / "postgres" / "run" / ".s.PGSQL.5432").encode()) <= 107


def test_too_long_paths_and_codes_are_refused_with_advice() -> None:
    with pytest.raises(OperatorError, match="Choose a shorter one with --data-dir"):
        check_data_dir(Path("/" + "d" * MAX_DATA_DIR_BYTES))
    with pytest.raises(OperatorError, match="too long for the sockets"):
        Layout(Path("/d")).region("r" * (LONGEST_REGION_CODE + 1))


def test_a_region_keeps_its_number_for_ever(tmp_path: Path) -> None:
    file, owner = tmp_path / "numbers.json", Identity.own()
    assert [region_number(file, code, owner) for code in ("b", "a", "b", "c")] == [0, 1, 0, 2]
