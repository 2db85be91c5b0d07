"""Brings the reference onto the grid on which is fused, and says what that invented."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from MedFusionLib.errors import InputError
from MedFusionLib.laying import LaidOn
from MedFusionLib.refining.grids import (
    LEAST_GAIN,
    FinerGrid,
    finer_grid,
    millimetres,
    refuse_unknown_grid,
)
from MedFusionLib.refining.interpolation import interpolated
from MedFusionLib.refining.invented import Invented, invented
from MedFusionLib.registration.overlap import resample
from MedFusionLib.slices.intensity import Window
from MedFusionLib.volumes.volume import Volume

if TYPE_CHECKING:
    import torch

REFINEMENTS = ("interpolation", "network")


@dataclass(frozen=True)
class Refined:
    """The reference on the grid on which is fused."""

    reference: Volume
    grid: FinerGrid | None = None
    """None where it is the reference's own; then nothing is invented."""
    invented: Invented | None = None
    report: dict[str, Any] | None = None

    def laid(self, placed: LaidOn, other: Volume) -> LaidOn:
        """What `lay` placed on the measured reference, on this grid, from its own voxels."""
        if self.grid is None:
            return placed
        return replace(placed, other=resample(other, self.reference, placed.transform))


def refuse_unknown(grid: str, refinement: str) -> None:
    """Raise ``InputError`` for a grid or a refinement that there is not, or that do not fit."""
    refuse_unknown_grid(grid)
    if refinement not in REFINEMENTS:
        raise InputError(
            f"There is no refinement '{refinement}'. Choose one of: {', '.join(REFINEMENTS)}."
        )
    if grid == "reference" and refinement == "network":
        raise InputError(
            "The network refines onto a finer grid: choose the grid 'isotropic' or 'finest' "
            "with it."
        )


def refine(
    reference: Volume,
    others: Sequence[Volume],
    window: Window,
    grid: str,
    refinement: str,
    device: torch.device,
    warnings: list[str],
    cancel: Callable[[], bool] | None = None,
) -> Refined:
    """The reference on a grid of ``GRIDS``, by one of ``REFINEMENTS``.

    ``window`` is the reference's. What a user should know is appended to ``warnings``. Raises
    ``InputError`` for a grid that gains nothing or is too large, and for volumes that the network
    has not learned.
    """
    refuse_unknown(grid, refinement)
    if grid == "reference":
        return Refined(reference)
    finer = finer_grid(grid, reference, others)
    smooth = interpolated(reference.voxels, finer)
    voxels, drawn, sha256 = smooth, None, None
    if refinement == "network":
        voxels, sha256 = _by_network(reference, finer, window, device, cancel)
        drawn = voxels - smooth
    volume = replace(reference, voxels=voxels, spacing=finer.spacing)
    what = invented(volume, finer, window, drawn)
    report = {
        "name": grid,
        "refinement": refinement,
        "spacing": list(finer.spacing),
        "shape": list(finer.shape),
        "weights_sha256": sha256,
        "text": f"{grid}, {millimetres(finer.spacing)}, by {refinement} from "
        f"{millimetres(reference.spacing)}",
        **what.figures,
    }
    warnings += [what.sentence, *_thick_others(others, finer)]
    return Refined(volume, finer, what, report)


def _by_network(
    reference: Volume,
    grid: FinerGrid,
    window: Window,
    device: torch.device,
    cancel: Callable[[], bool] | None,
) -> tuple[Any, str]:
    from MedFusionLib.refining.drawing import refined, refuse_unlearned
    from MedFusionLib.refining.weight_file import load_network

    refuse_unlearned(reference.modality, grid)
    network, sha256 = load_network()
    return refined(reference.voxels, grid, window, network, device, cancel), sha256


def _thick_others(others: Sequence[Volume], grid: FinerGrid) -> list[str]:
    """A sentence on each of the others whose voxels lie farther apart than the grid's."""
    return [
        f"The {'other volume' if one.modality == 'unknown' else one.modality} has voxels of "
        f"{millimetres(one.spacing)}: between them it was interpolated linearly."
        for one in others
        if max(one.spacing) > LEAST_GAIN * max(grid.spacing)
    ]
