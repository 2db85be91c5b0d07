"""Batches, cancelling and running out of memory."""

from __future__ import annotations

import pytest
import torch

from MedFusionLib.device import choose_device, choose_precision, run_in_batches
from MedFusionLib.errors import Cancelled, DeviceError

CPU = torch.device("cpu")


def test_every_slice_is_run_once_and_in_order():
    seen: list[int] = []
    done = list(run_in_batches(seen.extend, 11, CPU))
    assert seen == list(range(11))
    assert done[-1] == 11 and done == sorted(done)


def test_a_batch_that_does_not_fit_is_halved_and_repeated():
    """torch itself refuses more than 3 slices: each asks for a third of an exabyte and more."""
    seen: list[int] = []

    def run(batch):
        if len(batch) > 3:
            torch.empty(2**58, dtype=torch.uint8)
        seen.extend(batch)

    assert list(run_in_batches(run, 10, CPU, batch_size=8))[-1] == 10
    assert seen == list(range(10))


def test_a_single_slice_that_does_not_fit_gives_a_sentence():
    def run(batch):
        torch.empty(2**58, dtype=torch.uint8)

    with pytest.raises(DeviceError, match="single slice"):
        list(run_in_batches(run, 2, CPU))


def test_another_error_is_not_taken_for_a_lack_of_memory():
    def run(batch):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        list(run_in_batches(run, 2, CPU))


def test_cancel_stops_between_batches():
    seen: list[int] = []
    with pytest.raises(Cancelled):
        list(run_in_batches(seen.extend, 10, CPU, 2, cancel=lambda: len(seen) >= 4))
    assert seen == [0, 1, 2, 3]


def test_a_device_that_is_not_there_lists_what_is():
    with pytest.raises(DeviceError, match=r"cuda:77.*cpu \(CPU\)"):
        choose_device("cuda:77")


def test_auto_falls_back_to_the_cpu_without_a_gpu():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert choose_device("auto").device == CPU
    assert choose_precision("auto", CPU) == "float32"
