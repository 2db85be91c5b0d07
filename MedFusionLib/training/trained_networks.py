"""What a run's network begins with, and what becomes of its best epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from MedFusionLib.methods.checkpoints import stored_shapes
from MedFusionLib.methods.network_files import Network, NetworkFile
from MedFusionLib.training.runs import WEIGHTS_NAME, part_of_state
from MedFusionLib.weights.files import read_weight_file


def first_network(
    file: NetworkFile[Network],
    start_from: str,
    architecture: Any,
    fresh: Callable[[Any], Network],
) -> Network:
    """What ``fresh`` makes of the architecture, or the network of another run's weight file.

    Raises ``WeightsError`` if the weights do not fit the architecture.
    """
    if not start_from:
        return fresh(architecture)
    tensors = read_weight_file(Path(start_from), file.method).tensors
    return file.from_state(tensors, architecture).train()


def trained_network(
    file: NetworkFile[Network], state: Mapping[str, Tensor], architecture: Any
) -> Network:
    """The network of a module's state dict, where it is called ``network``."""
    trained = part_of_state(state, "network.")
    kept = stored_shapes(file.empty(architecture))
    return file.from_state({key: trained[key] for key in kept}, architecture)


def write_trained(
    file: NetworkFile[Network], state: Mapping[str, Tensor], architecture: Any, folder: Path
) -> Path:
    """Write :func:`trained_network` into a run's folder; the path of the file."""
    file.save(trained_network(file, state, architecture), folder / WEIGHTS_NAME)
    return folder / WEIGHTS_NAME
