"""Writes container images as OCI archives, without Docker and without being root.

For machines where images are made but no engine runs; `ctr images import`, `podman load` and `skopeo` read the result.
Tests make the small images of their clusters with it. Same content, same digest: times and owners are fixed.
Format: OCI image layout and image specification 1.1.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Image:
    """What a container starts with when its pod says nothing else."""

    name: str
    """Repository and tag, such as `localhost/work:1`: what `image:` in a pod names."""
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    """uid or uid:gid; a number, so that `runAsNonRoot` can be judged without looking inside."""
    workdir: str = "/"
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Blob:
    """One of the files of a layout, named by its digest; one of a gibibyte is read in passing, never held."""

    content: Path | bytes
    digest: str
    size: int

    def descriptor(self, media_type: str) -> dict[str, object]:
        return {"mediaType": media_type, "digest": f"sha256:{self.digest}", "size": self.size}


def write_layer(target: Path, entries: Iterable[tuple[str, Path | bytes | str, int]]) -> None:
    """Write a layer from `(path in the image, content, mode)`.

    A Path is a file's or a folder's content, bytes are a file's content, a str is what a symbolic link points to.
    Folders above an entry are made.
    """
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as layer:
        made: set[str] = set()
        for path, content, mode in entries:
            _add_parents(layer, path, made)
            if isinstance(content, Path) and content.is_dir():
                layer.add(content, path, filter=_anonymous)
            else:
                _add(layer, path, content, mode)


def write_archive(target: Path, image: Image, layers: Sequence[Path]) -> str:
    """Write the archive of an image whose layers are plain tar files, the lowest first; return its digest."""
    # Read once for their digests: a layer may have hundreds of megabytes.
    lower = [_blob(layer) for layer in layers]
    config = _blob(_json(_config(image, [one.digest for one in lower])))
    manifest = _blob(
        _json(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": config.descriptor(_CONFIG),
                "layers": [one.descriptor(_LAYER) for one in lower],
            }
        )
    )
    entry = manifest.descriptor(_MANIFEST) | {
        "annotations": {
            "io.containerd.image.name": image.name,
            "org.opencontainers.image.ref.name": image.name.rpartition(":")[2],
        }
    }
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}), 0o644)
        _add(archive, "index.json", _json({"schemaVersion": 2, "mediaType": _INDEX, "manifests": [entry]}), 0o644)
        for digest, content in {one.digest: one.content for one in (config, manifest, *lower)}.items():
            _add(archive, f"blobs/sha256/{digest}", content, 0o644)
    return f"sha256:{manifest.digest}"


def _config(image: Image, digests: Sequence[str]) -> dict[str, object]:
    machine = platform.machine()
    process = {
        "Entrypoint": list(image.entrypoint),
        "Cmd": list(image.command),
        "Env": [f"{name}={value}" for name, value in image.environment.items()],
        "User": image.user,
        "WorkingDir": image.workdir,
        "Labels": dict(image.labels),
    }
    return {
        "architecture": _ARCHITECTURES.get(machine, machine),
        "os": "linux",
        "config": {name: value for name, value in process.items() if value},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
    }


def _blob(content: Path | bytes) -> _Blob:
    digest = hashlib.sha256()
    with content.open("rb") if isinstance(content, Path) else io.BytesIO(content) as source:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
    return _Blob(content, digest.hexdigest(), content.stat().st_size if isinstance(content, Path) else len(content))


def _json(document: object) -> bytes:
    return json.dumps(document, sort_keys=True).encode()


def _add(archive: tarfile.TarFile, path: str, content: Path | bytes | str, mode: int) -> None:
    info = tarfile.TarInfo(path)
    info.mode = mode
    if isinstance(content, str):
        info.type, info.linkname = tarfile.SYMTYPE, content
        archive.addfile(info)
        return
    info.size = content.stat().st_size if isinstance(content, Path) else len(content)
    with content.open("rb") if isinstance(content, Path) else io.BytesIO(content) as source:
        archive.addfile(info, source)


def _add_parents(layer: tarfile.TarFile, path: str, made: set[str]) -> None:
    for parent in reversed(Path(path).parents):
        name = str(parent)
        if name != "." and name not in made:
            made.add(name)
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            layer.addfile(info)


def _anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.mtime = 0
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info
