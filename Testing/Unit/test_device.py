"""Batches, cancelling, precision and running out of memory."""

from __future__ import annotations

import os

import pytest
import torch

from MedFusionLib.computing.device import (
    choose_device,
    choose_precision,
    computed_precision,
    let_threads_wait,
    run_in_batches,
)
from MedFusionLib.errors import Cancelled, DeviceError

CPU, META, CUDA = torch.device("cpu"), torch.device("meta"), torch.device("cuda", 0)


class Listing:
    """Work that lists its slices; batches above ``capacity`` slices ask torch for 2^58 bytes."""

    def __init__(self, capacity: int = 1000, device: torch.device = CPU) -> None:
        self.capacity, self.device = capacity, device
        self.seen: list[int] = []
        self.announced: list[range] = []
        self.batches: list[range] = []

    def __call__(self, batch, following):
        self.batches.append(batch)
        if len(batch) > self.capacity:
            torch.empty(2**58, dtype=torch.uint8)
        self.seen.extend(batch)
        self.announced.append(following)

    def continue_on_cpu(self, first):
        if self.device == CPU:
            raise DeviceError("not a single slice")
        self.device, self.capacity = CPU, 1000


def test_every_slice_is_run_once_and_in_order():
    work = Listing()
    done = list(run_in_batches(work, 11))
    assert work.seen == list(range(11))
    assert done[-1] == 11 and done == sorted(done)


@pytest.mark.parametrize("batch_size", [None, 3])
def test_what_is_announced_is_what_follows(batch_size):
    work = Listing()
    list(run_in_batches(work, 11, batch_size))
    for announced, batch in zip(work.announced, work.batches[1:], strict=False):
        assert not announced or announced == batch
    assert any(work.announced)
    assert not work.announced[-1]


def test_a_batch_that_does_not_fit_is_halved_and_repeated():
    work = Listing(capacity=3)
    assert list(run_in_batches(work, 10, batch_size=8))[-1] == 10
    assert work.seen == list(range(10))
    assert max(map(len, work.batches[2:])) == 2


def test_a_single_slice_that_does_not_fit_on_the_cpu_ends_the_run():
    with pytest.raises(DeviceError, match="single slice"):
        list(run_in_batches(Listing(capacity=0), 2))


def test_a_single_slice_that_does_not_fit_elsewhere_sends_the_rest_to_the_cpu():
    work = Listing(capacity=0, device=META)
    assert list(run_in_batches(work, 5, batch_size=4))[-1] == 5
    assert work.seen == list(range(5))
    assert work.device == CPU


def test_another_error_is_not_taken_for_a_lack_of_memory():
    class Broken(Listing):
        def __call__(self, batch, following):
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        list(run_in_batches(Broken(), 2))


def test_cancel_stops_between_batches():
    work = Listing()
    with pytest.raises(Cancelled):
        list(run_in_batches(work, 10, 2, cancel=lambda: len(work.seen) >= 4))
    assert work.seen == [0, 1, 2, 3]


def test_a_device_that_is_not_there_lists_what_is():
    with pytest.raises(DeviceError, match=r"cuda:77.*cpu \(CPU\)"):
        choose_device("cuda:77")


def test_auto_falls_back_to_the_cpu_without_a_gpu():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert choose_device("auto").device == CPU


def test_auto_is_float32_on_a_cpu_and_what_the_method_offers_on_a_gpu():
    assert choose_precision("auto", CPU, ("float16",)) == "float32"
    assert choose_precision("auto", CUDA, ("float16",)) == "float16"
    assert choose_precision("auto", CUDA) == "float32"


def test_a_precision_that_a_method_does_not_offer_becomes_float32():
    assert computed_precision("bfloat16", CPU, ("float16",)) == "float32"
    assert computed_precision("float16", CPU, ("float16",)) == "float16"
    with pytest.raises(DeviceError, match="float8"):
        computed_precision("float8", CPU, ())


@pytest.mark.parametrize(
    ("chosen", "kept"),
    [
        ({}, {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
        ({"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "7"}),
    ],
)
def test_threads_soon_sleep_unless_the_user_chose_how_they_wait(monkeypatch, chosen, kept):
    monkeypatch.setattr(os, "environ", dict(chosen))
    let_threads_wait()
    assert os.environ == kept
