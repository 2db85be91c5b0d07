"""From stored pixels to values: compression, sign, unused bits, inversion, padding, colour."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from dicom_phantom import (
    Grid,
    blank,
    decimals,
    frames,
    head,
    set_grid,
    set_pixels,
    truth,
    worst,
    write,
    write_enhanced,
    write_series,
)
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from MedFusionLib.errors import InputError
from MedFusionLib.volumes.files import read_volume


def signed_head(points):
    return head(points) - 700


def stored_pixels(image):
    kind = {0: "<u2", 1: "<i2"}[image.PixelRepresentation]
    return np.frombuffer(image.PixelData, kind).reshape(-1, image.Rows, image.Columns)


def encoder(name):
    """(stored (J, I), bits) → the bytes of one frame, by an encoder that is not GDCM's."""
    codecs = pytest.importorskip("imagecodecs", reason="needs imagecodecs")
    return {
        "jpeg-ls": lambda pixels, bits: codecs.jpegls_encode(pixels),
        "jpeg-2000": lambda pixels, bits: codecs.jpeg2k_encode(
            pixels, codecformat="j2k", reversible=True, level=0, bitspersample=bits
        ),
        "lossless jpeg": lambda pixels, bits: codecs.ljpeg_encode(pixels),
    }[name]


SYNTAXES = {
    "jpeg-ls": JPEGLSLossless,
    "jpeg-2000": JPEG2000Lossless,
    "lossless jpeg": JPEGLosslessSV1,
}


def compressed(name, bits, signed):
    encode = encoder(name)

    def edit(image, index=0):
        stored = stored_pixels(image)
        image.BitsStored, image.HighBit = bits, bits - 1
        image.PixelRepresentation = int(signed)
        # Signed values are coded by the bits that they have, without the ones above.
        coded = (stored.astype(np.int64) & ((1 << bits) - 1)).astype(np.uint16)
        if name == "jpeg-2000" and signed:
            coded = stored.astype(np.int16)
        image.PixelData = encapsulate([bytes(encode(plane, bits)) for plane in coded])
        image["PixelData"].VR = "OB"
        image["PixelData"].is_undefined_length = True
        image.file_meta.TransferSyntaxUID = SYNTAXES[name]

    return edit


@pytest.mark.parametrize("name", SYNTAXES)
@pytest.mark.parametrize(("bits", "signed"), [(16, True), (12, True), (16, False), (12, False)])
def test_losslessly_compressed_series_keep_every_value(tmp_path, name, bits, signed):
    formula = signed_head if signed else head
    edit = compressed(name, bits, signed)
    folder = write_series(
        tmp_path, formula=formula, dtype="i2" if signed else "u2", intercept=-10, edit=edit
    )
    assert worst(read_volume(folder), formula) < 0.51


@pytest.mark.parametrize("name", SYNTAXES)
def test_compressed_frames_of_one_file_keep_every_value_in_any_order(tmp_path, name):
    edit = compressed(name, 16, False)
    path = write_enhanced(tmp_path / "mr.dcm", order=[4, 0, 8, 2, 6, 1, 7, 3, 5], edit=edit)
    assert worst(read_volume(path)) < 0.51


def test_run_lengths_are_decoded(tmp_path):
    folder = write_series(tmp_path, formula=signed_head, edit=lambda i, k: i.compress(RLELossless))
    assert worst(read_volume(folder), signed_head) < 0.51


@pytest.mark.parametrize(
    "syntax", [DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_other_uncompressed_forms_give_the_same_values(tmp_path, syntax):
    folder = write_series(tmp_path, formula=signed_head)
    for path in folder.iterdir():
        image = pydicom.dcmread(path)
        if syntax == ExplicitVRBigEndian:
            image.PixelData = np.frombuffer(image.PixelData, "<i2").astype(">i2").tobytes()
        image.file_meta.TransferSyntaxUID = syntax
        implicit = syntax == ImplicitVRLittleEndian
        little = syntax != ExplicitVRBigEndian
        pydicom.dcmwrite(path, image, implicit_vr=implicit, little_endian=little)
    assert worst(read_volume(folder), signed_head) < 0.51


@pytest.mark.parametrize("name", SYNTAXES)
def test_a_compressed_frame_that_is_cut_off_is_refused(tmp_path, name):
    edit = compressed(name, 16, True)

    def cut(image, index):
        edit(image, index)
        if index == 5:
            stream = pydicom.encaps.get_frame(image.PixelData, 0, number_of_frames=1)
            image.PixelData = encapsulate([stream[: len(stream) * 2 // 3]])
            image["PixelData"].is_undefined_length = True

    with pytest.raises(InputError, match=r"IM0005\.dcm.*truncated"):
        read_volume(write_series(tmp_path, formula=signed_head, edit=cut))


@pytest.mark.parametrize("name", SYNTAXES)
def test_a_compressed_frame_that_is_damaged_and_ends_well_is_refused(tmp_path, name):
    edit = compressed(name, 16, False)

    def damage(image, index):
        edit(image, index)
        if index == 5:
            stream = pydicom.encaps.get_frame(image.PixelData, 0, number_of_frames=1)
            image.PixelData = encapsulate([stream[: len(stream) // 2] + b"\xff\xd9"])
            image["PixelData"].is_undefined_length = True

    with pytest.raises(InputError, match=r"IM0005\.dcm.*truncated or damaged"):
        read_volume(write_series(tmp_path, dtype="u2", edit=damage))


def test_run_lengths_that_are_cut_off_are_refused(tmp_path):
    def cut(image, index):
        image.compress(RLELossless)
        stream = pydicom.encaps.get_frame(image.PixelData, 0, number_of_frames=1)
        image.PixelData = encapsulate([stream[: len(stream) * 2 // 3]])
        image["PixelData"].is_undefined_length = True

    with pytest.raises(InputError, match="truncated or damaged"):
        read_volume(write_series(tmp_path, edit=cut))


def test_an_unknown_compression_is_refused(tmp_path):
    def unknown(image, index):
        image.PixelData = encapsulate([b"\0" * 64])
        image["PixelData"].is_undefined_length = True
        image.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.201"

    with pytest.raises(InputError, match=r"Export the series again|truncated"):
        read_volume(write_series(tmp_path, edit=unknown))


@pytest.mark.parametrize("signed", [True, False])
def test_bits_above_the_stored_ones_are_no_part_of_the_value(tmp_path, signed):
    # Old files keep overlays there.
    formula = signed_head if signed else head

    def overlaid(image, index):
        stored = stored_pixels(image).astype(np.int64) & 0xFFF
        noise = np.random.default_rng(index).integers(0, 16, stored.shape) << 12
        image.PixelData = (stored | noise).astype("<u2").tobytes()
        image.BitsStored, image.HighBit = 12, 11
        image.add_new((0x6000, 0x0102), "US", 12)

    dtype = "i2" if signed else "u2"
    folder = write_series(tmp_path / "a", formula=formula, dtype=dtype, edit=overlaid)
    assert worst(read_volume(folder), formula) < 0.51

    def without_overlay(image, index):
        overlaid(image, index)
        del image[0x6000, 0x0102]

    folder = write_series(tmp_path / "b", formula=formula, dtype=dtype, edit=without_overlay)
    with pytest.raises(InputError, match="more than the 12 bits"):
        read_volume(folder)


def inverted(image, index):
    stored = stored_pixels(image).astype(np.int64)
    image.PixelData = ((1 << 12) - 1 - stored).astype("<u2").tobytes()
    image.BitsStored, image.HighBit = 12, 11
    image.PhotometricInterpretation = "MONOCHROME1"


def test_an_image_stored_from_white_to_black_is_turned_round(tmp_path):
    folder = write_series(tmp_path, modality="MR", dtype="u2", edit=inverted)
    assert worst(read_volume(folder)) < 0.51


@pytest.mark.parametrize("modality", ["CT", "PT", "NM"])
def test_values_with_a_meaning_are_not_turned_round_but_refused(tmp_path, modality):
    with pytest.raises(InputError, match="MONOCHROME1"):
        read_volume(write_series(tmp_path, modality=modality, dtype="u2", edit=inverted))


@pytest.mark.parametrize("written", [-2000, 63536], ids=["signed", "as unsigned"])
def test_padding_becomes_the_smallest_measured_value(tmp_path, written):
    def padded(image, index):
        stored = stored_pixels(image).copy()
        stored[:, :2] = -2000
        image.PixelData = stored.tobytes()
        image.add_new("PixelPaddingValue", "US" if written > 0 else "SS", written)

    volume = read_volume(write_series(tmp_path, formula=signed_head, edit=padded, intercept=-5))
    assert np.abs(volume.voxels - truth(volume, signed_head))[:, 2:].max() < 0.51
    assert (volume.voxels[:, :2] == volume.voxels[:, 2:].min()).all()


def test_a_range_of_padding_is_background_too(tmp_path):
    def padded(image, index):
        stored = stored_pixels(image).copy()
        stored[:, 0], stored[:, 1] = -2000, -1990
        image.PixelData = stored.tobytes()
        image.add_new("PixelPaddingValue", "SS", -2000)
        image.add_new("PixelPaddingRangeLimit", "SS", -1985)

    volume = read_volume(write_series(tmp_path, formula=signed_head, edit=padded))
    assert (volume.voxels[:, :2] == volume.voxels[:, 2:].min()).all()


def test_a_padding_of_zero_below_all_values_stays_zero(tmp_path):
    def padded(image, index):
        stored = stored_pixels(image).copy()
        stored[:, 0] = 0
        image.PixelData = stored.tobytes()
        image.add_new("PixelPaddingValue", "US", 0)

    volume = read_volume(
        write_series(
            tmp_path, modality="MR", formula=lambda p: head(p) + 50, dtype="u2", edit=padded
        )
    )
    assert (volume.voxels[:, 0] == 0).all()
    assert volume.voxels[:, 1:].min() >= 50


def colours(grid):
    """(K, J, I, 3) uint8, a different formula for each colour."""
    grey = frames(grid, range(grid.shape[0])).astype(float) / 1500
    return np.rint(255 * np.stack([grey, grey**2, 1 - grey], -1)).astype(np.uint8)


def write_colour(folder, edit):
    """RGB slices, changed by ``edit(image, pixels)``."""
    grid = Grid()
    for index, pixels in enumerate(colours(grid)):
        image = blank("OT")
        image.InstanceNumber = index + 1
        set_grid(image, grid)
        image.ImagePositionPatient = decimals(grid.position(index))
        set_pixels(image, pixels[..., 0])
        image.SamplesPerPixel, image.PhotometricInterpretation = 3, "RGB"
        image.PlanarConfiguration = 0
        image.PixelData = pixels.tobytes()
        image["PixelData"].VR = "OB"
        edit(image, pixels)
        write(image, folder / f"IM{index:04d}.dcm")
    return folder


def by_planes(image, pixels):
    image.PlanarConfiguration = 1
    image.PixelData = np.ascontiguousarray(pixels.transpose(2, 0, 1)).tobytes()


@pytest.mark.parametrize("edit", [lambda image, pixels: None, by_planes], ids=["pixels", "planes"])
def test_colours_are_read_as_they_are(tmp_path, edit):
    np.testing.assert_array_equal(read_volume(write_colour(tmp_path, edit)).voxels, colours(Grid()))


def test_a_palette_becomes_its_colours(tmp_path):
    table = np.stack([np.arange(256), 255 - np.arange(256), np.arange(256) // 2]).astype(np.uint8)

    def indexed(image, pixels):
        set_pixels(image, pixels[..., 0])
        image.PhotometricInterpretation = "PALETTE COLOR"
        del image.PlanarConfiguration
        for name, entries in zip(("Red", "Green", "Blue"), table, strict=True):
            setattr(image, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 8])
            setattr(image, f"{name}PaletteColorLookupTableData", entries.tobytes())

    expected = table.T[colours(Grid())[..., 0]]
    np.testing.assert_array_equal(read_volume(write_colour(tmp_path, indexed)).voxels, expected)


def test_a_jpeg_in_colour_comes_back_in_rgb(tmp_path):
    codecs = pytest.importorskip("imagecodecs", reason="needs imagecodecs")

    def jpeg(image, pixels):
        data = codecs.jpeg8_encode(pixels, level=100, subsampling="444")
        image.PhotometricInterpretation = "YBR_FULL"
        image.PixelData = encapsulate([bytes(data)])
        image["PixelData"].is_undefined_length = True
        image.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        image.LossyImageCompression = "01"

    volume = read_volume(write_colour(tmp_path, jpeg))
    assert np.abs(volume.voxels.astype(int) - colours(Grid())).max() <= 6
    assert "compressed with loss" in volume.metadata["warnings"]


def test_grey_and_colour_in_one_series_are_refused(tmp_path):
    def grey(image, pixels):
        if image.InstanceNumber == 3:
            set_pixels(image, pixels[..., 0])

    with pytest.raises(InputError, match=r"photometric interpretations|grey and colour"):
        read_volume(write_colour(tmp_path, grey))
