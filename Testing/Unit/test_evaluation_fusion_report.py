"""The report of a fusion: scores per slice, page and JSON."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK
import torch
from PIL import Image
from skimage.transform import resize

from MedFusionLib.errors import GeometryError, InputError
from MedFusionLib.evaluation.metrics import METRIC_CARDS, all_metrics
from MedFusionLib.evaluation.reports.fusion_report import score_fusion, write_report
from MedFusionLib.evaluation.volume_measures import background_leak
from MedFusionLib.fusion import fuse
from MedFusionLib.registration.pictures import quality_pictures
from MedFusionLib.slices.colour import apply_colour_map, luminance
from MedFusionLib.volumes.files import read_volume
from MedFusionLib.volumes.volume import Volume


def head(seed: int, modality: str, scale: float = 1.0, dtype: type = np.uint8) -> Volume:
    """A volume of 5 slices of 48x44 with an empty slice at each end."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 12, 11))
    voxels = (scale * coarse.repeat(4, axis=1).repeat(4, axis=2)).astype(dtype)
    voxels[[0, -1]] = 0
    return Volume(voxels, (1.0, 1.0, 2.0), (0.0, 0.0, 0.0), modality=modality)


@pytest.fixture(scope="module")
def scored():
    """A fusion of MR and PET in colour, with its metrics in the report."""
    reference = head(1, "MR")
    result = fuse(reference, head(2, "PET"), method="maximum", device="cpu")
    report = {
        **result.report,
        "metrics": score_fusion(reference, result.aligned_other, result.volume, result.report),
    }
    return replace(result, report=report)


def test_scores_of_a_grey_fusion_are_those_of_its_slices_in_eight_bits():
    reference, other = head(1, "MR"), head(2, "CT")
    result = fuse(reference, other, method="average", device="cpu")
    scores = score_fusion(reference, result.aligned_other, result.volume, result.report)
    stacks = (result.volume.voxels * (255 / 4095), reference.voxels, other.voxels)
    expected = all_metrics(*(torch.from_numpy(np.rint(stack.astype(float))) for stack in stacks))
    for name in METRIC_CARDS:
        middle = slice(1, -1)
        assert scores["per_slice"][name][middle] == pytest.approx(expected[name][middle].tolist())
        assert scores["mean"][name] == pytest.approx(expected[name][middle].mean().item())
    assert scores["empty_slices"] == 2


def test_an_empty_slice_has_no_metric():
    reference, other = head(1, "MR"), head(2, "CT")
    result = fuse(reference, other, method="maximum", device="cpu")
    for volume in (reference, other, result.volume):
        volume.voxels[0] = 0
    scores = score_fusion(reference, other, result.volume, result.report)
    assert {values[0] for values in scores["per_slice"].values()} == {None}


def test_some_slices_that_show_something_stand_for_all():
    reference, other = head(1, "MR"), head(2, "CT")
    result = fuse(reference, other, method="maximum", device="cpu")
    whole = score_fusion(reference, other, result.volume, result.report)
    some = score_fusion(reference, other, result.volume, result.report, most_slices=3)
    assert some["measured_slices"] == 3
    for name, values in some["per_slice"].items():
        measured = [(a, b) for a, b in zip(values, whole["per_slice"][name], strict=True) if a]
        assert all(a == pytest.approx(b) for a, b in measured)
        assert len(measured) <= 3


def test_bone_that_is_shown_is_kept_and_bone_that_is_dimmed_is_not():
    reference = head(1, "MR")
    soft = np.random.default_rng(3).integers(-1000, 100, reference.grid_shape).astype(np.int16)
    ct = replace(reference, voxels=soft, modality="CT")
    ct.voxels[:, 4:12, 4:12] = 1200
    options = {"device": "cpu", "window_other": (-200.0, 1400.0)}
    bone, grey = 1400 / 1600, reference.voxels[:, 4:12, 4:12] / 255
    dimmed = ((bone + grey) / 2 >= 0.9 * bone).mean()
    for method, kept in (("maximum", 1.0), ("average", dimmed)):
        result = fuse(reference, ct, method=method, **options)
        scores = score_fusion(reference, ct, result.volume, result.report)
        assert scores["legibility"]["bone_kept"] == pytest.approx(kept, abs=0.02)


def test_scores_use_the_windows_of_the_fusion_and_not_others():
    reference, other = head(1, "MR", 4.0, np.int16), head(2, "CT", 4.0, np.int16)
    windows = {"window_reference": (0.0, 1020.0), "window_other": (0.0, 1020.0)}
    result = fuse(reference, other, method="maximum", device="cpu", **windows)
    scores = score_fusion(reference, other, result.volume, result.report)
    in_eight_bits = fuse(head(1, "MR"), head(2, "CT"), method="maximum", device="cpu")
    expected = score_fusion(head(1, "MR"), head(2, "CT"), in_eight_bits.volume)
    assert scores["mean"] == pytest.approx(expected["mean"])


def test_a_colour_fusion_keeps_the_hue_and_has_no_leak(scored):
    volume = scored.report["metrics"]["volume"]
    assert volume["hue_error"] < 1
    # The brighter source is all that is shown: dim voxels of the sources themselves, and no more.
    light = 255 * luminance(apply_colour_map(head(2, "PET").voxels / 255, "rainforest"))
    sources = [torch.from_numpy(stack.astype(float)) for stack in (head(1, "MR").voxels, light)]
    dim = background_leak(torch.maximum(*sources), *sources)
    assert volume["background_leak"] == pytest.approx(dim, abs=1e-6)
    assert dim < 1e-5
    assert volume["invented_edges"] == 0


def test_volumes_on_different_grids_are_refused():
    reference = head(1, "MR")
    smaller = replace(reference, voxels=reference.voxels[:3])
    with pytest.raises(GeometryError, match="different grids"):
        score_fusion(reference, smaller, reference)


def test_the_json_report_is_strict_json_with_null_for_what_is_undefined(scored, tmp_path):
    write_report(scored.report, tmp_path / "report.json")

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    read = json.loads((tmp_path / "report.json").read_text(), parse_constant=refuse)
    assert read == scored.report
    assert read["metrics"]["per_slice"]["SCD"][0] is None


def test_the_page_says_all_that_a_reader_needs_to_trust_or_reject_the_result(scored, tmp_path):
    report = {**scored.report, "weights_sha256": "ab" * 32, "warnings": ["Look <twice>."]}
    write_report(report, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    for word in ("maximum", "ab" * 32, "CPU", "8bit: 0 to 255", "axial", "Times", "flicker"):
        assert word in page, word
    assert "Look &lt;twice&gt;." in page
    assert page.count("<svg") == len(METRIC_CARDS)
    assert not re.search(r'(src|href)="', page)


def middle_slices(folder):
    """Axial, coronal and sagittal slices through the middle of the sample MR and of its PET, read
    by SimpleITK through the pair's known transform; grey values as in the pictures."""
    mr, pet = (SimpleITK.ReadImage(str(folder / f"Sample_{n}.nrrd")) for n in ("MR_T1", "FDG_PET"))
    transform = SimpleITK.ReadTransform(str(folder / "true_transform.tfm"))
    low = float(SimpleITK.GetArrayViewFromImage(pet).min())
    on_mr = SimpleITK.Resample(
        SimpleITK.Cast(pet, SimpleITK.sitkFloat32), mr, transform, SimpleITK.sitkLinear, low
    )
    slices = []
    for image in (mr, on_mr):
        # The MR is stored from left to right and from back to front: turn it to LPS.
        array = SimpleITK.GetArrayFromImage(SimpleITK.DICOMOrient(image, "LPS")).astype(float)
        first, last = np.percentile(array, [0.5, 99.5])
        array = ((array - first) / (last - first)).clip(0, 1) * 255
        k, j, i = (length // 2 for length in array.shape)
        slices.append({"axial": array[k], "coronal": array[::-1, j], "sagittal": array[::-1, :, i]})
    return slices


def test_the_page_of_the_sample_pair_shows_both_volumes_in_turn_and_the_mrs_edges(
    repository, tmp_path
):
    folder = repository / "MedFusionLib" / "sample_data"
    mr, pet = (read_volume(folder / f"Sample_{name}.nrrd") for name in ("MR_T1", "FDG_PET"))
    known = SimpleITK.ReadTransform(str(folder / "true_transform.tfm"))
    result = fuse(mr, pet, "average", known, "cpu")
    write_report(
        result.report, tmp_path / "report.html", quality_pictures(mr, result.aligned_other)
    )
    page = (tmp_path / "report.html").read_text()
    found = re.findall(r'<img alt="([a-z-]+)" src="data:image/png;base64,([^"]+)">', page)
    shown = {name: np.array(Image.open(io.BytesIO(base64.b64decode(data)))) for name, data in found}
    assert len(found) == len(shown) == 6
    one, two = middle_slices(folder)
    for plane in ("axial", "coronal", "sagittal"):
        board, edges = shown[f"{plane}-checkerboard"], shown[f"{plane}-edges"].astype(int)
        # Drawn finer than the voxels, each through its own window: alike but for grey values.
        first, second = (resize(one_of[plane], board.shape) for one_of in (one, two))
        assert max(board.shape) > 400
        side = max(board.shape) // 8
        squares = np.kron(np.indices((9, 9)).sum(axis=0) % 2, np.ones((side, side)))
        squares = squares[: board.shape[0], : board.shape[1]].astype(bool)
        for kind, drawn in ((~squares, first), (squares, second)):
            assert np.corrcoef(board[kind], drawn[kind])[0, 1] > 0.97
        yellow = (edges == (255, 220, 0)).all(axis=2)
        assert 0.05 < yellow.mean() < 0.2
        assert np.corrcoef(edges[~yellow][:, 2], second[~yellow])[0, 1] > 0.97
        steep = np.hypot(*np.gradient(first))
        assert steep[yellow].mean() > 4 * steep[~yellow].mean()


def test_a_report_of_another_ending_is_refused(scored, tmp_path):
    with pytest.raises(InputError, match=r"\.html or \.json"):
        write_report(scored.report, tmp_path / "report.pdf")
    assert list(tmp_path.iterdir()) == []
