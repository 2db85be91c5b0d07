"""NIfTI-1 and NIfTI-2: single files and .hdr/.img pairs, plain or packed by gzip.

Read here and not by ITK, which takes the voxels of ``x.nii`` when it is asked for ``x.nii.gz``
beside it, fills what a short file lacks with zeros, hides one of the two positions a header can
hold, and knows no NIfTI-2. Layouts and rules: nifti1.h and nifti2.h (nifti.nimh.nih.gov).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MedFusionLib.errors import InputError
from MedFusionLib.volumes.content import damaged, first_bytes, refuse_other_length, whole_content
from MedFusionLib.volumes.nifti_geometry import NiftiPlace, affine_of
from MedFusionLib.volumes.synthetic import from_description
from MedFusionLib.volumes.volume import Volume, placed

SUFFIXES = (".nii", ".hdr", ".img")
LABEL, DISPLACEMENTS = 1002, 1006
VOXEL_TYPES = {
    2: ("u1", 1),
    4: ("i2", 1),
    8: ("i4", 1),
    16: ("f4", 1),
    64: ("f8", 1),
    128: ("u1", 3),
    256: ("i1", 1),
    512: ("u2", 1),
    768: ("u4", 1),
    1024: ("i8", 1),
    1280: ("u8", 1),
    2304: ("u1", 4),
}
"""numpy type and values per voxel of each code that MedFusion reads."""
COMPLEX_TYPES = (32, 1792, 2048)

_NIFTI_1 = {
    "dim": ("8i2", 40),
    "intent_code": ("i2", 68),
    "datatype": ("i2", 70),
    "bitpix": ("i2", 72),
    "pixdim": ("8f4", 76),
    "vox_offset": ("f4", 108),
    "scl_slope": ("f4", 112),
    "scl_inter": ("f4", 116),
    "xyzt_units": ("u1", 123),
    "descrip": ("S80", 148),
    "qform_code": ("i2", 252),
    "sform_code": ("i2", 254),
    "quatern": ("3f4", 256),
    "qoffset": ("3f4", 268),
    "srow": ("(3,4)f4", 280),
}
_NIFTI_2 = {
    "datatype": ("i2", 12),
    "bitpix": ("i2", 14),
    "dim": ("8i8", 16),
    "pixdim": ("8f8", 104),
    "vox_offset": ("i8", 168),
    "scl_slope": ("f8", 176),
    "scl_inter": ("f8", 184),
    "descrip": ("S80", 240),
    "qform_code": ("i4", 344),
    "sform_code": ("i4", 348),
    "quatern": ("3f8", 352),
    "qoffset": ("3f8", 376),
    "srow": ("(3,4)f8", 400),
    "xyzt_units": ("i4", 500),
    "intent_code": ("i4", 504),
}
_KINDS = {348: (_NIFTI_1, 344, b"n+1", b"ni1"), 540: (_NIFTI_2, 4, b"n+2", b"ni2")}
"""Fields, place of the magic, and the magic of a single file and of a pair, by header length."""
HEADER_BYTES = max(_KINDS)


@dataclass(frozen=True)
class _Header:
    """What a header says, with its length and whether its voxels lie in a file of their own."""

    fields: np.void
    byte_order: str
    length: int
    is_pair: bool

    def __getitem__(self, name: str) -> np.ndarray:
        return self.fields[name]


def is_nifti(path: Path) -> bool:
    """Whether a file is, or is named like, NIfTI."""
    return (
        _plain_name(path).endswith(SUFFIXES) or _header(first_bytes(path, HEADER_BYTES)) is not None
    )


def read_nifti(path: Path, geometry: str | None = None) -> Volume:
    """Read one volume; scaled values become float32, others keep their type.

    ``geometry`` names the position to take, ``sform`` or ``qform``, where the two disagree or the
    header declares neither. Raises ``InputError`` for what is not one whole volume.
    """
    header_path, voxels_path = _files(path)
    content = whole_content(header_path)
    header = _header(content)
    if header is None:
        raise _no_nifti(header_path, content)
    if header.is_pair != (voxels_path != header_path):
        raise InputError(
            f"'{header_path}' says that its voxels lie in "
            f"{'another' if header.is_pair else 'the same'} file, and its name says otherwise. "
            "Convert it to .nii.gz."
        )
    _refuse_no_image(header, path)
    shape = _shape(header, path)
    if header.is_pair:
        content = whole_content(voxels_path)
    voxels = _scaled(_stored(header, content, shape, voxels_path), header, path)
    place = NiftiPlace(
        header["srow"].astype(float),
        int(header["sform_code"]),
        header["quatern"].astype(float),
        header["qoffset"].astype(float),
        int(header["qform_code"]),
        header["pixdim"].astype(float),
        int(header["xyzt_units"]),
        shape,
    )
    affine, warnings = affine_of(place, path, geometry)
    metadata = {"source": str(path)} | ({"warnings": "\n".join(warnings)} if warnings else {})
    metadata |= from_description(bytes(header["descrip"]).decode("latin-1"))
    return placed(voxels, affine, metadata)


def _plain_name(path: Path) -> str:
    return path.name.lower().removesuffix(".gz")


def _files(path: Path) -> tuple[Path, Path]:
    """Header file and voxel file: one and the same, unless the name is that of a pair."""
    name = _plain_name(path)
    if name.endswith(".img"):
        return _partner(path, "hdr"), path
    if name.endswith(".hdr"):
        return path, _partner(path, "img")
    return path, path


def _partner(path: Path, ending: str) -> Path:
    """The other file of a pair; one that is packed like the named one goes first."""
    packed = path.name.lower().endswith(".gz")
    stem = path.name[: -len(".img.gz" if packed else ".img")]
    upper = path.name[len(stem) :].isupper()
    endings = [f".{ending}.gz", f".{ending}"] if packed else [f".{ending}", f".{ending}.gz"]
    for candidate in endings:
        partner = path.with_name(stem + (candidate.upper() if upper else candidate))
        if partner.is_file():
            return partner
    raise InputError(
        f"'{path}' is half of a pair: '{stem}.{ending}' is not beside it. Put it there."
    )


def _header(content: bytes | bytearray) -> _Header | None:
    """The header at the start of some bytes, in either byte order."""
    for order in "<>":
        length = int.from_bytes(content[:4], "little" if order == "<" else "big")
        if length not in _KINDS or len(content) < length:
            continue
        fields, place, single, pair = _KINDS[length]
        magic = bytes(content[place : place + 3])
        if magic not in (single, pair):
            continue
        layout = np.dtype(
            {
                "names": list(fields),
                "formats": [_ordered(form, order) for form, _ in fields.values()],
                "offsets": [offset for _, offset in fields.values()],
                "itemsize": length,
            }
        )
        fields_read = np.frombuffer(content, layout, 1)[0]
        return _Header(fields_read, order, length, magic == pair)
    return None


def _ordered(form: str, order: str) -> np.dtype:
    return np.dtype(form).newbyteorder("<" if order == "<" else ">")


def _no_nifti(path: Path, content: bytearray) -> InputError:
    if int.from_bytes(content[:4], "little") == 348 or int.from_bytes(content[:4], "big") == 348:
        return InputError(
            f"'{path}' is truncated, or an Analyze 7.5 file, which does not say which side is "
            "left. Convert its source to NIfTI."
        )
    return InputError(
        f"'{path}' cannot be read as NIfTI: it is truncated, or of another format. Export it again."
    )


def _refuse_no_image(header: _Header, path: Path) -> None:
    intent, kind = int(header["intent_code"]), int(header["datatype"])
    if intent == LABEL:
        raise InputError(f"'{path}' is a label map, not an image. Choose an MR, CT, PET or SPECT.")
    if intent == DISPLACEMENTS:
        raise InputError(f"'{path}' holds displacements, not an image. Choose the image.")
    if kind in COMPLEX_TYPES:
        raise InputError(f"'{path}' holds complex numbers. Save the magnitude as a volume.")
    if kind not in VOXEL_TYPES:
        raise InputError(
            f"'{path}' holds voxels of a kind that MedFusion does not read (NIfTI type {kind}). "
            "Save it with whole numbers of 8 to 64 bits or floating point."
        )
    code, values = VOXEL_TYPES[kind]
    bits = np.dtype(code).itemsize * 8 * values
    if int(header["bitpix"]) != bits:
        raise damaged(path, f"its header tells of {int(header['bitpix'])} bits a voxel, not {bits}")


def _shape(header: _Header, path: Path) -> tuple[int, int, int, int]:
    """Voxels along I, J and K, and values per voxel along the fifth dimension."""
    dimensions = int(header["dim"][0])
    if not 1 <= dimensions <= 7:
        raise damaged(path, f"its header tells of {dimensions} dimensions")
    lengths = [int(length) for length in header["dim"][1 : dimensions + 1]]
    if min(lengths) < 1:
        raise damaged(path, f"its header tells of {'×'.join(map(str, lengths))} voxels")
    i, j, k, times, values, *further = (*lengths, *[1] * (7 - dimensions))
    if times > 1 or max(further) > 1:
        raise InputError(
            f"'{path}' holds a 4D image of {times * math.prod(further)} time points. Save one of "
            "them as a 3D volume."
        )
    if min(i, j, k) < 2:
        raise InputError(
            f"'{path}' holds a single slice ({i}×{j}×{k}). MedFusion needs a volume of at least "
            "two slices along each axis."
        )
    return i, j, k, values


def _stored(
    header: _Header, content: bytearray, shape: tuple[int, int, int, int], path: Path
) -> np.ndarray:
    """Voxels as they are stored, (K, J, I) or (K, J, I, 3), in this machine's byte order."""
    code, per_voxel = VOXEL_TYPES[int(header["datatype"])]
    i, j, k, values = shape
    if (values > 1 and per_voxel > 1) or values * per_voxel not in (1, 3, 4):
        raise InputError(
            f"'{path}' holds {values * per_voxel} values per voxel. MedFusion reads one (scalar) "
            "or three and four (colour)."
        )
    kind = _ordered(code, header.byte_order)
    start = _voxel_start(header, path)
    count = i * j * k * values * per_voxel
    refuse_other_length(len(content), start + count * kind.itemsize, path)
    flat = np.frombuffer(content, kind, count, start)
    if values > 1:
        voxels = np.moveaxis(flat.reshape(values, k, j, i), 0, 3)
    else:
        voxels = flat.reshape((k, j, i, per_voxel) if per_voxel > 1 else (k, j, i))
    if voxels.ndim == 4:
        voxels = voxels[..., :3]
    return np.require(voxels, np.dtype(code), ["C", "A", "W"])


def _voxel_start(header: _Header, path: Path) -> int:
    start = float(header["vox_offset"])
    least = 0 if header.is_pair else header.length
    if not np.isfinite(start) or start < least or start != int(start):
        raise damaged(path, f"its header lets the voxels begin at byte {start:g}")
    return int(start)


def _scaled(stored: np.ndarray, header: _Header, path: Path) -> np.ndarray:
    """Stored values times slope plus intercept; a slope of 0 or NaN means that there is none."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or math.isnan(slope) or stored.ndim == 4 or (slope, intercept) == (1, 0):
        return stored.astype(np.float32) if stored.dtype == np.float64 else stored
    if not math.isfinite(slope) or not math.isfinite(intercept):
        raise damaged(path, f"its values are scaled by {slope:g} and shifted by {intercept:g}")
    scaled = np.empty(stored.shape, np.float32)
    for index, plane in enumerate(stored):
        scaled[index] = plane.astype(np.float64) * slope + intercept
    return scaled
