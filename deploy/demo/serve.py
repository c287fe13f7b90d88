"""Serves the digit reader that `train.py` made: GET /healthz, POST /predict with {"pixels": [[64 numbers], …]}.

An example of an inference job. It finds the model wherever the input was laid, listens where NORDAN_HOST and
NORDAN_PORT say, and stops on SIGTERM; the region's gateway is the only caller.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PIXELS = 64
CLASSES = 10
LARGEST_BODY = 1 << 20


class Model:
    """The weights of one hidden layer, as `train.py` lays them out."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as saved:
            weights = saved["weights"]
        hidden = (len(weights) - CLASSES) // (PIXELS + 1 + CLASSES)
        first, bias, second, self._offset = np.split(weights, np.cumsum([PIXELS * hidden, hidden, hidden * CLASSES]))
        self._first, self._bias = first.reshape(PIXELS, hidden), bias
        self._second = second.reshape(hidden, CLASSES)

    def read(self, images: NDArray[np.float64]) -> list[int]:
        """Return the digit of each image; pixels are 0 to 16."""
        hidden = np.tanh(images / 16.0 @ self._first + self._bias)
        return [int(digit) for digit in (hidden @ self._second + self._offset).argmax(1)]


class Handler(BaseHTTPRequestHandler):
    """Answers readiness and predictions; `model` is set before the server starts."""

    model: Model
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer the readiness path."""
        if self.path == "/healthz":
            self._answer(200, {"status": "ok"})
        else:
            self._answer(404, {"error": "no such path"})

    def do_POST(self) -> None:
        """Answer a prediction, or say what is wrong with the request."""
        if self.path != "/predict":
            self._answer(404, {"error": "no such path"})
            return
        try:
            images = self._images()
        except (ValueError, KeyError, TypeError) as error:
            self._answer(400, {"error": f"send {{'pixels': [[64 numbers], …]}}: {error}"})
            return
        self._answer(200, {"digits": self.model.read(images)})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class names it so)
        """Say nothing: a request line may hold what a caller wants kept private."""

    def _images(self) -> NDArray[np.float64]:
        length = int(self.headers.get("Content-Length", "0"))
        if not 0 < length <= LARGEST_BODY:
            raise ValueError(f"a body of {length} bytes")
        images = np.asarray(json.loads(self.rfile.read(length))["pixels"], dtype=np.float64)
        if images.ndim != 2 or images.shape[1] != PIXELS:
            raise ValueError(f"an array of shape {images.shape}")
        return images

    def _answer(self, status: int, body: dict[str, object]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main() -> int:
    """Serve until SIGTERM."""
    found = sorted(Path(os.environ["NORDAN_INPUT_DIR"]).rglob("weights.npz"))
    if not found:
        print("no weights.npz among the inputs", file=sys.stderr)
        return 1
    Handler.model = Model(found[0])
    signal.signal(signal.SIGTERM, _stop)
    with ThreadingHTTPServer((os.environ["NORDAN_HOST"], int(os.environ["NORDAN_PORT"])), Handler) as server:
        print("serving", flush=True)
        server.serve_forever()
    return 0


def _stop(*_: object) -> None:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
