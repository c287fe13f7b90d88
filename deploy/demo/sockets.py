"""Which addresses given processes listen on, from /proc: so that the demo can show that all of them are loopback."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

LISTEN = "0A"
_INODE = re.compile(r"socket:\[(\d+)\]")


def beyond_loopback(processes: Iterable[int]) -> list[str]:
    """Return `pid address:port` for each TCP socket that listens on another address than a loopback one."""
    inodes = {inode: pid for pid in processes for inode in _sockets(pid)}
    return [
        f"{inodes[inode]} {address}:{port}"
        for inode, address, port in _listening()
        if inode in inodes and not address.is_loopback
    ]


def _sockets(pid: int) -> Iterator[str]:
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            if match := _INODE.fullmatch(str(entry.readlink())):
                yield match[1]
    except OSError:  # the process ended meanwhile
        return


def _listening() -> Iterator[tuple[str, ipaddress.IPv4Address | ipaddress.IPv6Address, int]]:
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            host, port = local.split(":")
            if state == LISTEN:
                yield rest[5], _address(host), int(port, 16)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    # The kernel prints each 32-bit word in the machine's own byte order.
    words = (int(text[start : start + 8], 16) for start in range(0, len(text), 8))
    packed = b"".join(socket.ntohl(word).to_bytes(4, "big") for word in words)
    return ipaddress.ip_address(packed)
