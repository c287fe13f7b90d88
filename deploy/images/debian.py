"""A root file system out of Debian's packages, without root and without running any script of theirs.

The packages and all that they depend on are what apt would install on an empty machine, downloaded by apt itself, so
signatures are checked as on any Debian. What their scripts would have done is little here and done by `finish`: the
bundle of certificates. Documentation goes, licences stay.
"""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

#: Where the packages come from decides which Python they hold.
SUITE = "bookworm"
_MERGED = ("bin", "sbin", "lib", "lib64")
_LEFT_OUT = (
    "./usr/share/man",
    "./usr/share/info",
    "./usr/share/locale",
    "./usr/share/lintian",
    "./usr/share/doc/*/changelog*",
    "./usr/share/doc/*/NEWS*",
    "./usr/share/doc/*/README*",
    "./usr/share/doc/*/examples",
    "./usr/share/bug",
    "./usr/share/binfmts",
    "./usr/share/pixmaps",
    "./usr/share/applications",
)
_CERTIFICATES = Path("usr/share/ca-certificates/mozilla")


class NotDebian(Exception):
    """This machine cannot make images from packages; says what it lacks."""


def check_machine() -> None:
    """Check that this is the Debian whose packages are wanted. Raises: NotDebian."""
    release = Path("/etc/os-release")
    if not release.exists() or f"VERSION_CODENAME={SUITE}" not in release.read_text():
        raise NotDebian(
            f"images without Docker are made from the packages of Debian {SUITE}, by its own apt; "
            "here, run: docker build -f deploy/images/Dockerfile ."
        )


class Packages:
    """The closure of some packages, as apt resolves it on a machine where nothing is installed."""

    def __init__(self, names: Sequence[str], cache: Path) -> None:
        self._names = tuple(names)
        self._archives = cache / "archives"
        self._lines: list[str] | None = None

    @property
    def key(self) -> str:
        """Tell this closure from another: versions and digests of all packages."""
        text = "\n".join(sorted(self._uris()))
        return hashlib.sha256(f"{SUITE}\n{text}".encode()).hexdigest()[:16]

    def unpack(self, root: Path) -> None:
        """Download what is not cached and unpack it into an empty folder."""
        files = [line.split()[1] for line in self._uris()]
        self._apt("--download-only", self._archives)
        for name in _MERGED:
            (root / "usr" / name).mkdir(parents=True, exist_ok=True)
            (root / name).symlink_to(f"usr/{name}")
        for file in sorted(files):
            _unpack(self._archives / file, root)

    def _uris(self) -> list[str]:
        if self._lines is None:
            # Over an empty cache: apt does not name what it has already.
            with tempfile.TemporaryDirectory() as empty:
                told = self._apt("--print-uris", Path(empty))
            self._lines = [line for line in told.splitlines() if line.startswith("'")]
        return self._lines

    def _apt(self, how: str, archives: Path) -> str:
        (archives / "partial").mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile() as nothing_installed:
            options = {
                "Dir::State::status": nothing_installed.name,
                "Dir::Cache::archives": str(archives),
                "Debug::NoLocking": "1",
                "APT::Sandbox::User": "root",
                "APT::Install-Recommends": "0",
            }
            settings = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
            argv = ["apt-get", "-qq", "-y", *settings, how, "install", *self._names]
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NotDebian(f"apt cannot get {', '.join(self._names)}: {done.stderr.strip()} (run: apt-get update)")
        return done.stdout


def _unpack(package: Path, root: Path) -> None:
    exclusions = [f"--exclude={pattern}" for pattern in _LEFT_OUT]
    unpack = ["tar", "-x", "-C", str(root), "--keep-directory-symlink", "--no-same-owner", *exclusions]
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as source:
        subprocess.run(unpack, stdin=source.stdout, check=True)
    if source.returncode != 0:
        raise subprocess.CalledProcessError(source.returncode, source.args)


def finish(root: Path, users: Mapping[str, int]) -> None:
    """Write what every image has: users with a number, folders for what runs, the bundle of certificates."""
    people = {"root": 0, **users}
    etc = root / "etc"
    etc.mkdir(exist_ok=True)
    lines = "".join(f"{name}:x:{uid}:{uid}::/nonexistent:/usr/sbin/nologin\n" for name, uid in people.items())
    (etc / "passwd").write_text(lines)
    (etc / "group").write_text("".join(f"{name}:x:{uid}:\n" for name, uid in people.items()))
    (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
    for name, mode in (("tmp", 0o1777), ("var/tmp", 0o1777), ("proc", 0o555), ("sys", 0o555), ("dev", 0o755)):
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name).chmod(mode)
    if (root / _CERTIFICATES).is_dir():
        bundle = b"".join(one.read_bytes() for one in sorted((root / _CERTIFICATES).glob("*.crt")))
        (etc / "ssl/certs").mkdir(parents=True, exist_ok=True)
        (etc / "ssl/certs/ca-certificates.crt").write_bytes(bundle)


def compile_python(root: Path, folders: Iterable[str]) -> None:
    """Compile Python sources with the image's own interpreter: its root is read-only, so nothing is compiled later."""
    library = f"{root}/usr/lib"
    machine = next(one for one in Path(library).iterdir() if one.name.endswith("-linux-gnu"))
    loader = next(iter(sorted([*Path(f"{root}/usr/lib64").glob("ld-*"), *machine.glob("ld-linux-*")])))
    python = [str(loader), "--library-path", f"{machine}:{library}", f"{root}/usr/bin/python3.11", "-s", "-S"]
    # By content, not by time: times are all the same in a layer.
    options = ["-m", "compileall", "-q", "-j", "2", "--invalidation-mode", "unchecked-hash", "-s", str(root), "-p", "/"]
    places = [str(root / folder) for folder in folders]
    subprocess.run([*python, *options, *places], env={"PYTHONHOME": f"{root}/usr"}, check=True)
