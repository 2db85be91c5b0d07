"""The spread of DM-FNet's noise draws as a volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from MedFusionLib.errors import InputError
from MedFusionLib.methods import create_method
from MedFusionLib.uncertainty import fuse_with_uncertainty
from MedFusionLib.volumes.files import read_volume, write_volume
from MedFusionLib.volumes.volume import Volume, same_grid

FLIPPED = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
"""Columns of the array run to the patient's right: axial slices are turned for the method."""


def volume(seed: int, modality: str) -> Volume:
    voxels = np.random.default_rng(seed).integers(0, 256, (2, 50, 40), dtype=np.uint8)
    voxels[:, :20] = 0
    return Volume(voxels, (1.0, 1.0, 3.0), (5.0, -7.0, 2.0), FLIPPED, modality)


@pytest.fixture(scope="module")
def sources() -> tuple[Volume, Volume]:
    return volume(0, "MR"), volume(1, "CT")


OPTIONS = {"window_reference": "8bit", "window_other": "8bit", "device": "cpu"}


def test_the_volume_holds_each_slices_own_spread_on_the_references_grid(
    sources: tuple[Volume, Volume],
) -> None:
    reference, other = sources
    options = {"draws": 3, "seed": 5}
    result, spread = fuse_with_uncertainty(*sources, method_options=options, **OPTIONS)
    assert same_grid(spread, reference)
    method = create_method("dmfnet", **options)
    for k in range(2):
        # Slice by slice from the method itself: mirrored columns, padded to 64 by reflection.
        padded = [
            np.pad(v.voxels[k, :, ::-1] / np.float32(255), ((0, 14), (0, 8)), mode="reflect")
            for v in (reference, other)
        ]
        images = [torch.from_numpy(image)[None, None] for image in padded]
        _, expected = method.fuse_with_uncertainty(*images, [k])
        shown = expected[0, 0, :50, :40].numpy()[:, ::-1]
        assert np.abs(spread.voxels[k] - shown).max() < 1e-5
    assert spread.voxels.max() > 0
    assert result.report["method_options"] == options


def test_where_both_sources_are_empty_there_is_no_spread(sources: tuple[Volume, Volume]) -> None:
    _, spread = fuse_with_uncertainty(*sources, method_options={"draws": 2}, **OPTIONS)
    assert spread.voxels[:, :20].max() == 0


@pytest.mark.parametrize("name", ["pyramid", "asfe"])
def test_a_method_without_noise_is_refused(sources: tuple[Volume, Volume], name: str) -> None:
    with pytest.raises(InputError, match=f"'{name}' draws no noise"):
        fuse_with_uncertainty(*sources, method=name, **OPTIONS)


def test_the_command_writes_both_volumes_on_one_grid(
    sources: tuple[Volume, Volume], tmp_path: Path
) -> None:
    from typer.testing import CliRunner

    from MedFusionLib.cli import app

    paths = [tmp_path / "mr.nrrd", tmp_path / "ct.nrrd"]
    for one, path in zip(sources, paths, strict=True):
        write_volume(one, path)
    fused, spread = tmp_path / "fused.nrrd", tmp_path / "spread.nrrd"
    arguments = ["fuse", *map(str, paths), "-o", str(fused), "--uncertainty", str(spread)]
    chosen = ["--method", "dmfnet", "--option", "draws=2", "--device", "cpu", "-q"]
    result = CliRunner().invoke(app, [*arguments, *chosen])
    assert result.exception is None, result.output
    assert same_grid(read_volume(fused), read_volume(spread))
    assert 0 < read_volume(spread).voxels.max() < 1
