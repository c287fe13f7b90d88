"""Makes the demo's data: scikit-learn's handwritten digits as a CSV file that stands for patients' records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits


def write_digits(path: Path) -> int:
    """Write one line per image, 64 pixels of 0 to 16 and the digit; return how many."""
    images, labels = load_digits(return_X_y=True)
    header = ",".join([*(f"pixel_{number}" for number in range(64)), "digit"])
    np.savetxt(path, np.column_stack([images, labels]), fmt="%d", delimiter=",", header=header, comments="")
    return len(labels)
