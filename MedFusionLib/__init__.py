"""MedFusion: fuses two medical volumes slice by slice.

The public names are loaded on first use, so that ``import MedFusionLib`` costs milliseconds and
pulls in neither torch nor SimpleITK.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from MedFusionLib.version import __version__

if TYPE_CHECKING:
    from MedFusionLib.fusion import FusionResult, fuse
    from MedFusionLib.methods import method_names
    from MedFusionLib.registration.align import align
    from MedFusionLib.synthesis import synthesise
    from MedFusionLib.volumes.files import read_volume, write_volume
    from MedFusionLib.volumes.volume import Volume

__all__ = [
    "FusionResult",
    "Volume",
    "__version__",
    "align",
    "fuse",
    "method_names",
    "read_volume",
    "synthesise",
    "write_volume",
]

_HOME = {
    "FusionResult": "fusion",
    "Volume": "volumes.volume",
    "align": "registration.align",
    "fuse": "fusion",
    "method_names": "methods",
    "read_volume": "volumes.files",
    "synthesise": "synthesis",
    "write_volume": "volumes.files",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'MedFusionLib' has no attribute '{name}'")
    return getattr(importlib.import_module(f"MedFusionLib.{_HOME[name]}"), name)
