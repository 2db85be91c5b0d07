"""Checkpoints of the papers' authors: read without running code, renamed into our networks."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from MedFusionLib.errors import WeightsError

Network = TypeVar("Network", bound=nn.Module)

_COUNTER = "num_batches_tracked"

Rules = Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]
"""How our parameters' names read in the authors' files: regular expressions, applied in turn."""


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a ``.pth`` file, as tensors only: no code in it can run.

    Raises:
        WeightsError: if there is no such file, or it holds anything but named tensors.
    """
    state = read_containers(path)
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"The checkpoint {path} holds no state dict of named tensors.")
    return dict(state)


def read_containers(path: Path) -> object:
    """Read a ``.pth`` file of tensors in plain containers; errors as ``read_checkpoint``."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WeightsError(f"There is no file {path}.") from error
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise WeightsError(
            f"The checkpoint {path} cannot be read safely: it must hold tensors and nothing else. "
            "Save only the network's state_dict() with torch.save."
        ) from error


def author_key(key: str, rules: Rules) -> str:
    """The name under which the authors' files hold one of our parameters."""
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key


def load_renamed(network: nn.Module, state: Mapping[str, Tensor], rules: Rules) -> None:
    """Copy a state under the authors' names into one of our networks.

    Raises:
        WeightsError: naming keys that are missing, superfluous or of another shape.
    """
    expected = network.state_dict()
    author_keys = {key: author_key(key, rules) for key in expected}
    refuse_misfits({author_keys[key]: tensor.shape for key, tensor in expected.items()}, state)
    network.load_state_dict({key: state[author] for key, author in author_keys.items()})


def refuse_misfits(expected: Mapping[str, torch.Size], state: Mapping[str, Tensor]) -> None:
    """Raise ``WeightsError`` unless ``state`` has exactly the expected names and shapes."""
    complaints = (
        _complaint("lacks", expected.keys() - state.keys()),
        _complaint("has the unknown", state.keys() - expected.keys()),
        _complaint(
            "has another shape at",
            (
                f"{key} {tuple(state[key].shape)} instead of {tuple(expected[key])}"
                for key in expected.keys() & state.keys()
                if state[key].shape != expected[key]
            ),
        ),
    )
    if any(complaints):
        raise WeightsError(
            f"The weights do not fit the network: the file {'; it '.join(filter(None, complaints))}"
            ". Check that the file and the configuration belong together."
        )


def _complaint(verb: str, keys: Iterable[str]) -> str:
    named = sorted(keys)
    rest = f" and {len(named) - 5} more" if len(named) > 5 else ""
    return f"{verb} {', '.join(named[:5])}{rest}" if named else ""


def shape_in(state: Mapping[str, Tensor], key: str, network: str) -> tuple[int, ...]:
    """Shape of one of the tensors of the authors of ``network``; ``WeightsError`` without it."""
    if key not in state:
        raise WeightsError(
            f"This is no complete checkpoint of {network}'s authors: it lacks {key} (and maybe "
            "more)."
        )
    return tuple(state[key].shape)


def filled_renamed(network: Network, state: Mapping[str, Tensor], rules: Rules) -> Network:
    """As :func:`filled`, from tensors under the authors' names."""
    expected = stored_shapes(network)
    own_keys = {author_key(key, rules): key for key in expected}
    refuse_misfits({author: expected[own] for author, own in own_keys.items()}, state)
    return filled(network, {own_keys[key]: value for key, value in state.items()})


def stored_shapes(network: nn.Module) -> dict[str, torch.Size]:
    """Names and shapes of what a weight file holds: all but the counters of batches."""
    state = network.state_dict()
    return {key: value.shape for key, value in state.items() if not key.endswith(_COUNTER)}


def stored_tensors(network: nn.Module) -> dict[str, Tensor]:
    """What a weight file holds of a network."""
    state = network.state_dict()
    return {key: state[key] for key in stored_shapes(network)}


def filled(network: Network, state: Mapping[str, Tensor]) -> Network:
    """A network in evaluation mode, float32, from stored tensors under our names.

    ``network`` may lie on the device "meta", without memory: drawing random numbers only to
    overwrite them takes seconds for a large one. Raises ``WeightsError`` naming what is missing,
    unexpected or of another shape.
    """
    refuse_misfits(stored_shapes(network), state)
    counters = {key: torch.tensor(0) for key in network.state_dict() if key.endswith(_COUNTER)}
    weights = {key: tensor.detach().clone().float() for key, tensor in state.items()}
    network.load_state_dict(weights | counters, assign=True)
    # Assigned tensors carry their own flag, and loaded ones need no gradient.
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    return network.eval()
