"""The two images of a test cluster: one to hold a pod's namespaces, one with a shell and the usual tools."""

from __future__ import annotations

import subprocess
from pathlib import Path

from oci import Image, write_archive, write_layer

from support.kube.binaries import Unavailable

PAUSE = "localhost/pause:1"
WORK = "localhost/work:1"
_BUSYBOX = Path("/bin/busybox")


def pause_image(folder: Path) -> Path:
    """Write the archive of the image that holds a pod's network; nothing in it ever ends."""
    layer = folder / "pause.layer"
    write_layer(layer, [("bin/busybox", busybox(), 0o755)])
    image = Image(PAUSE, entrypoint=["/bin/busybox", "sleep", "infinity"], user="65535:65535")
    write_archive(folder / "pause.tar", image, [layer])
    return folder / "pause.tar"


def work_image(folder: Path) -> Path:
    """Write the archive of the image that tests run their commands in."""
    program = busybox()
    names = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    layer = folder / "work.layer"
    write_layer(
        layer,
        [
            ("bin/busybox", program, 0o755),
            *((f"bin/{name}", "/bin/busybox", 0o777) for name in names if name != "busybox"),
            ("etc/passwd", b"root:x:0:0:root:/:/bin/sh\nnobody:x:65532:65532:nobody:/:/bin/sh\n", 0o644),
            ("etc/group", b"root:x:0:\nnobody:x:65532:\n", 0o644),
            ("tmp/.keep", b"", 0o644),
        ],
    )
    image = Image(WORK, command=["/bin/sh"], environment={"PATH": "/bin"})
    write_archive(folder / "work.tar", image, [layer])
    return folder / "work.tar"


def busybox() -> Path:
    """Return the static busybox of the machine. Raises: Unavailable."""
    if not _BUSYBOX.exists():
        raise Unavailable("images are made from /bin/busybox (Debian's busybox-static), which is not there")
    return _BUSYBOX
