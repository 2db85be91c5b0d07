"""Judges methods on slice pairs: every lesion, and bone, uptake and edges of every picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from MedFusionLib.evaluation.grey_images import grey, read_image
from MedFusionLib.evaluation.legibility import anatomy, bone, lesions, transfer, uptake
from MedFusionLib.evaluation.legibility.showing import Shower
from MedFusionLib.evaluation.pairs import Published
from MedFusionLib.evaluation.scoring import Progress, Sources
from MedFusionLib.slices import colour as colours
from MedFusionLib.slices.painting import choose_colour_map
from MedFusionLib.volumes.volume import MODALITIES, Volume

GREY, COLOUR = "grey", "colour"
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Slices:
    """A pair as it is judged: both slices (H, W) in [0, 1], and what the other one is."""

    sources: Sources
    reference: np.ndarray
    other: np.ndarray
    modality: str
    colour_map: str | None
    """In which `fuse` shows a volume of this modality; None for grey."""


@dataclass(frozen=True)
class Judged:
    """What one method shows of one pair: rows of two tables."""

    lesions: list[dict[str, Any]]
    picture: dict[str, Any]


def slices_of(sources: Sources) -> Slices:
    """A pair's slices. Of a colour image the luminance is the uptake."""
    modality = modality_of(sources)
    reference, other = (
        grey(image).astype(np.float32) / 255 for image in (sources.reference, sources.other)
    )
    stack = Volume(other[None], (1, 1, 1), (0, 0, 0), modality=modality)
    return Slices(sources, reference, other, modality, choose_colour_map(stack, "auto"))


def modality_of(sources: Sources) -> str:
    """What the other image is: the set's name begins with it (CT-MRI), or nobody knows."""
    name = sources.pair.set_name.split("-")[0]
    return name if name in MODALITIES else UNKNOWN


def judge_method(shower: Shower, pairs: Sequence[Slices], progress: Progress) -> Iterator[Judged]:
    """Judge a method on each pair."""
    for number, pair in enumerate(pairs):
        yield judge_pair(shower, pair)
        progress(number + 1, len(pairs), f"Judging {shower.name}")


def judge_pair(shower: Shower, pair: Slices) -> Judged:
    """Fuse the pair without and with lesions, in grey and, where it has one, in its colours."""
    key = "/".join(pair.sources.pair.key)
    changed = list(lesions.variants(pair.reference, pair.other, key))
    references = np.stack(
        [pair.reference, *(one.source if one.in_reference else pair.reference for one in changed)]
    )
    others = np.stack(
        [pair.other, *(pair.other if one.in_reference else one.source for one in changed)]
    )
    number = pair.sources.pair.slice_number
    fused = shower.show(references, others, number, None)
    rows = [
        row
        for one, picture in zip(changed, fused[1:], strict=True)
        for row in _grey_rows(pair, one, (fused[0], picture))
    ]
    coloured = None
    if pair.colour_map is not None:
        shown = shower.show(references, others, number, pair.colour_map)
        coloured = shown[0]
        rows += [
            row
            for one, picture in zip(changed, shown[1:], strict=True)
            for row in _colour_rows(pair, one, (coloured, picture))
        ]
    named = {**_names(pair), "method": shower.name}
    picture = {**named, **_picture_measures(pair, fused[0], coloured)}
    return Judged([{**named, **row} for row in rows], picture)


def judge_published(
    published: Sequence[Published], sources: dict[tuple[str, str], Slices]
) -> Iterator[dict[str, Any]]:
    """Bone, uptake and edges of published pictures. Nobody can put lesions into them."""
    for result in published:
        pair = sources[result.key]
        image = read_image(result.image)
        shown = grey(image).astype(np.float32) / 255
        measures = _bone_and_edges(pair, shown)
        if image.ndim == 3 and pair.sources.other.ndim == 3:
            measures |= _own_uptake(pair.sources.other, image)
        yield {**_names(pair), "method": result.method, **measures}


def _names(pair: Slices) -> dict[str, Any]:
    one = pair.sources.pair
    return {"set": one.set_name, "pair_id": one.pair_id, "patient": one.patient}


def _kind(pair: Slices, variant: lesions.Variant, lesion: lesions.Lesion) -> dict[str, Any]:
    return {
        "source": "MR" if variant.in_reference else pair.modality,
        "amplitude": variant.amplitude,
        "size": variant.size,
        "ground": lesion.ground,
        "hot": lesion.hot,
        "row": lesion.row,
        "column": lesion.column,
        "sigma": lesion.sigma,
    }


def _grey_rows(
    pair: Slices, variant: lesions.Variant, fused: tuple[np.ndarray, np.ndarray]
) -> Iterator[dict[str, Any]]:
    before = pair.reference if variant.in_reference else pair.other
    found = transfer.grey_transfers(fused, (before, variant.source), variant.lesions)
    for lesion, share in zip(variant.lesions, found, strict=True):
        yield {"shown": GREY, **_kind(pair, variant, lesion), "transfer": share}


def _colour_rows(
    pair: Slices, variant: lesions.Variant, fused: tuple[np.ndarray, np.ndarray]
) -> Iterator[dict[str, Any]]:
    assert pair.colour_map is not None
    before = pair.reference if variant.in_reference else pair.other
    name = "grey" if variant.in_reference else pair.colour_map
    own = tuple(colours.apply_colour_map(image, name) for image in (before, variant.source))
    found = transfer.colour_transfers(fused, (own[0], own[1]), variant.lesions)
    for lesion, one in zip(variant.lesions, found, strict=True):
        kind = _kind(pair, variant, lesion)
        yield {"shown": COLOUR, **kind, "transfer": one.share, "missed": one.missed}


def _picture_measures(
    pair: Slices, fused: np.ndarray, coloured: np.ndarray | None
) -> dict[str, float]:
    if coloured is None or pair.colour_map is None:
        return _bone_and_edges(pair, fused)
    table = uptake.map_table(pair.colour_map)
    read = uptake.read_uptake(coloured, table, np.linspace(0, 1, len(table)))
    measures = _bone_and_edges(pair, colours.luminance(coloured))
    return measures | uptake.uptake_measures(read, pair.other)


def _bone_and_edges(pair: Slices, shown: np.ndarray) -> dict[str, float]:
    measures = {}
    if pair.modality == "CT":
        measures = bone.bone_measures(shown, pair.other, pair.other > bone.BONE_LEVEL)
    inside = anatomy.head(pair.reference, pair.other)
    return measures | {"edges_kept": anatomy.edges_kept(shown, pair.reference, inside)}


def _own_uptake(source: np.ndarray, picture: np.ndarray) -> dict[str, float]:
    """Read in the source's own colours, whose palette is in the source itself."""
    palette = uptake.palette_of(source / np.float32(255))
    values = np.linspace(0, 1, len(palette))
    tree_values = _places(source / np.float32(255), palette, values)
    read = uptake.read_uptake(picture / np.float32(255), palette, values)
    return uptake.uptake_measures(read, tree_values)


def _places(image: np.ndarray, palette: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The value of each pixel of an image that was coloured with the palette."""
    import scipy.spatial

    _, nearest = scipy.spatial.cKDTree(palette).query(image.reshape(-1, 3))
    return values[nearest].reshape(image.shape[:2])
