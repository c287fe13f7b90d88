"""The world of a local stack: which regions, operators and pools there are, from a YAML file.

Used by `up`, which sends the documents to the api; the api checks what they say. A world once applied is remembered
in the data folder, so that a later `up` on an empty database finds it without being told. What the database knows
already is never described again unasked: an operator may have changed it since.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from nordan_core.domain.errors import OperatorError
from nordan_core.embedded.files import write_file
from nordan_core.embedded.gpus import GpuModel
from nordan_core.embedded.layout import Identity, Layout

#: Dates stay texts too: documents travel as JSON.
_REPLACED = {"tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp"}
Document = Mapping[str, Any]  # Any: the api checks the fields


@dataclass(frozen=True, slots=True)
class World:
    """Documents to apply, and what to tell the operator about their GPUs."""

    documents: tuple[Document, ...]
    gpus: str
    """One sentence."""


@dataclass(frozen=True, slots=True)
class KnownPlaces:
    """What the control plane knows already, by code and by name."""

    regions: frozenset[str]
    pools: frozenset[str]


def choose_world(given: Path | None, layout: Layout, gpus: tuple[GpuModel, ...]) -> World:
    """Return the given world, else the one applied before, else the home region with this machine's GPUs.

    Raises:
        OperatorError: the file cannot be read, or is not a list of documents.
    """
    if given is None and layout.world.exists():
        given = layout.world
    if given is not None:
        documents = read_documents(given)
        return World(documents, _about_gpus(documents))
    documents = read_documents(Path(str(files(__package__) / "home.yaml")))
    if not gpus:
        return World(documents, "No GPU was found by NVML: region home-1 offers 8 made-up ones.")
    found = " and ".join(f"{model.count} x {model.name}" for model in gpus)
    return World(with_real_gpus(documents, gpus), f"Region home-1 offers this machine's GPUs: {found}.")


def remember_world(given: Path | None, layout: Layout, owner: Identity) -> None:
    """Keep a given world for the next start; the home region is described anew each time."""
    if given is not None and given != layout.world:
        write_file(layout.world, given.read_text(), owner)


def still_unknown(documents: tuple[Document, ...], known: KnownPlaces) -> tuple[Document, ...]:
    """Return what a start that names no world has to apply: everything on an empty database, else new pools alone."""
    if not known.regions:
        return documents
    pools = (one for one in documents if one["kind"] == "Pool" and one.get("name") not in known.pools)
    return tuple(one for one in pools if one.get("region") in known.regions)


def with_real_gpus(documents: tuple[Document, ...], gpus: tuple[GpuModel, ...]) -> tuple[Document, ...]:
    """Replace the made-up pool by one pool per model, with the machine's own sizes."""
    pool = next(document for document in documents if document["kind"] == "Pool")
    others = tuple(document for document in documents if document["kind"] != "Pool")
    names = Counter(model.name for model in gpus)
    return (*others, *(_real_pool(pool, model, is_alone=names[model.name] == 1) for model in gpus))


def read_documents(path: Path) -> tuple[Document, ...]:
    """Read YAML documents in which only `true` and `false` are truth values: the country NO stays a text.

    Raises:
        OperatorError: the file cannot be read, is not YAML, names a field twice or holds something else.
    """
    try:
        # A loader of ours below SafeLoader: it builds plain data only.
        documents = [one for one in yaml.load_all(path.read_text(), _Loader) if one is not None]
    except OSError as error:
        raise OperatorError(f"The world in {path} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OperatorError(f"The world in {path} is not valid YAML: {error}") from error
    if not documents or not all(isinstance(one, dict) and "kind" in one for one in documents):
        raise OperatorError(
            f"The world in {path} is not a list of documents that each have a `kind`; "
            "deploy/world/europe.yaml shows one."
        )
    return tuple(documents)


def _about_gpus(documents: tuple[Document, ...]) -> str:
    pools = [document for document in documents if document["kind"] == "Pool"]
    real = [str(pool.get("name")) for pool in pools if pool.get("has_made_up_gpus") is False]
    if real:
        return f"Pools with real GPUs: {', '.join(real)}."
    return f"The GPUs of this world's {len(pools)} pools are made up: jobs get numbers, not devices."


def _real_pool(pool: Document, model: GpuModel, *, is_alone: bool) -> Document:
    # One model may come with several sizes of memory.
    size = "" if is_alone else f"-{model.memory_mib}m"
    return {
        **pool,
        "name": f"home-1-{model.name.lower()}{size}",
        "accelerator": model.name,
        "gpu_memory_mib": model.memory_mib,
        "gpus_per_node": model.count,
        "power_w_per_gpu": model.power_w,
        "cpus": os.cpu_count() or 1,
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "has_made_up_gpus": False,
    }


class _Loader(yaml.SafeLoader):
    """YAML 1.2's truth values, and no field twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REPLACED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
