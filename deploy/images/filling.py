"""What fills layers beside Debian's packages: wheels, their compilation, a shell."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from debian import compile_python

#: What packages bring and no process of ours opens: a hundred megabytes.
UNNEEDED = Path(__file__).with_name("unneeded.txt")
#: Wheels that this Debian's C library runs.
PLATFORMS = [f"manylinux{tag}_x86_64" for tag in ("_2_34", "_2_31", "_2_28", "_2_26", "_2_17", "2014", "2010", "1")]


def install(root: Path, what: Sequence[str], folder: str) -> None:
    platforms = [part for tag in PLATFORMS for part in ("--platform", tag)]
    choice = ["--python-version", "3.11", "--implementation", "cp", *platforms, "--only-binary", ":all:"]
    options = ["--quiet", "--disable-pip-version-check", "--no-compile", "--target", str(root / folder)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, *choice, *what], check=True)
    # Scripts name the interpreter that installed them; the image has its own.
    shutil.rmtree(root / folder / "bin", ignore_errors=True)
    for pattern in UNNEEDED.read_text().split():
        for one in (root / folder).glob(pattern):
            shutil.rmtree(one) if one.is_dir() else one.unlink()


def compile_layer(root: Path, base: Path, folders: Sequence[str]) -> None:
    """Compile with the base's interpreter, brought beside for as long as it takes."""
    with tempfile.TemporaryDirectory() as lent:
        subprocess.run(["tar", "-x", "-C", lent, "-f", str(base)], check=True)
        for folder in folders:
            (Path(lent) / folder).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(root / folder, Path(lent) / folder)
        compile_python(Path(lent), folders)
        for folder in folders:
            shutil.move(Path(lent) / folder, root / folder)


def add_shell(root: Path) -> None:
    names = subprocess.run([root / "bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
    for name in names:
        place = root / "usr/bin" / name
        if name != "busybox" and not place.exists() and not place.is_symlink():
            place.symlink_to("/bin/busybox")
