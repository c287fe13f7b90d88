"""Trains a small network on handwritten digits, data-parallel over the ranks of a gang.

An example of what a tenant submits: it knows the environment that Nordan gives (docs/reference/environment.md) and
nothing else. Rank r takes every n-th sample; gradients are summed over TCP through rank 0, which is MASTER_ADDR.
After each epoch rank 0 writes a checkpoint beside its final name and renames it; a later attempt goes on from there.
Losing a peer ends the program with an error: starting again is the platform's task.

EPOCHS and PAUSE_S may be set; the pause stands for the work that a model of useful size would do in an epoch.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

HIDDEN = 48
CLASSES = 10
PIXELS = 64
LEARNING_RATE = 0.5
MOMENTUM = 0.9
BATCHES_PER_EPOCH = 8
CONNECT_WITHIN_S = 30.0
PEER_SILENT_S = 30.0
_LENGTH = struct.Struct("!Q")


class Gang:
    """The ranks as one: sums and shares arrays, through rank 0."""

    def __init__(self, rank: int, size: int, address: str, port: int) -> None:
        self.rank = rank
        self._peers = self._accept(size, address, port) if rank == 0 else [self._connect(address, port)]
        if size == 1:
            self._peers = []

    def sum(self, values: Array) -> Array:
        """Return the element-wise sum over all ranks; every rank must call it with the same shape."""
        if self.rank == 0:
            total = values + sum(_receive(peer, values.shape) for peer in self._peers)
            return self.share(np.asarray(total))
        _send(self._peers[0], values)
        return self.share(values)

    def share(self, values: Array) -> Array:
        """Return rank 0's values on every rank."""
        if self.rank == 0:
            for peer in self._peers:
                _send(peer, values)
            return values
        return _receive(self._peers[0], values.shape)

    @staticmethod
    def _accept(size: int, address: str, port: int) -> list[socket.socket]:
        if size == 1:
            return []
        with socket.create_server((address, port), backlog=size) as server:
            server.settimeout(CONNECT_WITHIN_S)
            peers = [server.accept()[0] for _ in range(size - 1)]
        for peer in peers:
            peer.settimeout(PEER_SILENT_S)
        return peers

    @staticmethod
    def _connect(address: str, port: int) -> socket.socket:
        deadline = time.monotonic() + CONNECT_WITHIN_S
        while True:
            try:
                return socket.create_connection((address, port), timeout=PEER_SILENT_S)
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


@dataclass
class Network:
    """One hidden layer; all parameters in one flat array, so that a sum or a checkpoint is one array."""

    weights: Array

    @classmethod
    def fresh(cls, seed: int) -> Network:
        """Return a network with small random weights."""
        size = PIXELS * HIDDEN + HIDDEN + HIDDEN * CLASSES + CLASSES
        return cls(np.random.default_rng(seed).normal(0.0, 0.1, size))

    def logits(self, images: Array) -> Array:
        """Return a score per class for images of shape (n, 64)."""
        first, bias, second, offset = self._parts()
        return np.asarray(np.tanh(images @ first + bias) @ second + offset)

    def gradient(self, images: Array, labels: NDArray[np.int64]) -> Array:
        """Return the summed gradient of the cross entropy, flat as `weights` is."""
        first, bias, second, _ = self._parts()
        hidden = np.tanh(images @ first + bias)
        error = _softmax(self.logits(images))
        error[np.arange(len(labels)), labels] -= 1.0
        back = (error @ second.T) * (1.0 - hidden**2)
        pieces = (images.T @ back, back.sum(0), hidden.T @ error, error.sum(0))
        return np.concatenate([piece.ravel() for piece in pieces])

    def _parts(self) -> tuple[Array, Array, Array, Array]:
        ends = np.cumsum([PIXELS * HIDDEN, HIDDEN, HIDDEN * CLASSES])
        first, bias, second, offset = np.split(self.weights, ends)
        return first.reshape(PIXELS, HIDDEN), bias, second.reshape(HIDDEN, CLASSES), offset


def main() -> int:
    """Train, and return the exit code: 0 when the model reads more than nine digits in ten."""
    rank, size = int(os.environ["NORDAN_NODE_RANK"]), int(os.environ["NORDAN_NODES"])
    epochs, pause_s = int(os.environ.get("EPOCHS", "30")), float(os.environ.get("PAUSE_S", "0.25"))
    checkpoints = Path(os.environ["NORDAN_CHECKPOINT_DIR"])
    images, labels = load(Path(os.environ["NORDAN_INPUT_DIR"]) / "patients" / "digits.csv")
    held_out = np.arange(len(labels)) % 5 == 0

    gang = Gang(rank, size, os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
    start, network = resume(checkpoints)
    start = int(gang.share(np.array([float(start)]))[0])
    network.weights = gang.share(network.weights)
    say(f"rank {rank} of {size}: attempt {os.environ['NORDAN_ATTEMPT']}, from epoch {start}, {sum(~held_out)} images")

    velocity = np.zeros_like(network.weights)
    for epoch in range(start, epochs):
        for chosen in batches(np.flatnonzero(~held_out), epoch):
            own = chosen[rank::size]
            gradient = gang.sum(network.gradient(images[own], labels[own])) / len(chosen)
            velocity = MOMENTUM * velocity - LEARNING_RATE * (1 - MOMENTUM) * gradient
            network.weights += velocity
        time.sleep(pause_s)
        if rank == 0:
            save(checkpoints / f"epoch-{epoch + 1:04d}.npz", network, epoch + 1)
            say(f"epoch {epoch + 1} of {epochs}: accuracy {accuracy(network, images, labels, held_out):.3f}")

    reached = accuracy(network, images, labels, held_out)
    if rank == 0:
        publish(Path(os.environ["NORDAN_OUTPUT_DIR"]) / "model", network, reached, epochs)
    say(f"rank {rank}: accuracy {reached:.3f}")
    return 0 if reached > 0.90 else 1


def load(path: Path) -> tuple[Array, NDArray[np.int64]]:
    """Return images of shape (n, 64) in 0..1 and their digits, from lines of 64 pixels and a label."""
    table = np.loadtxt(path, delimiter=",", skiprows=1)
    return table[:, :PIXELS] / 16.0, table[:, PIXELS].astype(np.int64)


def batches(samples: NDArray[np.int64], epoch: int) -> Iterator[NDArray[np.int64]]:
    """Yield the epoch's batches, in an order that every rank computes alike."""
    order = np.random.default_rng(epoch).permutation(samples)
    yield from np.array_split(order, BATCHES_PER_EPOCH)


def accuracy(network: Network, images: Array, labels: NDArray[np.int64], chosen: NDArray[np.bool_]) -> float:
    """Return the share of the chosen images that are read rightly."""
    return float((network.logits(images[chosen]).argmax(1) == labels[chosen]).mean())


def resume(checkpoints: Path) -> tuple[int, Network]:
    """Return the epoch and the network of the newest checkpoint, or a fresh start."""
    found = sorted(checkpoints.glob("epoch-*.npz"))
    if not found:
        return 0, Network.fresh(seed=7)
    with np.load(found[-1]) as saved:
        return int(saved["epoch"]), Network(saved["weights"])


def save(path: Path, network: Network, epoch: int) -> None:
    """Write a checkpoint that is either absent or whole: beside its name first, then renamed."""
    draft = path.with_name(f".{path.name}")
    with draft.open("wb") as file:
        np.savez(file, weights=network.weights, epoch=np.array(epoch))
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)


def publish(folder: Path, network: Network, reached: float, epochs: int) -> None:
    """Write the model and a card about it."""
    folder.mkdir(parents=True, exist_ok=True)
    save(folder / "weights.npz", network, epochs)
    card = {"accuracy": round(reached, 4), "classes": CLASSES, "epochs": epochs, "hidden": HIDDEN, "pixels": PIXELS}
    (folder / "model.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def say(line: str) -> None:
    """Print a line at once, so that a follower of the log sees it."""
    print(line, flush=True)


def _softmax(scores: Array) -> Array:
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def _send(peer: socket.socket, values: Array) -> None:
    data = np.ascontiguousarray(values).tobytes()
    peer.sendall(_LENGTH.pack(len(data)) + data)


def _receive(peer: socket.socket, shape: tuple[int, ...]) -> Array:
    (length,) = _LENGTH.unpack(_read(peer, _LENGTH.size))
    return np.frombuffer(_read(peer, length)).reshape(shape).copy()


def _read(peer: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        piece = peer.recv(min(1 << 20, length - len(data)))
        if not piece:
            raise ConnectionError("a rank of the gang is gone")
        data += piece
    return bytes(data)


if __name__ == "__main__":
    sys.exit(main())
