"""Weight files: safetensors whose header names the method and holds its configuration.

Training and ``medfusion import-weights`` write them, ``--option weights=FILE`` reads them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedFusionLib.errors import WeightsError
from MedFusionLib.outputs import written_whole

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class WeightFile:
    """What such a file holds: named tensors, the network's configuration, the file's digest."""

    tensors: dict[str, Tensor]
    config: dict[str, Any]
    sha256: str


def write_weight_file(
    path: Path, method: str, tensors: Mapping[str, Tensor], config: Mapping[str, Any]
) -> None:
    """Write tensors and a JSON-able configuration, the whole file or none."""
    from safetensors.torch import save_file

    stored = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    header = {"method": method, "config": json.dumps(dict(config))}
    with written_whole(path) as partial:
        save_file(stored, partial, metadata=header)


def read_weight_file(path: Path, method: str) -> WeightFile:
    """Read a file that :func:`write_weight_file` wrote for this method.

    Raises ``WeightsError`` if there is none, it is damaged, or it belongs to another method.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load

    if not path.is_file():
        raise WeightsError(f"There is no weight file {path}.")
    content = path.read_bytes()
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
        tensors = load(content)
    except SafetensorError as error:
        raise WeightsError(f"{path} is damaged or no safetensors file: {error}.") from error
    if header.get("method") != method or "config" not in header:
        raise WeightsError(
            f"{path} is no weight file of '{method}'. Give one that 'medfusion train' or "
            "'medfusion import-weights' wrote for this method."
        )
    return WeightFile(tensors, _config(header, path), hashlib.sha256(content).hexdigest())


def _config(header: Mapping[str, str], path: Path) -> dict[str, Any]:
    try:
        config = json.loads(header["config"])
    except json.JSONDecodeError:
        config = None
    if not isinstance(config, dict):
        raise WeightsError(f"The configuration in {path} is damaged. Train or import it again.")
    return config
