"""Volumes fused in overlapping windows: their weights, their seams, memory, cancelling."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference

from MedFusionLib.computing.plane_fusion import PlaneSettings
from MedFusionLib.computing.volume_fusion import (
    MultiVolumeFusionMethod,
    VolumeFusionMethod,
    WindowFuser,
    fuse_in_windows,
    spans_of,
)
from MedFusionLib.errors import Cancelled, DeviceError, InputError
from MedFusionLib.fusion import fuse
from MedFusionLib.methods.several import for_several
from MedFusionLib.preview import SlicePreview
from MedFusionLib.slices.intensity import Window
from MedFusionLib.slices.painting import Layer, SlicePainter
from MedFusionLib.uncertainty import fuse_with_uncertainty
from MedFusionLib.volumes.volume import Volume

UNIT = Window(0.0, 1.0, "given")
WHOLE = {"window_reference": (0.0, 1.0), "window_other": (0.0, 1.0), "device": "cpu"}
CPU = torch.device("cpu")


def noise(seed: int, modality: str, shape: tuple[int, int, int] = (20, 24, 40)) -> Volume:
    voxels = np.random.default_rng(seed).uniform(0.1, 1, shape).astype(np.float32)
    voxels[:, :5] = 0
    return Volume(voxels, (1.0, 1.0, 2.0), (5.0, -7.0, 11.0), modality=modality)


class Brighter:
    """The brighter source at each voxel, whatever the window."""

    name, stride, window = "dc2", 8, (16, 16, 16)

    def fuse(self, reference, other, slice_indices=None):
        return torch.maximum(reference, other)

    def fuse_volume(self, reference, other):
        return torch.maximum(reference, other)


class Centred(Brighter):
    """A method whose result depends on all of its window."""

    def fuse_volume(self, reference, other):
        return (reference - reference.mean() + 0.5).clamp(0, 1)


def in_windows(method, volumes, **changed) -> np.ndarray:
    settings = PlaneSettings(CPU, "float32", lambda device: method, None, None, None)
    layers = [Layer(volume, UNIT) for volume in volumes]
    return fuse_in_windows(
        ["axial"], [method], layers[0], layers[1:], replace(settings, **changed)
    )[0]


@pytest.mark.parametrize("length", [1, 7, 15, 16, 17, 30, 94, 189])
def test_the_shares_of_all_windows_sum_to_one_at_every_voxel(length: int) -> None:
    total = np.zeros(length)
    spans = spans_of(length, 32, 8)
    for span in spans:
        assert span.start % 8 == 0 and 0 < span.stop - span.start <= 32
        total[span.voxels] += span.shares
    assert np.allclose(total, 1, atol=1e-6)
    overlaps = [one.stop - two.start for one, two in pairwise(spans)]
    assert all(overlap >= 16 for overlap in overlaps)


def test_a_method_that_looks_at_no_neighbour_gives_the_same_in_windows_as_at_once() -> None:
    reference, other = noise(0, "MR"), noise(1, "CT")
    expected = np.rint(np.maximum(reference.voxels, other.voxels) * 4095)
    fused = fuse(reference, other, Brighter(), **WHOLE).volume
    assert np.abs(fused.voxels - expected).max() <= 1
    assert fused.voxels[:, :5].max() == 0


def test_windows_are_blended_as_monai_blends_them() -> None:
    """Of sides at which its windows, whose last one is moved, begin where ours do.

    It lifts all weights to 0.001 at least, ours stay Gaussian: so they are given.
    """
    along = torch.exp(-0.5 * ((torch.arange(16) - 7.5) / 2) ** 2)
    shape = (24, 32, 40)
    reference, other = noise(0, "MR", shape), noise(1, "CT", shape)
    expected = sliding_window_inference(
        torch.from_numpy(reference.voxels)[None, None],
        Centred.window,
        1,
        lambda window: Centred().fuse_volume(window, window),
        overlap=0.5,
        mode="gaussian",
        roi_weight_map=along[:, None, None] * along[:, None] * along,
    )[0, 0].numpy()
    shown = np.maximum(reference.voxels, other.voxels) > 0
    found = in_windows(Centred(), [reference, other])
    assert np.abs(found - np.rint(expected * shown * 4095)).max() <= 1


def test_a_volume_smaller_than_a_window_is_grown_to_the_stride_and_cut_again() -> None:
    seen = []

    class Watched(Brighter):
        def fuse_volume(self, reference, other):
            seen.append(tuple(reference.shape))
            return super().fuse_volume(reference, other)

    pair = [noise(0, "MR", (3, 9, 40)), noise(1, "CT", (3, 9, 40))]
    assert in_windows(Watched(), pair).shape == (3, 9, 40)
    assert set(seen) == {(1, 1, 8, 16, 16)}


def test_no_more_slices_than_a_window_has_are_held() -> None:
    pair = [noise(0, "MR", (70, 20, 20)), noise(1, "CT", (70, 20, 20))]
    painter = SlicePainter(Layer(pair[0], UNIT), [Layer(pair[1], UNIT)], "axial")
    output = np.zeros((70, 20, 20), np.int16)
    with WindowFuser(Brighter(), painter, output, CPU, "float32") as fuser:
        for index in range(len(fuser.windows)):
            fuser([index])
            held = [*fuser._sources, *fuser._sums]
            assert max(len(array) for array in held) <= 16
        fuser.finish()
    expected = np.rint(np.maximum(*(volume.voxels for volume in pair)) * 4095)
    assert np.abs(output - expected).max() <= 1


def test_a_colour_map_is_painted_as_for_methods_of_slices() -> None:
    reference, other = noise(0, "MR"), noise(1, "PET")
    seen = fuse(reference, other, Brighter(), **WHOLE).volume
    expected = fuse(reference, other, "maximum", **WHOLE).volume
    assert seen.voxels.dtype == np.uint8
    assert np.abs(seen.voxels.astype(int) - expected.voxels).max() <= 1


def test_three_volumes_are_joined_by_the_rule_of_methods_of_two_in_any_order() -> None:
    class BrighterSlices:
        name, stride = "average", 8
        fuse = Brighter.fuse

    shape = (20, 32, 40)  # so that slices need no padding
    three = [noise(0, "MR", shape), noise(1, "CT", shape), noise(2, "MR", shape)]
    method = for_several(Brighter())
    assert isinstance(method, MultiVolumeFusionMethod)
    options = {**WHOLE, "window_other": [(0.0, 1.0)] * 2}
    expected = fuse(three, method=BrighterSlices(), **options).volume.voxels
    for others in (three[1:], three[:0:-1]):
        fused = fuse([three[0], *others], method=Brighter(), **options).volume.voxels
        assert np.abs(fused - expected).max() <= 1


def test_cancelling_is_asked_before_each_window_and_progress_told_after_it() -> None:
    told = []
    with pytest.raises(Cancelled):
        in_windows(
            Brighter(),
            [noise(0, "MR"), noise(1, "CT")],
            progress=lambda done, total, text: told.append((done, total, text)),
            cancel=lambda: len(told) == 3,
        )
    assert told[-1] == (3, 2 * 2 * 4, "Fusing windows")


def test_too_little_memory_for_a_window_is_told() -> None:
    class Large(Brighter):
        def fuse_volume(self, reference, other):
            raise MemoryError

    with pytest.raises(DeviceError, match="memory of cpu does not suffice"):
        in_windows(Large(), [noise(0, "MR"), noise(1, "CT")])


def test_values_that_are_no_numbers_are_refused() -> None:
    class Broken(Brighter):
        def fuse_volume(self, reference, other):
            return reference * torch.nan

    with pytest.raises(DeviceError, match="slice 1 values that are no numbers"):
        in_windows(Broken(), [noise(0, "MR"), noise(1, "CT")])


def test_what_a_method_of_volumes_cannot_do_is_refused_with_a_sentence() -> None:
    pair = noise(0, "MR"), noise(1, "CT")
    assert isinstance(Brighter(), VolumeFusionMethod)
    with pytest.raises(InputError, match="sees all three planes at once"):
        fuse(*pair, Brighter(), planes="three", **WHOLE)
    with pytest.raises(InputError, match="fuses whole volumes and has no single slice"):
        SlicePreview(*pair, None, Brighter(), dict(WHOLE))
    with pytest.raises(InputError, match="draws no noise"):
        fuse_with_uncertainty(*pair, method="dc2")
