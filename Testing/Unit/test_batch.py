"""Tables of cases."""

from __future__ import annotations

import numpy as np
import pytest

from MedFusionLib.batch.case_settings import refuse_bad_case_settings
from MedFusionLib.batch.cases import attempt, read_cases
from MedFusionLib.errors import InputError
from MedFusionLib.fusion import fuse
from MedFusionLib.volumes.files import read_volume, write_volume
from MedFusionLib.volumes.volume import Volume


def table(folder, text):
    place = folder / "cases.csv"
    place.write_text(text, encoding="utf-8")
    return place


def test_paths_are_relative_to_the_table(tmp_path):
    (case,) = read_cases(table(tmp_path, "case,reference,other\none,mr.nrrd,sub/ct.nrrd\n"))
    assert case.reference == tmp_path / "mr.nrrd"
    assert case.other == tmp_path / "sub" / "ct.nrrd"
    assert case.transform is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("case,reference\n1,a\n", "lacks the column other"),
        ("case,reference,other\n", "no case"),
        ("case,reference,other\n1,a,b\n1,c,d\n", "twice"),
        ("case,reference,other\n../1,a,b\n", "cannot name a file"),
    ],
)
def test_a_table_that_cannot_be_run_is_refused(tmp_path, text, words):
    with pytest.raises(InputError, match=words):
        read_cases(table(tmp_path, text))


SETTINGS = {"method": "pyramid", "device": "cpu", "grid": "reference", "planes": "one"}


def thick(modality, seed):
    """A head of 2 mm slices; its other steps are 1 mm."""
    k, j, i = np.indices((6, 34, 36))
    noise = np.random.default_rng(seed).integers(0, 40, k.shape)
    voxels = (200 + 90 * np.sin((i + (1 + seed) * j + 3 * k) / 6) + noise).astype(np.int16)
    return Volume(voxels, (1.0, 1.0, 2.0), (0.0, 0.0, 0.0), modality=modality)


def test_columns_set_planes_and_grid_of_single_cases(tmp_path):
    pair = [thick("MR", 0), thick("CT", 1)]
    for name, one in zip("ab", pair, strict=True):
        write_volume(one, tmp_path / f"{name}.nrrd")
    cases = read_cases(
        table(
            tmp_path,
            "case,reference,other,planes,grid,refinement\nfine,a.nrrd,b.nrrd,,isotropic,\n"
            "three,a.nrrd,b.nrrd,three,,\nplain,a.nrrd,b.nrrd,,,\n",
        )
    )
    chosen = ({"grid": "isotropic"}, {"planes": "three"}, {})
    refuse_bad_case_settings(cases, tmp_path / "cases.csv", SETTINGS)
    read = [
        read_volume(tmp_path / f"{name}.nrrd", kind)
        for name, kind in zip("ab", ("MR", "CT"), strict=True)
    ]
    for case, own in zip(cases, chosen, strict=True):
        outcome = attempt(case, tmp_path / "out.nrrd", SETTINGS | {"modalities": ("MR", "CT")})
        assert outcome.error == ""
        expected = fuse(read, **{**SETTINGS, **own}).volume
        written = read_volume(tmp_path / "out.nrrd")
        assert written.spacing == pytest.approx(expected.spacing)
        np.testing.assert_array_equal(written.voxels, expected.voxels)


@pytest.mark.parametrize(
    ("cells", "settings", "place", "words"),
    [
        (",,\n2,a,b,,finer,", {}, "Row 2 .*, column grid", "no grid 'finer'"),
        (",isotropic,splines", {}, "Row 1 .*, column refinement", "no refinement 'splines'"),
        ("two,,", {}, "Row 1 .*, column planes", "no number of planes"),
        (",,network", {}, "Row 1 .*, column refinement", "choose the grid"),
        (
            ",reference,",
            {"grid": "finest", "refinement": "network"},
            "Row 1 .*, column grid",
            "choose the grid",
        ),
    ],
)
def test_a_setting_that_no_case_can_have_is_told_by_row_and_column(
    tmp_path, cells, settings, place, words
):
    place_of_table = table(
        tmp_path, f"case,reference,other,planes,grid,refinement\n1,a,b,{cells}\n"
    )
    with pytest.raises(InputError, match=f"{place}: .*{words}"):
        refuse_bad_case_settings(
            read_cases(place_of_table), place_of_table, {**SETTINGS, **settings}
        )
