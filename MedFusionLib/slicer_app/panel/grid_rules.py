"""The rules for finer grids and for three planes, and what they cost, told before the run.

Pure functions of plain values, without Qt and without a scene.
"""

from __future__ import annotations

from math import prod

import numpy as np

from MedFusionLib.errors import InputError
from MedFusionLib.methods import METHODS
from MedFusionLib.refining.grids import FinerGrid, finer_grid, millimetres
from MedFusionLib.slicer_app.choices import Grid, Plane, Planes, Refinement
from MedFusionLib.slicer_app.panel.facts import Inputs, Options
from MedFusionLib.slicer_app.scene.volume_facts import GridFacts, VolumeFacts
from MedFusionLib.slicer_app.translation import _
from MedFusionLib.volumes.volume import Volume

_PATIENT_AXIS = {Plane.SAGITTAL: 0, Plane.CORONAL: 1, Plane.AXIAL: 2}


def seesVolumes(method: str) -> bool:
    """Whether a method sees a volume in all planes at once, so that none can be chosen for it."""
    card = METHODS.get(method)
    return card is not None and card.sees_volumes


def usedPlanes(method: str, planes: Planes) -> Planes:
    """Along how many planes is fused: what is chosen, where the method leaves a choice."""
    return Planes.ONE if seesVolumes(method) else planes


def usedRefinement(grid: Grid, refinement: Refinement) -> Refinement:
    """What fills the grid: what is chosen, where there is anything to fill."""
    return Refinement.INTERPOLATION if grid is Grid.REFERENCE else refinement


def whatGridLacks(inputs: Inputs, options: Options) -> str | None:
    """Why nothing can be fused on the chosen grid, in the library's own words; None if it can."""
    try:
        grid = _finerGrid(inputs, options)
        if grid is not None and options.refinement is Refinement.NETWORK:
            _refuseUnlearned(inputs.reference, grid)
    except InputError as error:
        return str(error)
    return None


def _refuseUnlearned(reference: VolumeFacts | None, grid: FinerGrid) -> None:
    from MedFusionLib.refining.drawing import refuse_unlearned

    assert reference is not None
    refuse_unlearned(reference.modality, grid)


def _finerGrid(inputs: Inputs, options: Options) -> FinerGrid | None:
    """The chosen finer grid; None for the measured one, and while volumes are missing."""
    chosen = (inputs.reference, inputs.other, *(one.facts for one in inputs.further))
    known = [facts.grid for facts in chosen if facts is not None and facts.grid is not None]
    if options.grid is Grid.REFERENCE or len(known) < len(chosen):
        return None
    reference, *others = (_asVolume(grid) for grid in known)
    return finer_grid(options.grid.value, reference, others)


def _asVolume(grid: GridFacts) -> Volume:
    """A volume of this grid that holds no voxel of its own."""
    voxels = np.broadcast_to(np.float32(0), grid.shape)
    return Volume(voxels, grid.spacing, (0.0, 0.0, 0.0))


def gridText(inputs: Inputs, options: Options) -> str:
    """How many voxels and slices come out, where it is more than was measured; else nothing."""
    reference = inputs.reference
    if reference is None or reference.grid is None or whatGridLacks(inputs, options) is not None:
        return ""
    finer = _finerGrid(inputs, options)
    shape = reference.grid.shape if finer is None else finer.shape
    parts = []
    if finer is not None:
        parts.append(
            _(
                "{size} voxels of {steps} instead of {measured}: {times} times as many. What lies "
                "between measured slices is invented."
            ).format(
                size=_sizeText(shape),
                steps=millimetres(finer.spacing),
                measured=_sizeText(reference.grid.shape),
                times=f"{prod(shape) / prod(reference.grid.shape):.1f}",
            )
        )
    if finer is not None or usedPlanes(options.method, options.planes) is Planes.THREE:
        parts.append(_slicesText(reference.grid, shape, options))
    return " ".join(parts)


def _slicesText(measured: GridFacts, shape: tuple[int, int, int], options: Options) -> str:
    before = _slicesAlong(measured, measured.shape, options.plane)
    if usedPlanes(options.method, options.planes) is Planes.ONE:
        count = _slicesAlong(measured, shape, options.plane)
        if count == before:
            return _("{count} slices, as many as before.").format(count=count)
        return _("{count} slices instead of {before}.").format(count=count, before=before)
    counts = {plane: _slicesAlong(measured, shape, plane) for plane in Plane}
    return _(
        "{count} slices instead of {before}: {axial} axial, {coronal} coronal, {sagittal} sagittal."
    ).format(
        count=sum(counts.values()),
        before=before,
        **{plane.value: count for plane, count in counts.items()},
    )


def _slicesAlong(grid: GridFacts, shape: tuple[int, int, int], plane: Plane) -> int:
    return shape[2 - grid.axes[_PATIENT_AXIS[plane]]]


def _sizeText(shape: tuple[int, int, int]) -> str:
    return "×".join(str(count) for count in reversed(shape))


def planesToolTip(method: str) -> str:
    """What a choice of the planes means, or why there is none."""
    if seesVolumes(method):
        return _("This method sees all three planes at once.")
    return _(
        "Fused along all three planes, the mean of which has no streaks across slices, it takes "
        "three times as long."
    )


def refinementToolTip(grid: Grid) -> str:
    """What a choice of the refinement means, or why there is none."""
    if grid is Grid.REFERENCE:
        return _("Choose a finer grid first: on the measured one there is nothing to fill.")
    return _(
        "What fills a finer grid between the measured slices. The network serves MR alone, and "
        "gains nothing on slices that were measured thick."
    )
