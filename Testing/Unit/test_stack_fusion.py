"""Stacks fused batch by batch, with reading ahead, a writing thread and memory that runs out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from MedFusionLib.computing.device import run_in_batches
from MedFusionLib.computing.slice_fusion import fuse_slices
from MedFusionLib.computing.stack_fusion import StackFuser
from MedFusionLib.errors import Cancelled, DeviceError
from MedFusionLib.fusion import fuse
from MedFusionLib.methods import METHODS, create_method
from MedFusionLib.methods.rebuilding import rebuild_of
from MedFusionLib.slices.intensity import Window
from MedFusionLib.slices.painting import Layer, SlicePainter, choose_colour_map
from MedFusionLib.volumes.volume import Volume

CPU, META = torch.device("cpu"), torch.device("meta")
UNIT = Window(0.0, 1.0, "unit")


def cube(seed: int, shape=(9, 24, 20), modality="MR") -> Volume:
    voxels = np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)
    return Volume(voxels, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), modality=modality)


def fuser_of(method, output, device=CPU, rebuild=None, colour_map=None) -> StackFuser:
    painter = SlicePainter(Layer(cube(0), UNIT), [Layer(cube(1), UNIT, colour_map)], "axial")
    return StackFuser(method, painter, output, device, "float32", rebuild)


def test_the_stack_is_the_average_of_each_slice_by_numpy():
    output = np.zeros((9, 24, 20), np.int16)
    with fuser_of(create_method("average"), output) as fuser:
        list(run_in_batches(fuser, 9, 2))
    expected = (cube(0).voxels + cube(1).voxels) / 2 * 4095
    assert np.abs(output - expected).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("modality", ["CT", "PET"])
@pytest.mark.parametrize("batch_size", [None, 1, 2, 4, 9])
def test_reading_ahead_and_writing_behind_change_not_a_bit(modality, batch_size):
    """Against the slices fused and painted one by one, without thread or batch."""
    reference, other = cube(0), cube(1, modality=modality)
    found = fuse(
        reference, other, "pyramid", "none", batch_size=batch_size,
        window_reference=(0.0, 1.0), window_other=(0.0, 1.0), device="cpu",
    ).volume.voxels  # fmt: skip
    colour_map = choose_colour_map(other, "auto")
    assert (colour_map is None) == (modality == "CT")
    painter = SlicePainter(Layer(reference, UNIT), [Layer(other, UNIT, colour_map)], "axial")
    method = create_method("pyramid")
    for index in range(len(found)):
        [shown] = painter.other_units([index])
        light = shown @ np.array([0.299, 0.587, 0.114], np.float32) if shown.ndim == 4 else shown
        units = [
            torch.from_numpy(unit)[:, None] for unit in (painter.reference_unit([index]), light)
        ]
        fused = fuse_slices(method, *units, [index])[:, 0].numpy()
        if modality == "CT":
            assert np.array_equal(painter.voxels(fused, [shown])[0], found[index])
        else:
            # The luminance above is another order of summation than the library's.
            difference = painter.voxels(fused, [shown])[0].astype(int) - found[index]
            assert np.abs(difference).max() <= 1


class NotANumber:
    name, stride = "average", 1

    def fuse(self, reference, other, slice_indices=None):
        return torch.full_like(reference, float("nan"))


def test_values_that_are_no_numbers_are_refused_and_not_written():
    with pytest.raises(DeviceError, match="slice 1 values that are no numbers"):
        fuse(cube(0), cube(1, modality="CT"), NotANumber(), device="cpu")


class FullDisk(np.ndarray):
    """An output that cannot be written behind slice 3."""

    def __setitem__(self, index, value):
        if index > 3:
            raise OSError("no space")
        super().__setitem__(index, value)


@pytest.mark.parametrize("batch_size", [1, 9])
def test_an_error_of_the_writing_thread_reaches_the_caller(batch_size):
    output = np.zeros((9, 24, 20), np.int16).view(FullDisk)
    with (
        pytest.raises(OSError, match="no space"),
        fuser_of(create_method("average"), output) as fuser,
    ):
        list(run_in_batches(fuser, 9, batch_size))


def test_no_thread_outlives_a_run_that_was_cancelled_or_failed():
    before = threading.active_count()
    with pytest.raises(Cancelled):
        fuse(cube(0), cube(1, modality="CT"), "average", cancel=lambda: True)
    with pytest.raises(DeviceError):
        fuse(cube(0), cube(1, modality="CT"), NotANumber(), device="cpu")
    assert threading.active_count() == before


class OnlyOnTheCPU:
    """Averages; on any other device it raises torch's own error for a full GPU."""

    name, stride = "average", 1

    def fuse(self, reference, other, slice_indices=None):
        if reference.device != CPU:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return (reference + other) / 2


def test_a_device_without_memory_for_a_slice_hands_the_rest_to_the_cpu_with_a_warning():
    """The device is torch's `meta`, which is not the CPU and truly takes the slices, but holds no
    values. Not shown: that CUDA's allocator raises this error, and slices that a GPU had fused
    before it was full.
    """
    output = np.zeros((9, 24, 20), np.int16)
    built = []

    def rebuild(device):
        built.append(device)
        return OnlyOnTheCPU()

    with fuser_of(OnlyOnTheCPU(), output, META, rebuild) as fuser:
        assert list(run_in_batches(fuser, 9, 4))[-1] == 9
    assert built == [CPU]
    assert len(fuser.warnings) == 1
    assert "From slice 1 on" in fuser.warnings[0] and "CPU" in fuser.warnings[0]
    expected = (cube(0).voxels + cube(1).voxels) / 2 * 4095
    assert np.abs(output - expected).max() <= 0.5 + 1e-3


class NeverEnough:
    name, stride = "average", 1

    def fuse(self, reference, other, slice_indices=None):
        return torch.empty(2**58, dtype=torch.uint8)


def test_a_cpu_without_memory_for_a_slice_gives_a_sentence():
    with pytest.raises(DeviceError, match="memory of cpu does not suffice for a single slice"):
        fuse(cube(0), cube(1, modality="CT"), NeverEnough(), device="cpu")


@pytest.mark.parametrize("name", [name for name in METHODS if METHODS[name].kind == "classical"])
def test_a_method_is_built_again_with_the_options_it_was_built_with(name):
    method = create_method(name)
    assert type(rebuild_of(method, None)(CPU)) is type(method)


def test_a_method_whose_options_are_not_known_is_not_replaced_by_another():
    rebuild = rebuild_of(create_method("pyramid", base="average"), None)
    with pytest.raises(DeviceError, match="cannot be built again"):
        rebuild(CPU)
    with pytest.raises(DeviceError, match="cannot be built again"):
        rebuild_of(NeverEnough(), None)(CPU)


LIMITED = Path(__file__).with_name("limited_memory.py")


def test_torch_running_out_of_memory_for_real_changes_the_batches_and_not_the_result():
    """A process whose address space is limited, so that torch's own allocator fails."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        # What is freed goes back at once, so that the limit is one of what is really held.
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_MMAP_THRESHOLD_": "65536",
    }
    ran = subprocess.run(
        [sys.executable, LIMITED], capture_output=True, text=True, env=environment, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert "can't allocate memory" in found["refused"]
    assert found["unlimited_batches"] == [found["slices"]]
    assert len(found["limited_batches"]) > 1 and sum(found["limited_batches"]) == found["slices"]
    assert found["equal"]
