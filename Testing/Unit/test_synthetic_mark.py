"""What was made up says so in every file, and is never taken for an acquired volume."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from MedFusionLib.errors import IdentityError, InputError
from MedFusionLib.fusion import fuse
from MedFusionLib.registration.align import align
from MedFusionLib.volumes.files import read_volume, write_volume
from MedFusionLib.volumes.pairing import may_be_reference
from MedFusionLib.volumes.series_facts import SeriesFacts
from MedFusionLib.volumes.synthetic import KEY, marked, names_synthetic, synthetic_note
from MedFusionLib.volumes.volume import Volume

NOTE = "T2 from T1 and PD by MedFusion hinet"


def head(seed: int = 0, modality: str = "MR") -> Volume:
    voxels = np.zeros((4, 24, 20), np.int16)
    voxels[:, 4:-4, 4:-4] = np.random.default_rng(seed).integers(100, 1000, (4, 16, 12))
    return Volume(voxels, (1.0, 1.0, 2.0), (0.0, 0.0, 0.0), modality=modality)


@pytest.mark.parametrize("suffix", [".nrrd", ".nii", ".nii.gz", ".mha"])
def test_the_mark_survives_its_way_through_a_file_that_was_renamed(
    tmp_path: Path, suffix: str
) -> None:
    write_volume(marked(head(), NOTE), tmp_path / f"synthetic{suffix}")
    again = read_volume((tmp_path / f"synthetic{suffix}").rename(tmp_path / f"t2{suffix}"))
    assert synthetic_note(again) == NOTE
    write_volume(head(), tmp_path / f"acquired{suffix}")
    assert synthetic_note(read_volume(tmp_path / f"acquired{suffix}")) == ""


def test_nrrd_holds_the_mark_under_the_key_that_slicer_makes_an_attribute(tmp_path: Path) -> None:
    write_volume(marked(head(), NOTE), tmp_path / "synthetic.nrrd")
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(tmp_path / "synthetic.nrrd"))
    reader.ReadImageInformation()
    assert reader.GetMetaData(KEY) == NOTE


def test_a_format_that_cannot_hold_the_mark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot say that the volume is synthetic"):
        write_volume(marked(head(), NOTE), tmp_path / "synthetic.mgz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("synthetic_t2.nii.gz", True),
        ("T2_SYNTH.nrrd", True),
        ("SynthesizedFLAIR", True),
        ("synthesised t1", True),
        ("photosynthetic.nii", False),
        ("synthseg.nii", False),
        ("t2.nii", False),
    ],
)
def test_names_say_so(name: str, says: bool) -> None:
    assert names_synthetic(name) is says


def test_the_name_of_a_folder_says_nothing_of_the_files_in_it() -> None:
    assert synthetic_note(replace(head(), metadata={"source": "/synthetic/t2.nii"})) == ""


@pytest.mark.parametrize("role", ["reference", "other"])
def test_neither_fusion_nor_registration_takes_it(role: str) -> None:
    volumes = {"reference": head(), "other": head(1, "PET")}
    volumes[role] = marked(volumes[role], NOTE)
    pair = volumes["reference"], volumes["other"]
    for run in (lambda: fuse(*pair, "average"), lambda: align(*pair)):
        with pytest.raises(IdentityError, match=f"The {role} volume is synthetic"):
            run()


def test_a_forced_fusion_says_so_once() -> None:
    report = fuse(marked(head(), NOTE), head(1, "PET"), "average", force=True).report
    assert sum("synthetic" in warning for warning in report["warnings"]) == 1


def test_what_was_fused_from_it_by_force_is_known_by_its_file(tmp_path) -> None:
    fused = fuse(head(), marked(head(1, "PET"), NOTE), "average", force=True).volume
    for name in ("fused.nrrd", "fused.nii.gz"):
        write_volume(fused, tmp_path / name)
        again = read_volume(tmp_path / name)
        assert "fusion with" in synthetic_note(again)
        with pytest.raises(IdentityError, match="is synthetic"):
            fuse(again, head(1, "PET"), "average")


def test_it_is_no_default_reference() -> None:
    facts = SeriesFacts("1", "T1 MPRAGE", modality="MR", shape=(20, 9, 9), spacing=(1.0, 1.0, 1.0))
    assert may_be_reference(facts)
    assert not may_be_reference(replace(facts, description="SYNTHETIC T1 from T2 and PD"))
