"""What a reader must see, measured on pictures whose answer is known beforehand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import scipy.ndimage
import torch

from MedFusionLib.evaluation.legibility import (
    anatomy,
    bone,
    cells,
    judge,
    lesions,
    transfer,
    uptake,
)
from MedFusionLib.evaluation.legibility.showing import Blend, ShownMethod
from MedFusionLib.evaluation.pairs import Pair
from MedFusionLib.evaluation.scoring import Sources
from MedFusionLib.methods import create_method
from MedFusionLib.slices import colour as colours

SIDE = 200


def brains(seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Two smooth images in 8 bits, between 30 % and 60 % of the range, so that no lesion is cut."""
    noise = np.random.default_rng(seed).normal(size=(2, SIDE, SIDE))
    smooth = np.stack([scipy.ndimage.gaussian_filter(one, 6) for one in noise])
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    one, two = np.rint(255 * (0.3 + 0.3 * smooth)).astype(np.uint8)
    return one, two


def pair(set_name: str = "CT-MRI") -> judge.Slices:
    reference, other = brains()
    return judge.slices_of(
        Sources(Pair("1", set_name, "p", "dev", None, None), reference, other)  # type: ignore[arg-type]
    )


class Copy:
    """Shows one of the sources, or what a rule makes of it, in colours where they are wanted."""

    def __init__(self, rule) -> None:
        self.name, self._rule = "copy", rule

    def show(self, references, others, slice_number, colour_map):
        shown = self._rule(references, others)
        return shown if colour_map is None else colours.apply_colour_map(shown, colour_map)


def transfers(shower, set_name: str = "CT-MRI", shown: str = "grey") -> pd.DataFrame:
    table = pd.DataFrame(judge.judge_pair(shower, pair(set_name)).lesions)
    return table[table["shown"] == shown]


def of_method(name: str) -> ShownMethod:
    return ShownMethod(create_method(name), torch.device("cpu"), "float32")


def test_the_average_shows_half_of_every_lesion():
    found = transfers(of_method("average"))
    assert set(found["source"]) == {"MR", "CT"} and len(found) > 50
    # What is stored has 12 bits, which of a lesion's sum over dozens of pixels moves little.
    assert found["transfer"].to_numpy() == pytest.approx(0.5, abs=2e-3)


def test_a_picture_that_is_one_source_shows_all_of_its_lesions_and_none_of_the_others():
    found = transfers(Copy(lambda one, two: one))
    assert found.loc[found["source"] == "MR", "transfer"].to_numpy() == pytest.approx(1)
    assert found.loc[found["source"] == "CT", "transfer"].to_numpy() == pytest.approx(0)


def test_an_inverted_source_is_called_inverted():
    found = transfers(Copy(lambda one, two: 1 - one))
    of_reference = cells.cell(found[found["source"] == "MR"])
    assert of_reference["median"] == pytest.approx(-1)
    assert of_reference["inverted"] == of_reference["lost"] == 1


def test_the_maximum_shows_a_lesion_wholly_where_its_source_is_brighter_and_else_not_at_all():
    dark, light = np.full((SIDE, SIDE), 0.2), np.full((SIDE, SIDE), 0.6)
    size = lesions.SIZES[0]
    for source, beside, expected in ((light, dark, 1.0), (dark, light, 0.0)):
        placed = lesions.place_lesions(source, beside, 0.1, size, np.random.default_rng(1))
        changed = lesions.insert(source, placed, 0.1)
        fused = np.maximum(source, beside), np.maximum(changed, beside)
        found = list(transfer.grey_transfers(fused, (source, changed), placed))
        assert len(found) > 4 and found == pytest.approx([expected] * len(found))


def test_what_the_range_cut_off_of_a_lesion_is_not_counted_against_the_picture():
    source = np.full((SIDE, SIDE), 0.9, np.float32)
    lesion = lesions.Lesion(100, 100, 3.0, "open", False)
    changed = lesions.insert(source, [lesion], 0.25)
    assert changed.max() == 1
    (found,) = transfer.grey_transfers((source, changed), (source, changed), [lesion])
    assert found == pytest.approx(1)


def test_lesions_keep_apart_and_off_the_border_and_lie_where_a_source_is_lit():
    reference, other = pair().reference.copy(), pair().other
    reference[:, :90] = 0
    other = np.where(reference == 0, 0, other)
    for size in lesions.SIZES:
        placed = lesions.place_lesions(reference, other, 0.25, size, np.random.default_rng(2))
        places = np.array([[one.row, one.column] for one in placed])
        assert placed and places.min() >= 40 and places.max() < SIDE - 40
        assert places[:, 1].min() >= 90
        gaps = np.hypot(*(places[:, None] - places[None, :]).transpose(2, 0, 1))
        assert gaps[~np.eye(len(places), dtype=bool)].min(initial=math.inf) >= size.apart
        assert all(size.sigma[0] <= one.sigma <= size.sigma[1] for one in placed)


def test_saturated_ground_is_told_from_open_ground():
    source, beside = np.full((SIDE, SIDE), 0.5), np.full((SIDE, SIDE), 0.2)
    beside[:, 100:] = 1
    placed = lesions.place_lesions(source, beside, 0.1, lesions.SIZES[0], np.random.default_rng(1))
    for one in placed:
        if abs(one.column - 100) > 5:
            assert (one.ground == "saturated") == (one.column > 100) == one.hot


def test_the_same_lesions_are_put_in_whatever_is_judged_and_again():
    first, again = transfers(of_method("average")), transfers(of_method("maximum"))
    places = ["source", "amplitude", "size", "row", "column", "sigma"]
    assert first[places].equals(again[places])


def test_a_functional_image_shown_alone_in_its_colours_keeps_every_colour_difference():
    name = pair("PET-MRI").colour_map
    assert name is not None
    found = transfers(Copy(lambda one, two: two), "PET-MRI", "colour")
    of_pet = found[found["source"] == "PET"]
    assert of_pet["transfer"].to_numpy() == pytest.approx(1)
    assert of_pet["missed"].dropna().eq(0).all()
    of_mr = found[found["source"] == "MR"]
    assert of_mr["transfer"].to_numpy() == pytest.approx(0)
    assert of_mr["missed"].dropna().eq(1).all() and of_mr["missed"].notna().any()


def test_colour_differences_are_those_of_the_published_test_data():
    """Sharma, Wu and Dalal, Color Res. Appl. 30 (2005) 21: black and white are 100 apart."""
    assert transfer.colour_differences(np.zeros((1, 3)), np.ones((1, 3))) == pytest.approx(100)


def test_a_blend_in_colours_is_the_mean_of_the_two_pictures():
    one = pair("PET-MRI")
    shown = Blend().show(one.reference[None], one.other[None], 0, "hot")
    expected = (one.reference[..., None] + colours.apply_colour_map(one.other, "hot")) / 2
    assert shown[0] == pytest.approx(expected)


def skull() -> tuple[np.ndarray, np.ndarray]:
    """A CT of one thick ring of bone and some calcifications, and where the bone is."""
    rows, columns = np.indices((SIDE, SIDE))
    radius = np.hypot(rows - 100, columns - 100)
    ct = np.where((radius > 60) & (radius < 75), 1.0, 0.3)
    for row, column in ((90, 90), (100, 120), (120, 95)):
        ct[row : row + 4, column : column + 4] = 1.0
    return ct, ct > 0.9


def test_a_picture_that_is_the_ct_keeps_all_of_its_bone():
    ct, mask = skull()
    assert bone.bone_measures(ct, ct, mask) == pytest.approx(
        {"bone_error": 0, "bone_kept": 1, "bone_solidity": 1, "thin_contrast": 1}
    )


def test_a_skull_that_is_a_grey_band_with_a_bright_rim_is_called_hollow():
    ct, mask = skull()
    depth = scipy.ndimage.distance_transform_edt(mask)
    hollow = np.where(depth > 2, 0.5, ct)
    found = bone.bone_measures(hollow, ct, mask)
    assert found["bone_solidity"] == pytest.approx(0.5)
    thick = depth[np.hypot(*(np.indices(ct.shape) - 100)) > 50]
    # Calcifications of 4×4 pixels have no pixel deeper than 2.
    assert found["bone_kept"] == pytest.approx(1 - (thick > 2).sum() / mask.sum())
    assert found["thin_contrast"] == pytest.approx(1)


def test_calcifications_at_half_their_contrast_are_told():
    ct, mask = skull()
    assert bone.thin_contrast(0.3 + (ct - 0.3) / 2, ct, mask) == pytest.approx(0.5)
    assert math.isnan(bone.thin_contrast(ct, ct, np.zeros_like(mask)))


def test_bone_that_is_nowhere_thick_cannot_be_hollow():
    ct = np.zeros((SIDE, SIDE))
    ct[50:55, 20:180] = 1
    assert math.isnan(bone.bone_solidity(ct, ct, ct > 0.9))
    ct[50:56, 20:180] = 1
    assert bone.bone_solidity(ct, ct, ct > 0.9) == pytest.approx(1)


def readings(table: np.ndarray, uptakes: np.ndarray) -> dict[str, float]:
    """Uptake painted with a table, laid over another luminance, and read back."""
    painted = table[np.rint(uptakes * (len(table) - 1)).astype(int)]
    other_light = painted + np.linspace(-0.3, 0.3, uptakes.size)[:, None]
    read = uptake.read_uptake(other_light, table, np.linspace(0, 1, len(table)))
    return uptake.uptake_measures(read, uptakes)


def test_a_map_that_turns_its_hue_is_read_back_whatever_the_luminance():
    places = np.linspace(0, 1, 512)
    angle = 1.5 * np.pi * places
    plane = 0.2 * np.stack([0 * angle, np.cos(angle), np.sin(angle)], axis=-1).astype(np.float32)
    found = readings(colours.ycbcr_to_rgb(plane), np.random.default_rng(5).random(3000))
    for third in uptake.THIRDS:
        assert found[f"uptake_correlation_{third}"] > 0.999
        assert found[f"uptake_error_{third}"] < 2 / 512


@pytest.mark.parametrize("ends", [((0, 0, 0), (1, 1, 1)), ((0.5, 0, 0), (1, 0.5, 0.5))])
def test_a_map_of_one_hue_that_differs_by_lightness_alone_cannot_be_read_back(ends):
    first, last = (np.array(end, np.float32) for end in ends)
    table = first + np.linspace(0, 1, 512, dtype=np.float32)[:, None] * (last - first)
    found = readings(table, np.random.default_rng(5).random(3000))
    for third in uptake.THIRDS:
        assert abs(found[f"uptake_correlation_{third}"]) < 0.1


def test_a_map_of_one_hue_from_black_over_its_colour_to_white_cannot_be_read_back():
    places = np.linspace(0, 1, 512, dtype=np.float32)
    red = np.minimum(2 * places, 1)
    table = np.stack([red, *[np.maximum(2 * places - 1, 0)] * 2], axis=-1)
    found = readings(table, np.random.default_rng(5).random(3000))
    # Each chroma stands for two uptakes, above and below the pure colour.
    assert max(found[f"uptake_error_{third}"] for third in uptake.THIRDS) > 0.1


def test_the_palette_of_a_picture_is_found_in_its_order():
    table = uptake.map_table("rainbow")[::8]
    order = np.random.default_rng(6).permutation(np.repeat(np.arange(len(table)), 5))
    assert uptake.palette_of(table[order][:, None]) == pytest.approx(table)


def test_edges_of_the_reference_are_kept_in_its_own_picture_and_lost_in_its_negative():
    reference, other = pair().reference, pair().other
    inside = np.ones_like(reference, bool)
    assert anatomy.edges_kept(reference, reference, inside) == 1
    assert anatomy.edges_kept(1 - reference, reference, inside) == 0
    assert anatomy.edges_kept(np.zeros_like(other), reference, inside) == 0


def lesion_table(shares: dict[str, list[float]], **kind: object) -> pd.DataFrame:
    common = {
        "method": "m", "shown": "grey", "source": "CT", "amplitude": 0.25,
        "size": "small", "ground": "open", **kind,
    }  # fmt: skip
    return pd.DataFrame(
        {**common, "patient": patient, "transfer": share}
        for patient, values in shares.items()
        for share in values
    )


def test_a_cell_tells_median_tenth_percentile_lost_and_inverted():
    found = cells.cell(lesion_table({"a": [-0.5, 0.1, 0.5, 0.9, 1.0]}))
    assert found["median"] == 0.5 and found["lost"] == 0.4 and found["inverted"] == 0.2
    assert found["p10"] == pytest.approx(-0.5 + 0.4 * 0.6)
    assert math.isnan(found["median_low"])


def test_the_interval_of_a_median_reaches_from_patient_to_patient():
    found = cells.cell(lesion_table({"a": [0.1] * 9, "b": [0.9] * 9}))
    assert (found["median_low"], found["median_high"]) == pytest.approx((0.1, 0.9))


def test_the_worst_cell_comes_first_and_is_the_figure_that_counts():
    table = pd.concat(
        [
            lesion_table({"a": [0.9] * 12}),
            lesion_table({"a": [0.3] * 12}, source="MR"),
            lesion_table({"a": [0.0] * 12}, ground="saturated"),
            lesion_table({"a": [0.0] * 3}, size="large"),
        ]
    )
    found = cells.cells(table)
    assert list(found["p10"]) == sorted(found["p10"])
    pictures = pd.DataFrame([{"method": "m", "bone_error": 0.1, "edges_kept": 1}])
    (row,) = cells.figures(found, pictures).to_dict("records")
    # Saturated ground carries no goal, and three lesions are too few to be the worst.
    assert row["grey_p10"] == pytest.approx(0.3)
    assert row["worst_cell"] == "small bright MR lesion (+0.25) in grey"
    assert row["bone_error"] == 0.1 and math.isnan(row["colour_p10"])


def test_ranks_follow_each_figures_better_direction_and_share_ties():
    rows = pd.DataFrame(math.nan, index=["good", "bad", "without"], columns=list(cells.FIGURES))
    rows["grey_p10"], rows["bone_error"] = [0.9, 0.1, math.nan], [0.0, 0.3, 0.3]
    rows["bone_solidity"] = [1.2, 1.0, math.nan]
    found = cells.mean_ranks(rows)
    assert found["good"] == pytest.approx((1 + 1 + 1.5) / 3)
    assert found["bad"] == pytest.approx((2 + 2.5 + 1.5) / 3)
    assert found["without"] == 2.5
