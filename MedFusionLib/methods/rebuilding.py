"""Builds a method once more on another device, when the first one's memory does not suffice."""

from __future__ import annotations

from collections.abc import Mapping
from types import FunctionType
from typing import TYPE_CHECKING, Any

from MedFusionLib.computing.slice_fusion import FusionMethod
from MedFusionLib.errors import DeviceError
from MedFusionLib.methods import create_method

if TYPE_CHECKING:
    import torch

    from MedFusionLib.computing.stack_fusion import Rebuild


def rebuild_of(method: FusionMethod, options: Mapping[str, Any] | None) -> Rebuild:
    """How to build ``method``, which the registry made with ``options``, on another device.

    The function raises ``DeviceError`` if the registry makes another method from them.
    """
    kind, traits = type(method), _traits(method)
    name = method.name

    def rebuild(device: torch.device) -> FusionMethod:
        again = create_method(name, device, **dict(options or {}))
        if type(again) is not kind or _traits(again) != traits:
            raise DeviceError(
                "The device's memory does not suffice for a single slice, and the given method "
                f"'{name}' cannot be built again on the CPU. Choose the CPU from the start."
            )
        return again

    return rebuild


def _traits(method: FusionMethod) -> dict[str, Any]:
    """What tells two methods of a class apart: seed, digest of the weights, chosen rules."""
    plain = (str, int, float, bool, tuple, FunctionType)
    return {name: value for name, value in vars(method).items() if isinstance(value, plain)}
