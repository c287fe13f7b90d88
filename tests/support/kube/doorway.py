"""Carries connections between two network namespaces: the machine's loopback and a cluster's network.

It is run as a process of its own: doorway.py FROM_NETWORK FROM_HOST FROM_PORT TO_NETWORK TO_HOST TO_PORT.
A network is a path that names a namespace, or `-` for the one it is started in. Port 0 takes a free one; the port
that it listens on is printed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)
_CHUNK = 1 << 16
_HOME = os.open("/proc/self/ns/net", os.O_RDONLY)


async def serve(listen: tuple[str, str, int], connect: tuple[str, str, int]) -> None:
    """Accept connections at one end and carry each to the other."""
    network, host, port = listen
    with _inside(network):
        listener = socket.create_server((host, port), backlog=512)
    server = await asyncio.start_server(lambda r, w: _carry(r, w, connect), sock=listener)
    print(listener.getsockname()[1], flush=True)
    await server.serve_forever()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connect: tuple[str, str, int]) -> None:
    network, host, port = connect
    # A socket belongs to the network in which it was made, wherever its process goes afterwards.
    with _inside(network):
        there = socket.socket()
    there.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(there, (host, port))
    except OSError:
        there.close()
        writer.transport.abort()
        return
    other_reader, other_writer = await asyncio.open_connection(sock=there)
    await asyncio.gather(_copy(reader, other_writer), _copy(other_reader, writer))
    for each in (writer, other_writer):
        each.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end or a reset, and pass on which of the two it was."""
    try:
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()
    except OSError:
        writer.transport.abort()


@contextmanager
def _inside(network: str) -> Iterator[None]:
    if network == "-":
        yield
        return
    there = os.open(network, os.O_RDONLY)
    try:
        _enter(there)
        yield
    finally:
        _enter(_HOME)
        os.close(there)


def _enter(handle: int) -> None:
    if _LIBC.setns(handle, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "cannot enter the network namespace")


if __name__ == "__main__":
    _from, _to = sys.argv[1:4], sys.argv[4:7]
    asyncio.run(serve((_from[0], _from[1], int(_from[2])), (_to[0], _to[1], int(_to[2]))))
