"""One fused slice at once, while the whole volume waits.

What does not change from slice to slice (alignment, windows, the method's network) is prepared
once; a slice then costs only its own fusion, and equals that slice of the whole fused volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from MedFusionLib.computing.device import choose_device, computed_precision
from MedFusionLib.computing.stack_fusion import StackFuser
from MedFusionLib.errors import GeometryError, InputError
from MedFusionLib.fusion import checked_volumes, for_each
from MedFusionLib.methods import method_card
from MedFusionLib.methods.several import for_several
from MedFusionLib.registration import overlap as alignments
from MedFusionLib.slices import intensity
from MedFusionLib.slices.painting import (
    Layer,
    SlicePainter,
    brightest_channel,
    choose_colour_maps,
    empty_result,
)
from MedFusionLib.slices.stack import nearest_axes, slice_stack
from MedFusionLib.volumes.volume import Volume

if TYPE_CHECKING:
    import SimpleITK

    from MedFusionLib.methods import FusionMethod

_PATIENT_AXIS = {"sagittal": 0, "coronal": 1, "axial": 2}


class SlicePreview:
    """Fuses single slices of volumes that lie on each other.

    ``others`` are the volumes beside the reference; each of the ``transforms`` maps points of the
    reference's space to that of one of them (LPS, mm). ``options`` are those of
    ``MedFusionLib.fusion.fuse`` that change a slice: device (on which ``method`` was built),
    colour, plane, window_reference, window_other, precision, allow_nonfinite, force.
    """

    def __init__(
        self,
        reference: Volume,
        others: Sequence[Volume],
        transforms: Sequence[SimpleITK.Transform | None],
        method: FusionMethod,
        options: dict[str, Any],
    ) -> None:
        if method_card(method.name).sees_volumes:
            raise InputError(
                f"The method '{method.name}' fuses whole volumes and has no single slice to show. "
                "Preview another method, or fuse the volume."
            )
        force = bool(options.get("force"))
        self.reference, laid = checked_volumes(
            [reference, *others], bool(options.get("allow_nonfinite")), force, []
        )
        self._plane = options.get("plane", "axial")
        device = choose_device(options.get("device", "auto")).device
        shown = Layer(
            self.reference,
            intensity.choose_window(self.reference, options.get("window_reference")),
        )
        windows = [
            intensity.choose_window(brightest_channel(one), wanted)
            for one, wanted in zip(
                laid, for_each(options.get("window_other"), laid, "window"), strict=True
            )
        ]
        colours = for_each(options.get("colour", "auto"), laid, "colour")
        layers = [
            Layer(self._on_grid(one, transform, force), window, colour_map)
            for one, transform, window, colour_map in zip(
                laid, transforms, windows, choose_colour_maps(laid, colours), strict=True
            )
        ]
        painter = SlicePainter(shown, layers, self._plane)
        offered = method_card(method.name).reduced_precisions
        if len(laid) > 1:
            method = for_several(method)
        # Zeros take no memory before they are written, so this costs one slice at a time.
        self._fused = empty_result(self.reference, painter.in_colour)
        stack = slice_stack(self._fused, self.reference.direction_matrix, self._plane)
        precision = computed_precision(options.get("precision", "auto"), device, offered)
        self._stack_fuser = partial(StackFuser, method, painter, stack, device, precision)
        self._places = _places_of_slices(self.reference, self._plane)

    def _on_grid(self, other: Volume, transform: SimpleITK.Transform | None, force: bool) -> Volume:
        overlap = alignments.describe_overlap(self.reference, other, transform)
        if overlap.kind == alignments.NO_OVERLAP or not force:
            alignments.refuse_bad_overlap(overlap)
        return alignments.resample(other, self.reference, transform)

    def at(self, point: tuple[float, float, float]) -> tuple[Volume, int]:
        """The fused slice through ``point`` (LPS, mm) and its place in the stack.

        The slice is a volume of one layer of the reference's voxels. Raises ``GeometryError`` for
        a point outside the reference.
        """
        axis = nearest_axes(self.reference.direction_matrix)[_PATIENT_AXIS[self._plane]]
        voxel = np.linalg.solve(self.reference.affine_lps, [*point, 1.0])[axis]
        place = round(float(voxel))
        if not 0 <= place < self.reference.grid_shape[2 - axis]:
            raise GeometryError("The slice in the view lies outside the reference volume.")
        index = int(np.flatnonzero(self._places == place)[0])
        with self._stack_fuser() as fuse:
            fuse([index])
        return self._layer(axis, place), index

    def _layer(self, axis: int, place: int) -> Volume:
        layer = [slice(None)] * 3
        layer[2 - axis] = slice(place, place + 1)
        first = np.zeros(4)
        first[[axis, 3]] = place, 1
        origin = self.reference.affine_lps @ first
        return replace(
            self.reference,
            voxels=self._fused[tuple(layer)],
            origin=(float(origin[0]), float(origin[1]), float(origin[2])),
            modality="unknown",
            metadata={},
        )


def _places_of_slices(volume: Volume, plane: str) -> np.ndarray:
    """Voxel index, along the plane's array axis, of each slice of the stack."""
    axis = 2 - nearest_axes(volume.direction_matrix)[_PATIENT_AXIS[plane]]
    shape = [1, 1, 1]
    shape[axis] = volume.grid_shape[axis]
    places = np.broadcast_to(np.arange(shape[axis]).reshape(shape), volume.grid_shape)
    return slice_stack(places, volume.direction_matrix, plane)[:, 0, 0]
