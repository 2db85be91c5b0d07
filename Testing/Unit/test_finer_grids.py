"""Finer grids: where their voxels lie, what fills them, what is said to be invented."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch

from MedFusionLib.errors import Cancelled, InputError, WeightsError
from MedFusionLib.evaluation.reports.fusion_page import fusion_page
from MedFusionLib.evaluation.reports.hidden_pictures import DRAWN_COLOUR, invented_pictures
from MedFusionLib.fusion import fuse
from MedFusionLib.refining.drawing import refined, refuse_unlearned
from MedFusionLib.refining.grids import FinerGrid, finer_grid
from MedFusionLib.refining.interpolation import interpolated
from MedFusionLib.refining.invented import UNITS, invented
from MedFusionLib.refining.network import MOST_ADDED, Architecture, SliceRefiner, most_added
from MedFusionLib.refining.refine import refine
from MedFusionLib.refining.spline import spline_weights
from MedFusionLib.refining.weight_file import load_network, save_network
from MedFusionLib.slices.intensity import Window
from MedFusionLib.uncertainty import fuse_with_uncertainty
from MedFusionLib.volumes.dicom_export import derivation_description
from MedFusionLib.volumes.volume import Volume, to_image

CPU = torch.device("cpu")
UNIT = Window(0.0, 1.0, "given")
TURNED = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)


def thick(voxels: np.ndarray | None = None, modality: str = "MR") -> Volume:
    """6 slices 5 mm apart of 12×14 pixels of 1 mm, turned about the axis."""
    if voxels is None:
        voxels = np.random.default_rng(4).random((6, 12, 14)).astype(np.float32)
    return Volume(voxels, (1.0, 1.0, 5.0), (-3.25, 17.5, -40.125), TURNED, modality)


def wild_network(seed: int = 0) -> SliceRefiner:
    """Large random weights: what is added reaches its bound."""
    torch.manual_seed(seed)
    network = SliceRefiner(Architecture(6, 1)).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=3.0)
    return network


def corners(volume: Volume) -> np.ndarray:
    ends = [(0, length - 1) for length in volume.grid_shape[::-1]]
    indices = np.array([[i, j, k, 1] for i in ends[0] for j in ends[1] for k in ends[2]], float)
    return indices @ volume.affine_lps.T


def test_corner_voxels_stay_where_they_are_when_steps_divide() -> None:
    measured = thick()
    finer = refine(measured, [], UNIT, "isotropic", "interpolation", CPU, []).reference
    assert finer.grid_shape == (26, 12, 14)
    assert finer.spacing == (1.0, 1.0, 1.0)
    assert finer.origin == measured.origin
    assert finer.directions == measured.directions
    assert np.abs(corners(finer) - corners(measured)).max() < 1e-9


def test_a_grid_whose_step_does_not_divide_ends_less_than_a_step_before_the_last_slice() -> None:
    measured = replace(thick(), spacing=(0.94, 0.94, 5.0))
    grid = finer_grid("isotropic", measured, [])
    assert grid.spacing == (0.94, 0.94, 0.94)
    short = 5 * 5.0 - (grid.shape[0] - 1) * 0.94
    assert 0 <= short < 0.94
    assert np.allclose(grid.places(0) * 5.0, np.arange(grid.shape[0]) * 0.94, atol=1e-9)


def test_finest_takes_the_smallest_step_of_all_volumes() -> None:
    other = Volume(np.zeros((4, 4, 4), np.uint8), (2.0, 0.5, 2.0), (0.0, 0.0, 0.0))
    grid = finer_grid("finest", thick(), [other])
    assert grid.spacing == (0.5, 0.5, 0.5)
    assert grid.shape == (51, 23, 27)


def test_a_grid_that_gains_nothing_is_refused() -> None:
    even = replace(thick(), spacing=(1.0, 1.0, 1.05))
    with pytest.raises(InputError, match=r"1 × 1 × 1\.05 mm already.*gains nothing"):
        finer_grid("isotropic", even, [])


def test_a_grid_of_too_many_voxels_is_refused() -> None:
    other = Volume(np.zeros((4, 4, 4), np.uint8), (0.02, 1.0, 1.0), (0.0, 0.0, 0.0))
    with pytest.raises(InputError, match="would have 449 million voxels"):
        finer_grid("finest", thick(), [other])


@pytest.mark.parametrize(
    ("grid", "refinement", "sentence"),
    [
        ("cubic", "interpolation", "no grid 'cubic'"),
        ("isotropic", "magic", "no refinement 'magic'"),
        ("reference", "network", "choose the grid 'isotropic' or 'finest'"),
    ],
)
def test_unknown_names_are_refused(grid: str, refinement: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        refine(thick(), [], UNIT, grid, refinement, CPU, [])


def test_a_cosine_is_interpolated_as_splines_do_it_in_closed_form() -> None:
    """Midway between samples a cubic spline gives the cosine times a known factor.

    B-splines weigh 1/48, 23/48, 23/48, 1/48 there, and their coefficients are 3 / (2 + cos ω) times
    the samples.
    """
    count = 33
    places = np.arange(count - 1) + 0.5
    for periods in (2, 4, 8):
        omega = 2 * np.pi * periods / (count - 1)  # even about both ends, as the mirroring is
        samples = np.cos(omega * np.arange(count))
        fine = spline_weights(count, 2.0, 2 * count - 1) @ samples
        factor = (np.cos(1.5 * omega) + 23 * np.cos(omega / 2)) / 8 / (2 + np.cos(omega))
        assert np.allclose(fine[1::2], factor * np.cos(omega * places), atol=1e-9)
        assert np.allclose(fine[::2], samples, atol=1e-9)


def test_a_slow_cosine_through_the_slices_is_reproduced() -> None:
    places = np.arange(17)
    wave = (0.5 + 0.4 * np.cos(2 * np.pi * 2 * places / 16)).astype(np.float32)
    voxels = np.broadcast_to(wave[:, None, None], (17, 4, 5)).copy()
    measured = Volume(voxels, (1.0, 1.0, 4.0), (0.0, 0.0, 0.0), modality="MR")
    fine = refine(measured, [], UNIT, "isotropic", "interpolation", CPU, []).reference.voxels
    true = 0.5 + 0.4 * np.cos(2 * np.pi * 2 * np.arange(65) / 64)
    assert np.abs(fine[:, 2, 2] - true).max() < 1e-3


def test_it_is_what_simple_itk_interpolates_along_all_axes_at_once() -> None:
    measured = replace(thick(), spacing=(1.1, 1.3, 5.0))
    grid = finer_grid("isotropic", measured, [])
    ours = interpolated(measured.voxels, grid)
    resampler = SimpleITK.ResampleImageFilter()
    resampler.SetReferenceImage(to_image(measured))
    resampler.SetSize([int(n) for n in grid.shape[::-1]])
    resampler.SetOutputSpacing(grid.spacing)
    resampler.SetInterpolator(SimpleITK.sitkBSpline)
    theirs = SimpleITK.GetArrayFromImage(resampler.Execute(to_image(measured)))
    limits = measured.voxels.min(), measured.voxels.max()
    assert np.abs(ours - np.clip(theirs, *limits)).max() < 1e-5


@pytest.mark.parametrize("refinement", ["interpolation", "network"])
def test_measured_slices_are_kept(refinement: str) -> None:
    measured = thick()
    grid = finer_grid("isotropic", measured, [])
    fine = (
        interpolated(measured.voxels, grid)
        if refinement == "interpolation"
        else refined(measured.voxels, grid, UNIT, wild_network(), CPU)
    )
    assert np.abs(fine[::5] - measured.voxels).max() < 1e-5


def test_air_beside_a_bright_edge_stays_air() -> None:
    """Without care a spline rings on both sides of the step."""
    voxels = np.zeros((8, 6, 6), np.int16)
    voxels[4:] = 1000
    fine = refine(
        thick(voxels), [], Window(0, 1000, "given"), "isotropic", "interpolation", CPU, []
    ).reference.voxels
    assert np.all(fine[:16] == 0)  # up to the last black slice
    assert fine.min() == 0 and fine.max() == 1000


def test_the_network_adds_no_more_than_its_bound() -> None:
    """Half of what two slices differ by within 3×3 pixels, midway; less towards the slices."""
    measured = thick()
    grid = finer_grid("isotropic", measured, [])
    smooth = spline_weights(6, 5.0, 26).astype(np.float32) @ measured.voxels.reshape(6, -1)
    drawn = refined(measured.voxels, grid, UNIT, wild_network(), CPU) - smooth.reshape(26, 12, 14)
    padded = np.pad(np.abs(np.diff(measured.voxels, axis=0)), ((0, 0), (1, 1), (1, 1)))
    largest = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2)).max((3, 4))
    for step in range(1, 5):
        bound = 4 * MOST_ADDED * step / 5 * (1 - step / 5) * largest
        inside = np.abs(drawn[step::5]) <= bound + 1e-5
        # The measured range bounds the result as well.
        cut = np.abs(refined(measured.voxels, grid, UNIT, wild_network(), CPU)[step::5] - 0.5)
        assert np.all(inside | (cut > 0.49))
    assert np.abs(drawn).max() > 0.1


def test_where_neighbouring_slices_agree_the_network_adds_nothing() -> None:
    one = np.random.default_rng(1).random((1, 12, 14)).astype(np.float32)
    alike = thick(np.repeat(one, 6, axis=0))
    grid = finer_grid("isotropic", alike, [])
    assert np.allclose(refined(alike.voxels, grid, UNIT, wild_network(), CPU), one, atol=1e-5)
    place = torch.tensor([0.5])
    assert most_added(torch.ones(1, 4, 5, 5), place).abs().max() == 0


def test_an_untrained_network_interpolates() -> None:
    measured = thick()
    grid = finer_grid("isotropic", measured, [])
    network = SliceRefiner(Architecture(4, 1))
    assert np.array_equal(
        refined(measured.voxels, grid, UNIT, network, CPU), interpolated(measured.voxels, grid)
    )


def test_along_the_other_axes_the_spline_goes_on_from_what_the_network_gave() -> None:
    measured = thick()
    other = Volume(np.zeros((4, 4, 4), np.uint8), (2.0, 0.8, 2.0), (0.0, 0.0, 0.0))
    grid = finer_grid("finest", measured, [other])
    assert grid.refined_axes == (0, 1, 2)
    untrained = refined(measured.voxels, grid, UNIT, SliceRefiner(Architecture(4, 1)), CPU)
    assert np.abs(untrained - interpolated(measured.voxels, grid)).max() < 1e-5
    drawn = refined(measured.voxels, grid, UNIT, wild_network(), CPU) - untrained
    assert np.abs(drawn[0]).max() < 1e-5 < np.abs(drawn[3]).max()


def test_the_network_refines_along_the_thick_axis_whichever_it_is() -> None:
    measured = thick()
    turned = replace(
        measured,
        voxels=np.ascontiguousarray(np.moveaxis(measured.voxels, 0, 2)),
        spacing=(5.0, 1.0, 1.0),
    )
    grids = [finer_grid("isotropic", one, []) for one in (measured, turned)]
    one = refined(measured.voxels, grids[0], UNIT, wild_network(), CPU)
    two = refined(turned.voxels, grids[1], UNIT, wild_network(), CPU)
    assert np.allclose(one, np.moveaxis(two, 2, 0), atol=1e-5)


def test_the_network_refuses_what_it_has_not_learned() -> None:
    with pytest.raises(InputError, match="learned nothing of CT"):
        refuse_unlearned("CT", finer_grid("isotropic", thick(), []))
    with pytest.raises(InputError, match=r"9\.0 times as far apart"):
        refuse_unlearned(
            "MR", finer_grid("isotropic", replace(thick(), spacing=(1.0, 1.0, 9.0)), [])
        )


def test_a_cancelled_refinement_ends() -> None:
    measured = thick()
    grid = finer_grid("isotropic", measured, [])
    with pytest.raises(Cancelled):
        refined(measured.voxels, grid, UNIT, wild_network(), CPU, cancel=lambda: True)


def test_the_map_of_what_is_invented_has_its_closed_form() -> None:
    """Slices 5 mm apart on a grid of 1 mm: 0, 1, 2, 2, 1, 0 mm away, of at most 2.5."""
    measured = thick()
    grid = finer_grid("isotropic", measured, [])
    drawn = np.zeros(grid.shape, np.float32)
    drawn[1, 2, 3], drawn[2, 2, 3] = 0.25, -0.003
    what = invented(replace(measured, voxels=interpolated(measured.voxels, grid)), grid, UNIT)
    assert what.volume.voxels[:7, 0, 0].tolist() == [0, 40, 80, 80, 40, 0, 40]
    with_network = invented(what.volume, grid, UNIT, drawn).volume
    assert with_network.voxels[:3, 2, 3].tolist() == [0, 125, 80]
    assert with_network.metadata["units"] == UNITS


def test_its_figures_count_the_head_alone() -> None:
    voxels = np.zeros((6, 12, 14), np.float32)
    voxels[:, :3] = 1
    measured = thick(voxels)
    grid = finer_grid("isotropic", measured, [])
    fine = replace(measured, voxels=interpolated(voxels, grid))
    drawn = np.zeros(grid.shape, np.float32)
    drawn[1, 0], drawn[1, 6:] = 0.5, 0.5
    what = invented(fine, grid, UNIT, drawn)
    assert what.between_share == pytest.approx(20 / 26)
    assert what.mean_mm == pytest.approx(30 / 26)  # 5 gaps of 1 + 2 + 2 + 1 mm
    assert what.drawn_share == pytest.approx(1 / (26 * 3))
    assert what.most_drawn == 50
    assert "77 %" in what.sentence and "slices 5 mm apart" in what.sentence


def test_a_fusion_on_a_finer_grid_says_so_everywhere() -> None:
    measured = thick()
    other = replace(thick(modality="CT"), metadata={"modality_source": "given"})
    result = fuse(measured, other, "average", grid="isotropic", window_other=(0.0, 1.0))
    assert result.volume.grid_shape == (26, 12, 14)
    assert result.aligned_other.grid_shape == (26, 12, 14)
    assert result.volume.origin == measured.origin
    assert result.report["grid"]["spacing"] == [1.0, 1.0, 1.0]
    assert result.report["reference"]["spacing"] == [1.0, 1.0, 5.0]
    assert result.volume.metadata["medfusion_grid"] == (
        "isotropic, 1 × 1 × 1 mm, by interpolation from 1 × 1 × 5 mm"
    )
    told = " ".join(result.report["warnings"])
    assert "interpolated, on average 1.2 mm from slices 5 mm apart" in told
    assert "The CT has voxels of 1 × 1 × 5 mm" in told
    assert result.hidden.sentence.endswith(result.report["grid"]["sentence"])
    assert "isotropic, 1 × 1 × 1 mm" in derivation_description(result.report)
    result.report["hidden"] = result.hidden.figures
    page = fusion_page(json.loads(json.dumps(result.report)), {})
    assert "isotropic, 1 × 1 × 1 mm" in page and "Invented: green" in page


def test_the_other_volume_comes_from_its_own_voxels() -> None:
    """A thin one keeps its detail between the reference's slices."""
    fine = np.random.default_rng(2).random((26, 12, 14)).astype(np.float32)
    other = replace(thick(fine, "CT"), spacing=(1.0, 1.0, 1.0))
    for alignment in ("resample", SimpleITK.TranslationTransform(3)):
        result = fuse(
            thick(), other, "average", alignment, grid="isotropic", window_other=(0.0, 1.0)
        )
        assert np.abs(result.aligned_other.voxels - fine).max() < 1e-5


def test_on_the_references_grid_nothing_is_invented() -> None:
    result = fuse(thick(), thick(modality="CT"), "average", window_other=(0.0, 1.0))
    assert result.report["grid"] is None
    assert result.hidden.invented is None
    assert "medfusion_grid" not in result.volume.metadata


def test_pictures_mark_what_was_drawn() -> None:
    measured = thick(0.5 + thick().voxels / 2)
    grid = finer_grid("isotropic", measured, [])
    fine = replace(measured, voxels=interpolated(measured.voxels, grid), spacing=grid.spacing)
    drawn = np.zeros(grid.shape, np.float32)
    drawn[7, 3:6, 3:6] = 0.5
    black = replace(fine, voxels=np.zeros(grid.shape, np.int16))
    pictures = invented_pictures(black, invented(fine, grid, UNIT, drawn))
    assert set(pictures) == {"axial-invented", "coronal-invented", "sagittal-invented"}
    red = pictures["axial-invented"][..., 0] > 0.5 * DRAWN_COLOUR[0]
    assert red.sum() == 9


def test_uncertainty_refuses_a_finer_grid() -> None:
    with pytest.raises(InputError, match="reference's grid alone"):
        fuse_with_uncertainty(thick(), thick(modality="CT"), grid="isotropic")


def test_a_weight_file_gives_the_same_network_back(tmp_path: Path) -> None:
    network = wild_network()
    save_network(network, tmp_path / "own.safetensors")
    again, _ = load_network(tmp_path / "own.safetensors")
    for one, two in zip(network.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)
    network.architecture = Architecture(7, 1)
    save_network(network, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="do not fit"):
        load_network(tmp_path / "other.safetensors")


def test_a_grid_without_steps_to_refine_keeps_its_axes_to_the_bit() -> None:
    grid = finer_grid("isotropic", replace(thick(), spacing=(0.7, 0.7, 5.0)), [])
    assert isinstance(grid, FinerGrid)
    assert grid.refined_axes == (0,)
    assert grid.spacing == (0.7, 0.7, 0.7)
