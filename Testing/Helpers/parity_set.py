"""Reading the parity sets: made-up weights, cases with their metadata, comparisons."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor


def weights_by_recipe(
    shapes: Mapping[str, Sequence[int]], salt: int, gain: float = 1.0
) -> dict[str, Tensor]:
    """Weights from a hash of their names, as the READMEs of the parity sets give it.

    ``gain`` multiplies tensors of two and more dimensions.
    """
    return {key: _weight(key, shape, salt, gain) for key, shape in shapes.items()}


def _weight(key: str, shape: Sequence[int], salt: int, gain: float) -> Tensor:
    generator = np.random.RandomState(zlib.crc32(key.encode()) ^ salt)
    values = (2 * generator.random_sample(shape) - 1).astype(np.float32)
    if key.endswith("running_mean"):
        values *= np.float32(0.1)
    elif key.endswith("running_var"):
        values = 1 + np.float32(0.5) * values
    elif key.endswith("gamma") or (len(shape) == 1 and key.endswith("weight")):
        values = 1 + np.float32(0.1) * values
    elif len(shape) == 1:
        values *= np.float32(0.1)
    elif key.endswith("slot_embeds"):
        values *= np.float32(3**0.5)
    else:
        values *= np.float32((3 / np.prod(shape[1:])) ** 0.5)
    return torch.from_numpy(values) * (gain if len(shape) > 1 else 1.0)


def read_case(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of one file; metadata that is JSON comes parsed."""
    with safe_open(path, "pt") as file:
        metadata = {key: _parsed(text) for key, text in (file.metadata() or {}).items()}
    return load_file(path), metadata


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def part_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, without it."""
    return {
        key.removeprefix(prefix): tensor
        for key, tensor in tensors.items()
        if key.startswith(prefix)
    }


def assert_close(found: Tensor, expected: Tensor, tolerance: float = 1e-4) -> None:
    """``found`` is within ``tolerance`` of the expected values, relative where they exceed 1."""
    worst = ((found - expected).abs() / expected.abs().clamp(min=1)).max().item()
    assert worst <= tolerance, f"worst difference {worst:.2e}"
