"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"

# More threads than cores only fight each other, and every process of pytest-xdist has its own.
# Such a process inherits what its parent was given, so this is no default for it.
THREADS = "1" if "PYTEST_XDIST_WORKER" in os.environ else "2"
os.environ["OMP_NUM_THREADS"] = THREADS
os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = THREADS


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
