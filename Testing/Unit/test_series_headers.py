"""What one file's header tells of its series."""

from __future__ import annotations

import numpy as np
from dicom_phantom import blank, set_pixels, write, write_enhanced
from dicom_study import write_dicom

from MedFusionLib.volumes.series_headers import header_facts
from MedFusionLib.volumes.volume import Volume

SMALL = Volume(np.ones((3, 6, 7), np.int16), (1.0, 1.5, 2.0), (0.0, 0.0, 0.0))


def facts(folder, **fields):
    write_dicom(folder, SMALL, "MR", "T1", **fields)
    return header_facts(folder / "IM0001.dcm")


def test_the_fields_of_a_header_become_facts(tmp_path):
    found = facts(
        tmp_path,
        ImageType=["DERIVED", "PRIMARY", "MPR"],
        ContrastBolusAgent="Gadovist",
        MRAcquisitionType="3D",
        CorrectedImage=["DECY", "ATTN"],
        SeriesType=["STATIC", "IMAGE"],
        Manufacturer="MedFusion",
    )
    assert found == {
        "image_type": ("DERIVED", "PRIMARY", "MPR"),
        "manufacturer": "MedFusion",
        "contrast_agent": "Gadovist",
        "acquisition": "3D",
        "corrections": ("DECY", "ATTN"),
        "series_type": ("STATIC", "IMAGE"),
        "shape": (1, 6, 7),
        "spacing": (1.0, 1.5, 2.0),
        "is_fused": True,
        "is_colour": False,
    }


def test_the_distance_of_slices_comes_before_their_thickness(tmp_path):
    assert facts(tmp_path, SpacingBetweenSlices=3.5)["spacing"] == (1.0, 1.5, 3.5)


def test_frames_are_slices(tmp_path):
    found = header_facts(write_enhanced(tmp_path / "one.dcm"))
    assert found["shape"] == (9, 12, 10)


def test_emptied_and_missing_fields_tell_nothing(tmp_path):
    image = blank("MR")
    set_pixels(image, np.zeros((4, 5), "u2"))
    del image.ImageType
    image.ContrastBolusAgent, image.PixelSpacing = "", None
    found = header_facts(write(image, tmp_path / "one.dcm"))
    assert found["image_type"] == ()
    assert found["contrast_agent"] == ""
    assert found["spacing"] == (0.0, 0.0, 0.0)


def test_a_file_that_is_gone_or_is_no_image_tells_nothing(tmp_path):
    assert header_facts(tmp_path / "gone.dcm") == {}
    (tmp_path / "text.dcm").write_text("no image")
    assert header_facts(tmp_path / "text.dcm") == {}
