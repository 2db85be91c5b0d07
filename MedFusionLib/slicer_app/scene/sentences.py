"""Refusals that the panel's rules and the run share, without Slicer."""

from __future__ import annotations

from MedFusionLib.slicer_app.translation import _


def bentText() -> str:
    """Why no registration begins where a non-linear transform lies between the volumes."""
    return _(
        "A non-linear transform lies between the volumes, and a registration can start from a "
        "rigid or affine place only. Harden it on a copy of the volume in the module Transforms "
        "and choose the copy, or take the positions as they are."
    )


def sameVolumeText(name: str) -> str:
    """Why a volume that is chosen already cannot be a further one."""
    return _("The volume '{name}' is chosen twice. Choose a different one for each place.").format(
        name=name
    )
