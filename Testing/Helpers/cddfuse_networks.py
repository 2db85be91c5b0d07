"""CDDFuse with the weights of its parity set's recipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from parity_set import weights_by_recipe
from torch import Tensor

from MedFusionLib.methods.cddfuse import CDDFuse, from_author_states
from MedFusionLib.methods.cddfuse.author_weights import PARTS

FILE_PARTS = dict(
    zip(("encoder", "decoder", "base_fuse", "detail_fuse"), PARTS.values(), strict=True)
)


def made_up_states(folder: Path, metadata: dict[str, Any]) -> dict[str, dict[str, Tensor]]:
    """The four state dicts whose weights follow from the recipe."""
    shapes = json.loads((folder / "default_keys_shapes.json").read_text())
    blocks = dict(zip(("encoder", "decoder"), metadata["config"]["num_blocks"], strict=True))
    salt, gain = int(metadata["salt"], 16), float(metadata["gain"])
    return {
        FILE_PARTS[part]: weights_by_recipe(_first_blocks(keys, blocks.get(part, 0)), salt, gain)
        for part, keys in shapes.items()
    }


def made_up_network(folder: Path, metadata: dict[str, Any], skip: str) -> CDDFuse:
    return from_author_states(made_up_states(folder, metadata), skip)


def _first_blocks(shapes: dict[str, list[int]], count: int) -> dict[str, list[int]]:
    """The shapes of a part with ``count`` Restormer blocks only."""
    return {
        key: shape
        for key, shape in shapes.items()
        if not key.startswith("encoder_level") or int(key.split(".")[1]) < count
    }
