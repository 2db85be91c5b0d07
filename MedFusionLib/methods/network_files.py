"""The weight files of one trained network: safetensors with the architecture in the header."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from MedFusionLib.methods.checkpoints import filled, stored_tensors
from MedFusionLib.weights import WeightsEntry, entry_tensors, weights_entry
from MedFusionLib.weights.files import read_weight_file, write_weight_file

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class NetworkFile(Generic[Network]):
    """How a method's networks are built, filled, written and read."""

    method: str
    """As the files' headers and the manifest name it."""
    build: Callable[[Any], Network]
    """A network of an architecture, which it keeps as ``network.architecture``."""
    architecture_of: Callable[[Mapping[str, Any]], Any]
    """The architecture that a header describes, with ``as_config()`` as its inverse."""

    def empty(self, architecture: Any) -> Network:
        """A network without memory, whose tensors must still be assigned."""
        with torch.device("meta"):
            return self.build(architecture)

    def from_state(self, state: Mapping[str, Tensor], architecture: Any) -> Network:
        """Network in evaluation mode, float32, from tensors under our names.

        Raises ``WeightsError`` naming what is missing, unexpected or of another shape.
        """
        return filled(self.empty(architecture), state)

    def save(self, network: Network, path: Path) -> None:
        """Write a network's weights and architecture, whole or not at all."""
        architecture: Any = network.architecture
        write_weight_file(path, self.method, stored_tensors(network), architecture.as_config())

    def load(self, path: str | Path | None = None) -> tuple[Network, str]:
        """Network from a file that :meth:`save` wrote, without a path from the shipped one; the
        file's SHA-256.

        Raises ``WeightsError`` if the file is missing, damaged, or does not fit.
        """
        if path is None:
            return self.shipped(weights_entry(self.method))
        file = read_weight_file(Path(path), self.method)
        return self.from_state(file.tensors, self.architecture_of(file.config)), file.sha256

    def shipped(self, entry: WeightsEntry) -> tuple[Network, str]:
        """Network of a line of the manifest; its file's SHA-256. ``WeightsError`` as above."""
        architecture = self.architecture_of(entry.config)
        return self.from_state(entry_tensors(entry), architecture), entry.sha256
