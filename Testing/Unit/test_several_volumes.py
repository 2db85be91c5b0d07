"""Three and more volumes in one picture, on small made heads."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch

from MedFusionLib.batch.cases import fuse_case, read_cases
from MedFusionLib.errors import IdentityError, InputError
from MedFusionLib.fusion import fuse
from MedFusionLib.methods import METHODS, create_method
from MedFusionLib.methods.several import for_several
from MedFusionLib.slices.colour import luminance
from MedFusionLib.slices.painting import choose_colour_maps
from MedFusionLib.volumes.files import read_volume, write_volume
from MedFusionLib.volumes.volume import Volume

WHOLE = {"window_reference": (0.0, 1.0), "window_other": [(0.0, 1.0)] * 2}
SHAPE = (4, 48, 40)


def head(modality: str, seed: int, **metadata: str) -> Volume:
    """A textured block in empty space."""
    voxels = np.zeros(SHAPE, np.float32)
    voxels[:, 6:42, 6:34] = np.random.default_rng(seed).uniform(0.2, 0.6, (4, 36, 28))
    return Volume(voxels, (1.0, 1.0, 3.0), (5.0, -7.0, 11.0), modality=modality, metadata=metadata)


def test_the_average_and_the_maximum_of_three_are_numpys():
    three = [head("MR", 0), head("CT", 1), head("MR", 2)]
    stack = np.stack([one.voxels for one in three]) * 4095
    for method, expected in (("average", stack.mean(axis=0)), ("maximum", stack.max(axis=0))):
        fused = fuse(three, method=method, **WHOLE).volume.voxels
        assert np.abs(fused - expected).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("name", [name for name in METHODS if name != "ddfm"])
def test_the_order_of_the_others_makes_no_difference(name: str):
    method = for_several(create_method(name, torch.device("cpu")))
    rng = np.random.default_rng(3)
    side = max(method.stride, 32)
    sources = 3 if name == "tfs-diff" else 4  # a network of three sources
    reference, *others = torch.from_numpy(rng.uniform(0, 1, (sources, 1, 1, side, side))).float()
    with torch.inference_mode():
        expected = method.fuse_many(reference, others)
        for order in itertools.permutations(others):
            assert torch.equal(method.fuse_many(reference, order), expected)


def test_more_volumes_than_a_method_takes_are_refused_before_any_is_registered(tmp_path: Path):
    paths = [str(tmp_path / f"{number}.nrrd") for number in range(4)]
    for number, path in enumerate(paths):
        write_volume(head("MR", number), path)
    fused = tmp_path / "fused.nrrd"
    told: list[str] = []
    with pytest.raises(InputError, match="at most 3 volumes, not 4"):
        fuse(
            [read_volume(path) for path in paths],
            method="tfs-diff",
            alignment="rigid",
            progress=lambda done, total, message: told.append(message),
        )
    assert told == []
    command = [sys.executable, "-m", "MedFusionLib.cli", "fuse", *paths, "-o", str(fused)]
    run = subprocess.run([*command, "--method", "tfs-diff"], capture_output=True, text=True)
    assert run.returncode != 0 and "at most 3 volumes" in " ".join(run.stderr.split())
    assert not fused.exists()


class Brightens:
    """A method whose fusion of two is known: half of the other is added."""

    name, stride = "average", 1

    def fuse(self, reference, other, slice_indices=None):
        return reference + other / 2


def test_what_each_volume_alone_would_change_is_added_up():
    reference = torch.full((1, 1, 400, 40), 0.25)
    others = [torch.zeros_like(reference) for _ in range(2)]
    # Further apart than the Gaussian reaches, so that they have no light in common.
    others[0][..., 20:24, 20:24], others[1][..., 370:374, 20:24] = 0.5, 0.8
    fused = for_several(Brightens()).fuse_many(reference, others)
    assert torch.allclose(fused, reference + sum(others) / 2, atol=1e-6)


def test_light_that_all_others_add_at_large_is_shown_once():
    reference = torch.full((1, 1, 64, 64), 0.25)
    others = [torch.full_like(reference, 0.4), torch.full_like(reference, 0.6)]
    fused = for_several(Brightens()).fuse_many(reference, others)
    assert torch.allclose(fused, torch.full_like(reference, 0.25 + 0.6 / 2), atol=1e-6)


def test_bone_is_as_white_beside_a_third_volume_as_without_it():
    reference = torch.full((1, 1, 64, 64), 0.1)
    computed, uptake = torch.full_like(reference, 0.4), torch.full_like(reference, 0.6)
    computed[..., 20:30, :] = 1.0
    uptake[..., 20:30, :] = 0.0
    method = for_several(create_method("maximum", torch.device("cpu")))
    rule = for_several(Brightens())
    for way in (method, rule):
        bone = way.fuse_many(reference, [computed, uptake])[..., 20:30, :]
        assert torch.allclose(bone, way.fuse(reference, computed)[..., 20:30, :], atol=1e-6)


@pytest.mark.parametrize("place", range(3))
def test_a_lesion_of_any_of_three_sources_arrives(place: int):
    """Of the default method, the sum of what it changes: at least 0.7 of the inserted contrast."""
    sources = [head("MR", 0), head("CT", 1), head("MR", 2)]
    with_lesion = list(sources)
    voxels = sources[place].voxels.copy()
    voxels[:, 18:27, 14:23] += 0.2
    with_lesion[place] = replace(sources[place], voxels=voxels)
    before, after = (fuse(one, **WHOLE).volume.voxels / 4095 for one in (sources, with_lesion))
    assert (after - before)[:, 20:25, 16:21].mean() >= 0.7 * 0.2


def test_each_volume_is_laid_by_its_own_transform():
    """Each is moved away by a whole number of voxels and brought back by its own transform."""
    three = [head("MR", 0), head("CT", 1), head("MR", 2)]
    expected = fuse(three, method="average", **WHOLE).volume.voxels
    moved = [
        replace(one, origin=tuple(np.add(one.origin, shift)))
        for one, shift in zip(three[1:], [(3.0, 0, 0), (0, -2.0, 3.0)], strict=True)
    ]
    ways = [SimpleITK.TranslationTransform(3, shift) for shift in [(3.0, 0, 0), (0, -2.0, 3.0)]]
    result = fuse([three[0], *moved], method="average", alignment=ways, **WHOLE)
    assert np.array_equal(result.volume.voxels, expected)
    assert result.report["further"][0]["transform"]["matrix"][1][3] == -2.0


def test_two_functional_volumes_are_red_and_blue():
    zero, pet, spect = head("MR", 0), head("PET", 1), head("SPECT", 2)
    pet.voxels[:, :, 20:], spect.voxels[:, :, :20] = 0, 0
    result = fuse([zero, pet, spect], method="average", **WHOLE)
    of_pet, of_spect = (
        result.volume.voxels[..., part, :] for part in (slice(8, 18), slice(22, 32))
    )
    lit = slice(8, 40)
    assert (of_pet[:, lit, :, 0] > of_pet[:, lit, :, 2]).all()
    assert (of_spect[:, lit, :, 2] > of_spect[:, lit, :, 0]).all()
    colours = [result.report["other"]["colour"], result.report["further"][0]["colour"]]
    assert colours == ["red", "blue"]


def test_grey_volumes_beside_a_functional_one_keep_their_lightness_and_its_hue():
    three = [head("MR", 0), head("CT", 1), head("PET", 2)]
    fused = fuse(three, method="maximum", **WHOLE).volume.voxels / 255
    expected = np.maximum(three[0].voxels, three[1].voxels)
    brighter = expected > 0.55
    assert np.abs(luminance(fused.astype(np.float32)) - expected)[brighter].mean() < 0.1
    assert np.ptp(fused, axis=-1)[three[2].voxels > 0.3].min() > 0.02


@pytest.mark.parametrize(
    ("modalities", "colours"),
    [
        (["PET", "SPECT"], ["hot", "auto"]),
        (["PET", "SPECT"], ["red", "red"]),
        (["PET", "SPECT", "PET"], ["auto"] * 3),
        (["CT", "PET"], ["hot", "auto"]),
    ],
)
def test_colours_that_could_not_be_told_apart_are_refused(modalities, colours):
    volumes = [head(modality, 0) for modality in modalities]
    with pytest.raises(InputError, match="told apart"):
        choose_colour_maps(volumes, colours)


def test_a_colour_that_was_chosen_leaves_the_other_one_for_the_rest():
    volumes = [head("PET", 0), head("CT", 1), head("SPECT", 2)]
    assert choose_colour_maps(volumes, ["blue", "auto", "auto"]) == ["blue", None, "red"]
    assert choose_colour_maps(volumes, ["auto", "auto", "grey"]) == ["rainforest", None, None]


def test_a_third_volume_of_another_patient_is_refused():
    volumes = [head("MR", 0), head("CT", 1, patient_id="7"), head("PET", 2, patient_id="8")]
    with pytest.raises(IdentityError, match="second has ID '7', the third has ID '8'"):
        fuse(volumes, method="average", **WHOLE)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alignment": ["none"]}, "there are 1 for 2 other volumes"),
        ({"alignment": SimpleITK.TranslationTransform(3)}, "Give one for each"),
        ({"window_other": (0.0, 1.0)}, "Give one for each"),
        ({"colour": "hot"}, "Give one for each"),
    ],
)
def test_settings_that_do_not_say_whose_they_are_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        fuse([head("MR", 0), head("CT", 1), head("PET", 2)], method="average", **settings)


def test_a_fault_of_the_third_volume_is_told_by_its_place():
    labels = replace(head("CT", 2), voxels=(head("CT", 2).voxels > 0).astype(np.uint8))
    with pytest.raises(InputError, match="The third volume holds only 2 different values"):
        fuse([head("MR", 0), head("CT", 1), labels], method="average")


def test_one_volume_alone_is_refused():
    with pytest.raises(InputError, match="at least one other"):
        fuse([head("MR", 0)])


def test_what_is_hidden_is_told_of_each_of_three():
    """The third source is independent of the others, and the picture is made without it."""
    three = [head("MR", 0), head("CT", 1), head("MR", 2)]
    result = fuse(three, method="average", **WHOLE)
    without = fuse(
        three[:2], method="maximum", window_reference=(0.0, 1.0), window_other=(0.0, 1.0)
    )
    hidden = replace(result, volume=without.volume).hidden
    inner = (slice(None), slice(14, 34), slice(14, 26))
    assert np.median(hidden.of_sources[2].voxels[inner]) > 85
    assert hidden.shares[2] > max(hidden.shares[:2])
    assert list(hidden.figures["hidden_share"]) == ["reference", "other", "further 1"]
    assert "of the head hides more than 80 % of the CT's local contrast" in hidden.sentence


def test_a_batch_takes_further_volumes_from_its_table(tmp_path):
    three = [head("MR", 0), head("CT", 1), head("PET", 2)]
    for name, one in zip("abc", three, strict=True):
        write_volume(one, tmp_path / f"{name}.nrrd")
    table = tmp_path / "cases.csv"
    table.write_text(
        "case,reference,other,further_1,further_1_modality,further_1_window,further_1_colour\n"
        "one,a.nrrd,b.nrrd,c.nrrd,PET,0:1,hot\ntwo,a.nrrd,b.nrrd,,,,\n"
    )
    one, two = read_cases(table)
    settings = {"method": "average", "window_reference": "0:1", "window_other": "0:1"}
    fuse_case(one, tmp_path / "one.nrrd", settings)
    fuse_case(two, tmp_path / "two.nrrd", settings)
    expected = fuse(three, method="average", colour=["auto", "hot"], **WHOLE)
    assert np.array_equal(read_volume(tmp_path / "one.nrrd").voxels, expected.volume.voxels)
    assert not read_volume(tmp_path / "two.nrrd").is_colour
