"""The volumes of a fusion behind the second, as a scene names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from MedFusionLib.errors import InputError
from MedFusionLib.slicer_app.scene.node_checks import namedNode, refuseWhatIsNoTransform
from MedFusionLib.slicer_app.translation import _


@dataclass(frozen=True)
class FurtherSource:
    """One further volume: what it is (None: found out), how it is shown, and how it is laid.

    ``window`` may also be ``displayed``; ``alignment`` is none, resample, rigid, affine or
    deformable, and ``transformNode`` takes the volume to the reference, as if it were applied to
    it. ``colour`` is that of ``MedFusionLib.fusion.fuse``.
    """

    node: Any
    modality: str | None = None
    window: Any = None
    alignment: str = "resample"
    transformNode: Any = None
    colour: str = "auto"


def furtherSource(value: Any, alignment: str) -> FurtherSource:
    """What the console gives for a further volume: a node, a name, or a mapping with ``node`` and
    settings of `FurtherSource`. ``alignment`` serves where it names none.

    Raises ``InputError`` for anything else.
    """
    if isinstance(value, FurtherSource):
        return value
    given = dict(value) if isinstance(value, Mapping) else {"node": value}
    known = [field.name for field in fields(FurtherSource)]
    unknown = [name for name in given if name not in known]
    if unknown or "node" not in given:
        raise InputError(
            _("A further volume is a node, or a dictionary with: {known}.").format(
                known=", ".join(known)
            )
        )
    if given.get("transformNode") is not None:
        refuseWhatIsNoTransform(given["transformNode"])
    return FurtherSource(**{"alignment": alignment, **given, "node": namedNode(given["node"])})
