"""Whatever a NIfTI, NRRD or MetaImage header says, the answer is the formula's value or a sentence.

A volume's value is a formula of patient coordinates, so each voxel that is read can be checked at
the place where the reader puts it. Whole, honest files must be read; contradicting, cut and damaged
ones must be read to the voxel or refused. Many more examples run with
``MEDFUSION_FUZZ=20000 pytest Testing/Unit/test_fuzz_files.py``.
"""

from __future__ import annotations

import gzip
import os
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from MedFusionLib.errors import MedFusionError
from MedFusionLib.registration.overlap import resample
from MedFusionLib.volumes.files import read_volume
from MedFusionLib.volumes.volume import Volume

EXAMPLES = int(os.environ.get("MEDFUSION_FUZZ", "200"))
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def fuzzed(share: float):
    """Settings for a share of the examples."""
    return settings(
        max_examples=max(1, round(share * EXAMPLES)),
        deadline=None,
        derandomize="MEDFUSION_FUZZ" not in os.environ,
        suppress_health_check=[HealthCheck.too_slow],
    )


def formula(points: np.ndarray) -> np.ndarray:
    """(…) values at (…, 3) points in LPS (mm): straight, so that interpolation keeps them."""
    return 40.0 + points @ [0.31, -0.17, 0.23]


def places(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(I, J, K, 3) LPS coordinates of the voxels of a grid."""
    indices = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return indices @ affine[:3, :3].T + affine[:3, 3]


@dataclass
class File:
    """The files of one volume by name, which of them is asked for, and what was done to it."""

    contents: dict[str, bytes]
    named: str
    rounding: float
    """By how much a stored value may differ from the formula's."""
    faults: list[str] = field(default_factory=list)


@st.composite
def grids(draw) -> tuple[np.ndarray, tuple[int, int, int]]:
    """(4, 4) affine to LPS within 60 mm of the centre, in any direction, and lengths I, J, K."""
    shape = tuple(draw(st.integers(2, 6)) for _ in range(3))
    number = st.floats(-1, 1, width=32)
    turn = np.array([draw(number) for _ in range(4)])
    if np.linalg.norm(turn) < 0.1:
        turn = np.array([0.0, 0.0, 0.0, 1.0])
    rotation = SimpleITK.VersorTransform(turn / np.linalg.norm(turn)).GetMatrix()
    spacing = [draw(st.floats(0.5, 4, width=32)) for _ in range(3)]
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(rotation, (3, 3)) * spacing
    if draw(st.booleans()):
        affine[:3, 2] *= -1  # a left-handed grid
    affine[:3, 3] = [draw(st.floats(-40, 40, width=32)) for _ in range(3)]
    return affine, shape


voxel_types = st.sampled_from(["u1", "i2", "u2", "i4", "f4", "f8"])


def stored_values(affine, shape, voxel_type) -> tuple[np.ndarray, float]:
    """(I, J, K) values in a type, and by how much they may differ from the formula."""
    exact = formula(places(affine, shape))
    if np.dtype(voxel_type).kind == "f":
        return exact.astype(voxel_type), 1e-3
    return np.rint(exact).astype(voxel_type), 0.501


def check(file: File, **how: str) -> None:
    """Write the files, read the named one, and compare all voxels with the formula."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in file.contents.items():
            (Path(folder) / name).write_bytes(content)
        try:
            volume = read_volume(Path(folder) / file.named, **how)
        except (MedFusionError, ValueError) as error:
            assert file.faults, f"an honest file was refused: {error}"
            assert len(str(error)) > 30 and not str(error).startswith("math")
            event(f"refused: {file.faults}")
            return
    event(f"read: {file.faults}")
    agree(volume, file.rounding)


def agree(volume: Volume, rounding: float) -> None:
    shape = volume.grid_shape[::-1]
    expected = formula(places(volume.affine_lps, shape))
    assert np.abs(volume.voxels.transpose(2, 1, 0) - expected).max() <= rounding
    # And from a turned grid inside it, as fusing would see it.
    middle = (np.array(shape) - 1) / 2
    steps = volume.affine_lps[:3, :3] @ np.diag(middle / 4)
    corner = (volume.affine_lps @ [*(middle * 0.75), 1])[:3]
    spacing = np.linalg.norm(steps, axis=0)
    inside = Volume(
        np.zeros((3, 3, 3), np.float32),
        tuple(spacing),
        tuple(corner),
        tuple((steps / spacing).flat),
    )
    seen = resample(volume, inside)
    expected = formula(places(inside.affine_lps, (3, 3, 3)))
    slack = rounding + (0.51 if volume.voxels.dtype.kind in "iu" else 0.0)
    assert np.abs(seen.voxels.transpose(2, 1, 0) - expected).max() <= slack


def cut_or_flipped(draw, content: bytes, header: int, packed: bool) -> tuple[bytes, str]:
    """Content with its voxels shortened, lengthened or, if they are packed, changed."""
    what = draw(st.sampled_from(["cut", "longer", "flipped"] if packed else ["cut", "longer"]))
    if what == "longer":
        return content + b"\0" * draw(st.integers(1, 20)), what
    at = draw(st.integers(header, len(content) - 1))
    if what == "cut":
        return content[:at], what
    flipped = bytearray(content)
    flipped[at] ^= 1 << draw(st.integers(0, 7))
    return bytes(flipped), what


# NIfTI


def header_of(draw, affine, shape, voxel_type, faults) -> nibabel.Nifti1Header:
    kind = draw(st.sampled_from([nibabel.Nifti1Header, nibabel.Nifti2Header]))
    header = kind(endianness=draw(st.sampled_from("<>")))
    header.set_data_dtype(np.dtype(voxel_type))
    header.set_data_shape((*shape, 1) if draw(st.booleans()) else shape)
    unit, millimetres = draw(st.sampled_from([(2, 1.0), (0, 1.0), (1, 1000.0), (3, 0.001)]))
    header["xyzt_units"] = unit + draw(st.sampled_from([0, 8]))
    ras = RAS @ affine
    ras[:3] /= millimetres
    place_both(draw, header, ras, shape, faults)
    for name, values in (
        ("pixdim", [np.nan, 0, -1, np.inf]),
        ("scl_slope", [np.inf, 0, np.nan]),
        ("datatype", [0, 1, 32, 1536, 999]),
        ("bitpix", [0, 7, 64 if voxel_type != "f8" else 8]),
        ("intent_code", [1002, 1006]),
    ):
        if draw(st.integers(0, 15)) == 0:
            faults.append(name)
            if name == "pixdim":
                header["pixdim"][draw(st.integers(1, 3))] = draw(st.sampled_from(values))
            else:
                header[name] = draw(st.sampled_from(values))
    return header


def place_both(draw, header, ras, shape, faults) -> None:
    """Write both positions; the first that is declared tells the truth, unless it is at fault."""
    sform, qform = draw(st.sampled_from([(1, 1), (2, 1), (1, 0), (0, 1), (4, 3), (0, 0)]))
    header.set_sform(ras, sform)
    header.set_qform(ras, qform)
    if (sform, qform) == (0, 0):
        faults.append("no position declared")
    other = ras.copy()
    what = draw(st.sampled_from(["same", "same", "near", "far", "mirror", "shear", "nan", "flat"]))
    if what == "near":
        other[:3, 3] += 0.04 * np.linalg.norm(ras[:3, :3], axis=0).min()
    elif what == "far":
        other[:3, 3] += draw(st.floats(1, 90)) * np.linalg.norm(ras[:3, :3], axis=0).min()
    elif what == "mirror":
        other[0] *= -1
    elif what == "shear":
        other[:3, 1] += draw(st.floats(0.05, 0.6)) * other[:3, 0]
    if what in ("nan", "flat"):
        rows = header["srow_x"], header["srow_y"], header["srow_z"]
        for row in rows:
            row[draw(st.integers(0, 2)) if what == "nan" else 1] = np.nan if what == "nan" else 0
        if sform:
            faults.append(f"sform {what}")
    elif what == "shear":
        if sform:
            header.set_sform(other, sform)
            faults.append("sform sheared")
    elif what != "same" and sform:
        header.set_qform(other, qform)
        if qform and what != "near":
            faults.append(f"qform {what}")
    elif what != "same":
        header.set_sform(other, 0)


@st.composite
def nifti_files(draw) -> File:
    affine, shape = draw(grids())
    voxel_type = draw(voxel_types)
    values, rounding = stored_values(affine, shape, voxel_type)
    # A quaternion of float32 is off by up to a thousandth near half a turn.
    rounding += 0.02
    faults: list[str] = []
    header = header_of(draw, affine, shape, voxel_type, faults)
    if draw(st.booleans()) and "scl_slope" not in faults and "datatype" not in faults:
        header["scl_slope"], header["scl_inter"] = 0.5, -8.0
        exact = (formula(places(affine, shape)) + 8) / 0.5
        is_float = values.dtype.kind == "f"
        values = (exact if is_float else np.rint(exact).clip(0, 255)).astype(voxel_type)
        rounding = rounding if is_float else 0.28
        if not is_float and exact.max() > 255:
            rounding = np.inf
    pair = draw(st.booleans())
    packed = draw(st.booleans())
    return assembled(draw, header, values, pair, packed, rounding, faults)


def assembled(draw, header, values, pair, packed, rounding, faults) -> File:
    second = isinstance(header, nibabel.Nifti2Header)
    magic = (b"ni" if pair else b"n+") + (b"2\0\r\n\032\n" if second else b"1\0")
    header["magic"] = np.frombuffer(magic, f"S{len(magic)}")[0]
    length = 540 if second else 348
    start = 0 if pair else length + 4 + 16 * draw(st.integers(0, 2))
    header["vox_offset"] = start
    order = header.endianness
    block = header.binaryblock
    voxels = values.astype(values.dtype.newbyteorder(order)).tobytes(order="F")
    header_part = block if pair else block + b"\0" * (start - length)
    suffix = ".gz" if packed else ""
    pack = (
        (lambda content: gzip.compress(content, mtime=0)) if packed else (lambda content: content)
    )
    if pair:
        contents = {f"x.hdr{suffix}": pack(header_part), f"x.img{suffix}": pack(voxels)}
        asked = draw(st.sampled_from(list(contents)))
        data = f"x.img{suffix}"
        content_start = 10 if packed else 0
    else:
        data = asked = f"x.nii{suffix}"
        contents = {data: pack(header_part + voxels)}
        content_start = 10 if packed else start
    damage = draw(st.sampled_from(["none", "none", "none", "outside", "inside"]))
    if damage == "outside":
        contents[data], what = cut_or_flipped(draw, contents[data], content_start, packed)
        # Zeros after a gzip member are padding by its own rules.
        if not (packed and what == "longer"):
            faults.append(what)
    elif damage == "inside" and packed:
        whole = voxels if pair else header_part + voxels
        at = draw(st.integers(0 if pair else start, len(whole) - 1))
        contents[data] = pack(whole[:at])
        faults.append("cut inside")
    if draw(st.booleans()):
        contents |= twins(contents, draw)
    return File(contents, asked, rounding, faults)


def twins(contents: dict[str, bytes], draw) -> dict[str, bytes]:
    """Files of the same stem that were not asked for, with other voxels."""
    names = ["x.nii", "x.nii.gz", "x.img", "x.hdr", "x.img.gz", "x.hdr.gz", "x.nrrd", "x.raw"]
    packed = any(name.endswith(".gz") for name in contents)
    pair = any(".img" in name for name in contents)
    # A pair's partner is the one that is packed alike; the others are strangers to it.
    free = [
        name
        for name in names
        if name not in contents
        and not (pair and name.endswith(".gz") == packed and ".nii" not in name)
    ]
    image = nibabel.Nifti1Image(np.full((3, 3, 3), 7, np.float32), np.eye(4))
    junk = image.to_bytes()
    return {
        name: gzip.compress(junk) if name.endswith(".gz") else junk
        for name in free
        if draw(st.booleans())
    }


@fuzzed(0.4)
@given(nifti_files())
def test_nifti_headers(file):
    check(file)


@fuzzed(0.1)
@given(nifti_files(), st.sampled_from(["sform", "qform"]))
def test_a_named_position_that_tells_the_truth_is_read_to_the_voxel(file, form):
    wrong = [fault for fault in file.faults if not fault.startswith("qform")]
    if form == "sform" and len(wrong) < len(file.faults):
        file.faults = wrong
        check(file, geometry="sform")


# NRRD and MetaImage

SPACES = {
    "left-posterior-superior": (1, 1, 1),
    "LPS": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "RAS": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "LAS": (1, -1, 1),
}
NRRD_TYPES = {"u1": "uchar", "i2": "short", "u2": "ushort", "i4": "int", "f4": "float"} | {
    "f8": "double"
}


def joined(numbers) -> str:
    return " ".join(repr(float(number)) for number in numbers)


def encoded(values: np.ndarray, order: str, encoding: str) -> bytes:
    raw = values.astype(values.dtype.newbyteorder(order)).tobytes(order="F")
    if encoding == "gzip":
        return gzip.compress(raw, mtime=0)
    if encoding == "zlib":
        return zlib.compress(raw)
    if encoding == "ascii":
        return (joined(values.ravel(order="F")) + "\n").encode()
    return raw


def faulty(draw, lines: dict[str, str], changes: dict[str, list[str | None]], faults) -> None:
    """Leave lines of a header out (None), or let them say something else."""
    if draw(st.integers(0, 2)):
        return
    name = draw(st.sampled_from(sorted(changes)))
    value = draw(st.sampled_from(changes[name]))
    faults.append(f"{name}: {value}")
    lines.pop(name, None)
    if value is not None:
        lines[name] = value


def damaged(draw, contents, data, start, encoding, faults) -> None:
    if draw(st.integers(0, 3)) == 0:
        packed = encoding in ("gzip", "zlib")
        contents[data], what = cut_or_flipped(draw, contents[data], start, packed)
        # Blank text and gzip's own name and time fields hold no voxel.
        faults.append(what)


@st.composite
def nrrd_files(draw) -> File:
    affine, shape = draw(grids())
    voxel_type = draw(voxel_types)
    values, rounding = stored_values(affine, shape, voxel_type)
    space = draw(st.sampled_from(sorted(SPACES)))
    stored = np.diag([*SPACES[space], 1]) @ affine
    encoding = draw(st.sampled_from(["raw", "raw", "gzip", "gzip", "ascii"]))
    order = draw(st.sampled_from("<>"))
    vectors = " ".join("(" + joined(column).replace(" ", ",") + ")" for column in stored[:3, :3].T)
    lines = {
        "type": NRRD_TYPES[voxel_type],
        "dimension": "3",
        "space": space,
        "sizes": " ".join(map(str, shape)),
        "space directions": vectors,
        "kinds": "domain domain domain",
        "endian": "little" if order == "<" else "big",
        "encoding": encoding,
        "space origin": "(" + joined(stored[:3, 3]).replace(" ", ",") + ")",
    }
    faults: list[str] = []
    changes: dict[str, list[str | None]] = {
        "type": ["block", "float128", None],
        "dimension": ["2", "4", "0", "three", None],
        "space": [None, "scanner-xyz", "3D-left-handed", "left-posterior-superior-time"],
        "sizes": ["0 3 3", "3 3", "-2 3 3", "9 9 9", "99999 99999 99999", "a b c", None],
        "space directions": [None, "(1,0,0) (1,0,0) (0,0,1)", "(nan,0,0) (0,1,0) (0,0,1)", "none"],
        "kinds": ["list domain domain", "domain domain"],
        "endian": [None, "middle"] if voxel_type != "u1" and encoding != "ascii" else ["middle"],
        "encoding": ["bzip2", "hex", "zip", None],
        "space origin": [None, "(nan,0,0)", "(0,0)"],
        "space units": ['"m" "m" "m"', '"um" "um" "um"'],
        "byte skip": ["3", "-2", "x"],
        "line skip": ["1"],
    }
    faulty(draw, lines, changes, faults)
    detached = draw(st.booleans())
    if detached:
        lines["data file"] = "x.raw"
    header = "NRRD0005\n" + "".join(f"{name}: {value}\n" for name, value in lines.items())
    content = encoded(values, order, encoding)
    if detached:
        contents, data, start = {"x.nhdr": header.encode() + b"\n", "x.raw": content}, "x.raw", 0
    else:
        front = header.encode() + b"\n"
        contents, data, start = {"x.nrrd": front + content}, "x.nrrd", len(front)
    damaged(draw, contents, data, start, encoding, faults)
    named = "x.nhdr" if detached else "x.nrrd"
    return File(contents, named, rounding, faults)


@fuzzed(0.25)
@given(nrrd_files())
def test_nrrd_headers(file):
    check(file)


META_TYPES = {
    "u1": "MET_UCHAR",
    "i2": "MET_SHORT",
    "u2": "MET_USHORT",
    "i4": "MET_INT",
    "f4": "MET_FLOAT",
    "f8": "MET_DOUBLE",
}


@st.composite
def metaimage_files(draw) -> File:
    affine, shape = draw(grids())
    voxel_type = draw(voxel_types)
    values, rounding = stored_values(affine, shape, voxel_type)
    encoding = draw(st.sampled_from(["raw", "zlib", "ascii"]))
    order = draw(st.sampled_from("<>"))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    content = encoded(values, order, encoding)
    lines = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": str(encoding != "ascii"),
        "BinaryDataByteOrderMSB": str(order == ">"),
        "CompressedData": str(encoding == "zlib"),
        "TransformMatrix": joined((affine[:3, :3] / spacing).T.ravel()),
        "Offset": joined(affine[:3, 3]),
        "ElementSpacing": joined(spacing),
        "DimSize": " ".join(map(str, shape)),
        "ElementType": META_TYPES[voxel_type],
    }
    if encoding == "zlib":
        lines["CompressedDataSize"] = str(len(content))
    faults = ["voxels as text"] if encoding == "ascii" else []
    changes: dict[str, list[str | None]] = {
        "NDims": ["2", "4", "x", None],
        "TransformMatrix": [None, "1 0 0 1 0 0 0 0 1", "nan 0 0 0 1 0 0 0 1", "1 0 0 1"],
        "Offset": [None, "nan 0 0", "0 0"],
        "ElementSpacing": [None, "0 1 1", "-1 1 1", "nan 1 1", "1 1"],
        "DimSize": ["0 3 3", "3 3", "9 9 9", "99999 99999 99999", "a b c", None],
        "ElementType": ["MET_FLOAT128", "MET_LONG", "", None],
        "ElementNumberOfChannels": ["2", "0", "x"],
        "DistanceUnits": ["cm", "um"],
        "ElementToIntensityFunctionSlope": ["2.0", "nan"],
        "ElementToIntensityFunctionOffset": ["-1024"],
        "Position": ["1 2 3"],
        "CompressedDataSize": ["3"] if encoding == "zlib" else [lines.get("Comment")],
    }
    if encoding != "zlib":
        del changes["CompressedDataSize"]
    faulty(draw, lines, changes, faults)
    detached = draw(st.booleans())
    header = "".join(f"{name} = {value}\n" for name, value in lines.items())
    front = (header + f"ElementDataFile = {'x.raw' if detached else 'LOCAL'}\n").encode()
    if detached:
        contents, data, start = {"x.mhd": front, "x.raw": content}, "x.raw", 0
    else:
        contents, data, start = {"x.mha": front + content}, "x.mha", len(front)
    damaged(draw, contents, data, start, encoding, faults)
    return File(contents, "x.mhd" if detached else "x.mha", rounding, faults)


@fuzzed(0.25)
@given(metaimage_files())
def test_metaimage_headers(file):
    check(file)
