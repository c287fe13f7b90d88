"""Makes Nordan's image without Docker, and those that stand in for public ones on clusters for tests.

`make images` runs it. The same image as `Dockerfile` makes: Debian's Python, the hashed requirements, the wheel, the
compiled shim, nothing that compiles. What it downloads and what it has made is kept in the user's cache folder, keyed
by everything that goes in; the archives it leaves are read by `ctr images import`, `podman load` and `skopeo`.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from debian import NotDebian, Packages, check_machine, compile_python, finish
from filling import UNNEEDED, add_shell, compile_layer, install
from oci import Image, write_archive, write_layer

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
REQUIREMENTS = ROOT / "requirements" / "image.txt"
UID = 65532
VERSION = "0.1.0"
#: libstdc++ is NumPy's, the time zones are Celery's.
_PYTHON = ("python3.11-minimal", "libpython3.11-stdlib", "ca-certificates", "libstdc++6", "tzdata")
_SITE = "opt/nordan/lib/python3.11/site-packages"
_POSTGRES = "usr/local/lib/postgres"
_ENVIRONMENT = {
    "PATH": "/opt/nordan/bin:/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where images are made."""

    cache: Path
    target: Path

    def layer(self, name: str, key: str, fill: Callable[[Path], None]) -> Path:
        """Return the layer of this key, made by `fill` in an empty folder unless it is cached."""
        makers = [(HERE / one).read_text() for one in ("debian.py", "filling.py")]
        path = self.cache / "layers" / f"{name}-{_key([key, inspect.getsource(fill), *makers])}.tar"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.cache) as folder:
                root = Path(folder) / "root"
                root.mkdir()
                fill(root)
                half = Path(folder) / "layer.tar"
                write_layer(half, _entries(root))
                half.rename(path)
        return path

    def archive(self, image: Image, layers: Sequence[Path]) -> Path:
        """Write the image's archive and return its path."""
        self.target.mkdir(parents=True, exist_ok=True)
        path = self.target / f"{image.name.rpartition('/')[2].partition(':')[0]}.tar"
        half = path.with_suffix(".new")
        digest = write_archive(half, image, layers)
        half.rename(path)
        sys.stdout.write(f"{path}  {image.name}  {path.stat().st_size >> 20} MiB  {digest}\n")
        return path


def nordan_image(workshop: Workshop) -> Path:
    """Make the one image of all of Nordan's processes: api, scheduler, worker, supervisor, gateway, pods' agent."""
    base = _python_base(workshop)
    required = workshop.layer(
        "requirements", _key([base.name, REQUIREMENTS.read_text(), UNNEEDED.read_text()]), _fill_requirements(base)
    )
    wheel = _wheel(workshop)
    own = workshop.layer("nordan", _key([base.name, wheel.read_bytes()]), _fill_own(base, wheel))
    image = Image(
        f"localhost/nordan:{VERSION}",
        command=["nordan", "--help"],
        environment=_ENVIRONMENT,
        user=f"{UID}:{UID}",
        labels={"org.opencontainers.image.licenses": "Apache-2.0", "org.opencontainers.image.version": VERSION},
    )
    return workshop.archive(image, [base, _shell(workshop), required, own])


def agent_image(workshop: Workshop) -> Path:
    """Make what runs beside a job without what only servers need: small, for clusters for tests.

    Its jobs find Python and a shell in it, too.
    """
    base, wheel = _python_base(workshop), _wheel(workshop)
    own = workshop.layer("nordan", _key([base.name, wheel.read_bytes()]), _fill_own(base, wheel))
    image = Image("localhost/nordan-agent:1", environment=_ENVIRONMENT, user=f"{UID}:{UID}")
    return workshop.archive(image, [base, _shell(workshop), own])


def job_image(workshop: Workshop) -> Path:
    """Make an image for tests' jobs: Python with NumPy, and a shell."""
    base = _python_base(workshop)
    pin = _pinned("numpy")
    layer = workshop.layer("job", _key([base.name, pin, UNNEEDED.read_text()]), _fill_job(base, pin))
    image = Image("localhost/nordan-job:1", environment={**_ENVIRONMENT, "PYTHONPATH": "/opt/job"}, user=f"{UID}:{UID}")
    return workshop.archive(image, [base, _shell(workshop), layer])


def postgres_image(workshop: Workshop) -> Path:
    """Make a stand-in for the public PostgreSQL image from the binaries of the embedded wheel."""
    from nordan_core.embedded.packaged import postgres_folder  # noqa: PLC0415  only where the server parts are installed

    packages = Packages(["libc6", "zlib1g", "busybox-static"], workshop.cache)
    wheel = postgres_folder()
    entrypoint = (HERE / "postgres-entrypoint.sh").read_bytes()
    version = (wheel / "pginstall18/bin/postgres").stat().st_size

    def fill(root: Path) -> None:
        packages.unpack(root)
        finish(root, {"postgres": 999})
        add_shell(root)
        # As in the wheel, because the programs look for their libraries by the way there.
        shutil.copytree(wheel / "pginstall18", root / _POSTGRES / wheel.name / "pginstall18", symlinks=True)
        for libraries in wheel.parent.glob(f"{wheel.name}.libs"):
            shutil.copytree(libraries, root / _POSTGRES / libraries.name)
        (root / "var/lib/postgresql").mkdir(parents=True)
        (root / "usr/local/bin").mkdir(parents=True)
        (root / "usr/local/bin/entrypoint").write_bytes(entrypoint)
        (root / "usr/local/bin/entrypoint").chmod(0o755)

    layer = workshop.layer("postgres", _key([packages.key, entrypoint, str(version)]), fill)
    image = Image(
        "docker.io/library/postgres:18.6",
        entrypoint=["/usr/local/bin/entrypoint"],
        command=["postgres"],
        environment={
            "PATH": f"/{_POSTGRES}/{wheel.name}/pginstall18/bin:/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
        },
        user="999:999",
    )
    return workshop.archive(image, [layer])


def valkey_image(workshop: Workshop) -> Path:
    """Make a stand-in for the public Valkey image from the binary of the embedded wheel."""
    from nordan_core.embedded.packaged import valkey_server  # noqa: PLC0415  only where the server parts are installed

    packages = Packages(["libc6"], workshop.cache)
    server = valkey_server()

    def fill(root: Path) -> None:
        packages.unpack(root)
        finish(root, {"valkey": UID})
        (root / "usr/local/bin").mkdir(parents=True)
        shutil.copy(server, root / "usr/local/bin/valkey-server")

    layer = workshop.layer("valkey", _key([packages.key, server.read_bytes()]), fill)
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
    image = Image(
        "docker.io/valkey/valkey:9.1.1-alpine",
        command=["valkey-server"],
        environment=environment,
        user=f"{UID}:{UID}",
    )
    return workshop.archive(image, [layer])


IMAGES: Mapping[str, Callable[[Workshop], Path]] = {
    "nordan": nordan_image,
    "agent": agent_image,
    "job": job_image,
    "postgres": postgres_image,
    "valkey": valkey_image,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the images that were named, or all; 1 with a sentence when this machine cannot."""
    parser = argparse.ArgumentParser(description="make container images without Docker, from Debian's packages")
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=f"of {', '.join(IMAGES)}; all when none is named")
    parser.add_argument("--into", type=Path, default=ROOT / "dist" / "images", help="folder for the archives")
    chosen = parser.parse_args(arguments)
    if unknown := sorted(set(chosen.images) - set(IMAGES)):
        parser.error(f"no such image: {', '.join(unknown)}; there are {', '.join(IMAGES)}")
    try:
        check_machine()
        for name in chosen.images or IMAGES:
            IMAGES[name](Workshop(cache_folder(), chosen.into))
    except NotDebian as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def cache_folder() -> Path:
    """Return where downloads and layers are kept between runs."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    folder = Path(home) / "nordan-images"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _python_base(workshop: Workshop) -> Path:
    packages = Packages(_PYTHON, workshop.cache)

    def fill(root: Path) -> None:
        packages.unpack(root)
        finish(root, {"nordan": UID})
        compile_python(root, ["usr/lib/python3.11"])
        (root / "opt/nordan/bin").mkdir(parents=True)
        (root / "opt/nordan/bin/python").symlink_to("/usr/bin/python3.11")
        # What makes the folder a virtual environment, so that the same paths hold as in the Dockerfile's image.
        (root / "opt/nordan/pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")

    return workshop.layer("python", _key([packages.key]), fill)


def _shell(workshop: Workshop) -> Path:
    """Return a layer with a shell and the usual tools, for people who look into a container and for simple jobs."""
    packages = Packages(["busybox-static"], workshop.cache)

    def fill(root: Path) -> None:
        packages.unpack(root)
        add_shell(root)

    return workshop.layer("shell", packages.key, fill)


def _fill_requirements(base: Path) -> Callable[[Path], None]:
    def fill(root: Path) -> None:
        install(root, ["--require-hashes", "-r", str(REQUIREMENTS)], _SITE)
        compile_layer(root, base, [_SITE])

    return fill


def _fill_own(base: Path, wheel: Path) -> Callable[[Path], None]:
    def fill(root: Path) -> None:
        install(root, ["--no-deps", str(wheel)], _SITE)
        script = root / "opt/nordan/bin/nordan"
        script.parent.mkdir(parents=True)
        script.write_text("#!/opt/nordan/bin/python\nfrom nordan_cli.main import main\n\nmain()\n")
        script.chmod(0o755)
        shim = root / "usr/local/lib/nordan/shim"
        shim.parent.mkdir(parents=True)
        subprocess.run([str(root / _SITE / "nordan_workers/pod/build-shim.sh"), str(shim)], check=True)
        compile_layer(root, base, [_SITE])

    return fill


def _fill_job(base: Path, pin: str) -> Callable[[Path], None]:
    def fill(root: Path) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
            requirements.write(pin)
            requirements.flush()
            install(root, ["--require-hashes", "--no-deps", "-r", requirements.name], "opt/job")
        compile_layer(root, base, ["opt/job"])

    return fill


def _wheel(workshop: Workshop) -> Path:
    folder = workshop.cache / "wheel"
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def _pinned(name: str) -> str:
    """Return a package's lines of the hashed requirements."""
    lines = REQUIREMENTS.read_text().splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if line.startswith(f"{name}=="))
    last = next(number for number in range(first + 1, len(lines)) if not lines[number].startswith(" "))
    return "".join(line for line in lines[first:last] if "#" not in line)


def _entries(root: Path) -> Iterable[tuple[str, Path | bytes | str, int]]:
    for one in sorted(root.iterdir()):
        if one.is_symlink():
            yield one.name, str(one.readlink()), 0o777
        else:
            yield one.name, one, 0


def _key(parts: Iterable[str | bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main())
