"""Reference and other volume as layers over each other, before anything is fused.

The layers are temporary copies that share the volumes' voxels, so that the user's own nodes keep
their colours and windows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from MedFusionLib.errors import MedFusionError
from MedFusionLib.slicer_app.running.fusion_job import FusionRequest
from MedFusionLib.slicer_app.scene.colour_legend import showScale, uptakeColours
from MedFusionLib.slicer_app.scene.mrml import GREY_COLOUR_NODE_ID, volumeSeenInNode
from MedFusionLib.slicer_app.scene.provenance import sourcesOf
from MedFusionLib.slicer_app.scene.quality_nodes import reportOf
from MedFusionLib.slicer_app.scene.scene_facts import isColour
from MedFusionLib.slicer_app.translation import _
from MedFusionLib.slicer_app.views.aligned_other import laidBy
from MedFusionLib.slicer_app.views.volume_copies import VolumeCopy
from MedFusionLib.slices.intensity import Window, choose_window
from MedFusionLib.slices.legend import Legend, described_others, legend_of, scale_of
from MedFusionLib.slices.painting import choose_colour_map, choose_colour_maps
from MedFusionLib.volumes.volume import Volume

SAMPLED_VOXELS = 200_000
"""For the percentiles of an MR, which take 30 ms of so many voxels, and half a second of all."""


@dataclass(frozen=True)
class Look:
    """How a layer is shown: stored values that become black and white, and a scale of colours.

    ``window`` is None where the display's own one stays, as for a volume in colour; ``legend`` is
    None for grey.
    """

    window: tuple[float, float] | None
    legend: Legend | None = None


@dataclass(frozen=True)
class BlendedPair:
    """Two volumes to be shown over each other; ``transformNode`` lays the other on the reference.

    ``looks`` are those of the reference and the other.
    """

    referenceNode: Any
    otherNode: Any
    transformNode: Any
    looks: tuple[Look, Look]


def pairOfRequest(request: FusionRequest, number: int = 0) -> BlendedPair:
    """The chosen volumes, looking as the fusion that is chosen would take them.

    Of the volumes beside the reference it is the one of this number, the other volume being 0.
    """
    asOther = request if number == 0 else _withAsOther(request, number)
    nodes = (asOther.referenceNode, asOther.otherNode)
    options = asOther.fuseOptions()
    wanted = (options["window_reference"], options["window_other"])
    looks = [
        _look(node, modality, window, colour)
        for node, modality, window, colour in zip(
            nodes,
            asOther.modalities,
            wanted,
            ("grey", _colours(request)[number]),
            strict=True,
        )
    ]
    transformNode = asOther.transformNode or asOther.otherNode.GetParentTransformNode()
    return BlendedPair(*nodes, transformNode, (looks[0], looks[1]))


def _withAsOther(request: FusionRequest, number: int) -> FusionRequest:
    """A request with a further volume, counted from 1, in the place of the other one."""
    one = request.further[number - 1]
    return replace(
        request,
        otherNode=one.node,
        transformNode=one.transformNode,
        modalities=(request.modalities[0], one.modality),
        windows=(request.windows[0], one.window),
        further=(),
    )


def _colours(request: FusionRequest) -> list[str]:
    """The colour of each volume beside the reference, two functional ones told apart."""
    first = (request.otherNode, request.modalities[1], request.options.get("colour", "auto"))
    shown = [first, *((one.node, one.modality, one.colour) for one in request.further)]
    wanted = [colour for _node, _modality, colour in shown]
    if not request.further:
        return wanted
    try:
        volumes = [volumeSeenInNode(node, modality) for node, modality, _colour in shown]
        return [one or "grey" for one in choose_colour_maps(volumes, wanted)]
    except MedFusionError:
        # What cannot be fused in these colours is looked at in grey.
        return ["grey"] * len(shown)


def _look(node, modality: str | None, wanted, colour: str) -> Look:
    if isColour(node):
        return Look(None)
    volume = volumeSeenInNode(node, modality)
    try:
        window = choose_window(_sampled(volume, wanted), wanted)
    except MedFusionError:
        # A constant volume has no window of its own; the fusion will say so.
        return Look(None)
    return Look((window.low, window.high), _legend(volume, window, colour))


def _legend(volume: Volume, window: Window, colour: str) -> Legend | None:
    colourMap = choose_colour_map(volume, colour)
    if colourMap in (None, "own"):
        return None
    scale = scale_of(volume)
    factor = scale["suv_factor"] or 1.0
    return Legend(colourMap, window.low * factor, window.high * factor, scale["unit"])


def _sampled(volume: Volume, wanted) -> Volume:
    """Every n-th voxel where percentiles are asked for; extremes come from all voxels."""
    isAutomatic = wanted in (None, "auto") and volume.modality == "MR"
    if not isAutomatic and wanted != "percentile":
        return volume
    step = max(1, int(np.ceil((np.prod(volume.grid_shape) / SAMPLED_VOXELS) ** (1 / 3))))
    return replace(volume, voxels=volume.voxels[::step, ::step, ::step])


def pairOfFused(fusedNode, number: int = 0) -> BlendedPair:
    """The volumes that a fused one was made from, looking as its fusion has taken them.

    Of those beside the reference it is the one of this number, the other volume being 0.
    """
    report = reportOf(fusedNode)
    reference, *others = sourcesOf(fusedNode)
    other = others[number]
    shown = described_others(report)[number]
    looks = (Look(_window(report["reference"])), _otherLook(shown))
    return BlendedPair(
        reference,
        other,
        laidBy(fusedNode, other),
        (looks[0], Look(None) if isColour(other) else looks[1]),
    )


def _window(shown: Mapping[str, Any]) -> tuple[float, float]:
    return shown["window"]["low"], shown["window"]["high"]


def _otherLook(shown: Mapping[str, Any]) -> Look:
    """By what a report says of one volume alone: another one's colours are not its own."""
    return Look(_window(shown), legend_of({"other": shown, "colour": shown["colour"]}))


class BlendLayers:
    """The two temporary nodes of a ``BlendedPair``; ``forget`` takes them away."""

    def __init__(self) -> None:
        self._copies = (VolumeCopy(), VolumeCopy())

    def nodesFor(self, pair: BlendedPair) -> tuple:
        """Reference and other as layers, made or changed to what the pair says now."""
        sources = (
            (pair.referenceNode, pair.referenceNode.GetParentTransformNode()),
            (pair.otherNode, pair.transformNode),
        )
        nodes = []
        for copy, (node, transformNode), look in zip(
            self._copies, sources, pair.looks, strict=True
        ):
            name = _("{name} as blended").format(name=node.GetName())
            nodes.append(_withLook(copy.show(node, transformNode, name), look))
        return tuple(nodes)

    def forget(self) -> None:
        """Remove the nodes."""
        for copy in self._copies:
            copy.forget()


def _withLook(node, look: Look):
    display = node.GetScalarVolumeDisplayNode() or node.GetDisplayNode()
    if look.window is not None:
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(*look.window)
        colours = GREY_COLOUR_NODE_ID
        if look.legend is not None:
            colours = uptakeColours(node.GetScene(), look.legend.colour_map).GetID()
        display.SetAndObserveColorNodeID(colours)
    showScale(node, look.legend)
    for n in range(node.GetNumberOfDisplayNodes()):
        node.GetNthDisplayNode(n).SetSaveWithScene(False)
    return node
