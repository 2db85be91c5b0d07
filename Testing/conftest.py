"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"

# Two cores: more threads than that only fight each other.
os.environ.setdefault("OMP_NUM_THREADS", "2")


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder ``shared`` beside the checkout: parity tensors, slices and volumes."""
    if not (SHARED / "README.md").is_file():
        pytest.skip("needs the folder 'shared' beside the checkout (parity tensors and data)")
    return SHARED
