"""Worlds from files, and the home region with a machine's own GPUs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from nordan_core.domain.errors import OperatorError
from nordan_core.embedded import gpus
from nordan_core.embedded.gpus import GpuModel, found_gpus, model_name
from nordan_core.embedded.layout import Identity, Layout
from nordan_core.embedded.world import KnownPlaces, choose_world, read_documents, remember_world, still_unknown
from nordan_core.world import PoolDocument, parse_world

H100 = GpuModel("H100", 81559, 2, 700)
L4 = GpuModel("L4", 23034, 1, 72)


def test_without_gpus_the_home_region_offers_made_up_ones(tmp_path: Path) -> None:
    world = choose_world(None, Layout(tmp_path), ())
    pools = [one for one in parse_world(list(world.documents)) if isinstance(one, PoolDocument)]
    assert [(pool.gpus_per_node, pool.has_made_up_gpus) for pool in pools] == [(8, True)]
    assert "made-up" in world.gpus


def test_with_gpus_the_home_region_has_a_pool_per_model(tmp_path: Path) -> None:
    world = choose_world(None, Layout(tmp_path), (H100, L4))
    pools = [one for one in parse_world(list(world.documents)) if isinstance(one, PoolDocument)]
    assert [(p.name, p.accelerator, p.gpus_per_node, p.gpu_memory_mib, p.has_made_up_gpus) for p in pools] == [
        ("home-1-h100", "H100", 2, 81559, False),
        ("home-1-l4", "L4", 1, 23034, False),
    ]
    assert "2 x H100 and 1 x L4" in world.gpus


def test_one_model_with_two_sizes_of_memory_makes_two_pools(tmp_path: Path) -> None:
    world = choose_world(None, Layout(tmp_path), (GpuModel("A100", 40960, 4, 400), GpuModel("A100", 81920, 2, 400)))
    pools = [one for one in parse_world(list(world.documents)) if isinstance(one, PoolDocument)]
    assert [(p.name, p.gpus_per_node) for p in pools] == [("home-1-a100-40960m", 4), ("home-1-a100-81920m", 2)]


def test_gpus_whose_power_limits_differ_are_of_one_model_still(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = (("H100", 81559, 500), ("L4", 23034, 72), ("H100", 81559, 700))
    monkeypatch.setattr(gpus, "_describe", lambda index: devices[index])
    for name, answer in (("nvmlInit", None), ("nvmlShutdown", None), ("nvmlDeviceGetCount", len(devices))):
        monkeypatch.setattr(f"pynvml.{name}", lambda answer=answer: answer)
    assert found_gpus() == (H100, L4)


def test_a_given_world_is_remembered(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    given = tmp_path / "mine.yaml"
    given.write_text("kind: ControlPlane\nterritory: NO\noperator: me\n")
    remember_world(given, layout, Identity.own())
    given.unlink()
    assert choose_world(None, layout, ()).documents == ({"kind": "ControlPlane", "territory": "NO", "operator": "me"},)


def test_an_empty_control_plane_is_told_everything_and_one_that_knows_regions_new_pools_alone(tmp_path: Path) -> None:
    """Whatever it knows an operator may have changed: a restart must not bring back who owned a provider before."""
    home = choose_world(None, Layout(tmp_path), (H100, L4)).documents

    def told(regions: set[str], pools: set[str]) -> list[str]:
        found = still_unknown(home, KnownPlaces(frozenset(regions), frozenset(pools)))
        return [str(one.get("name", one["kind"])) for one in found]

    assert told(set(), set()) == ["home", "ControlPlane", "home-1", "home-1-h100", "home-1-l4"]
    assert told({"home-1"}, {"home-1-h100"}) == ["home-1-l4"]
    assert told({"home-1"}, {"home-1-h100", "home-1-l4"}) == []
    assert told({"fr-bru-1"}, {"fr-bru-1-h100"}) == []


@pytest.mark.parametrize("word", ["NO", "no", "on", "Yes", "OFF", "y", "2027-12-31"])
def test_only_true_and_false_are_not_text(tmp_path: Path, word: str) -> None:
    file = tmp_path / "world.yaml"
    file.write_text(f"kind: Entity\nseat: {word}\nowned: true\n")
    assert read_documents(file)[0] == {"kind": "Entity", "seat": word, "owned": True}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: Pool\nname: a\nname: b\n", "'name' stands twice"),
        ("kind: [", "is not valid YAML"),
        ("- kind: Pool\n", "not a list of documents that each have a `kind`"),
        ("name: pool\n", "not a list of documents"),
        ("", "not a list of documents"),
        ("kind: !!python/object/apply:os.system ['true']\n", "is not valid YAML"),
    ],
)
def test_a_file_that_is_no_world_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "world.yaml"
    file.write_text(text)
    with pytest.raises(OperatorError, match=message):
        read_documents(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"absent\.yaml cannot be read: No such file"):
        read_documents(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("product", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("Tesla V100-SXM2-16GB", "V100"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA GH200 480GB", "GH200"),
        ("NVIDIA GeForce RTX 4090", "RTX4090"),
        ("Quadro RTX 6000", "RTX6000"),
        ("NVIDIA RTX A6000", "RTXA6000"),
        ("Something Else", "Something"),
    ],
)
def test_products_have_short_names(product: str, name: str) -> None:
    assert model_name(product) == name


def test_asking_for_gpus_never_fails() -> None:
    assert all(dataclasses.is_dataclass(model) and model.count > 0 for model in found_gpus())
