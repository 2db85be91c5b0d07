"""The volumes that lie over each other in a slice view.

Background and foreground are there in every version of Slicer; newer ones take more on top.
"""

from __future__ import annotations

import slicer


def shownLayers(compositeNode) -> list:
    """The volume nodes that can be seen in a slice view, from the lowest layer up."""
    scene = compositeNode.GetScene()
    if scene is None:
        return []
    ids = [volumeId for volumeId, opacity in layersOf(compositeNode) if volumeId and opacity > 0]
    nodes = [scene.GetNodeByID(volumeId) for volumeId in ids]
    return [node for node in nodes if node is not None]


def layersOf(compositeNode) -> list[tuple[str | None, float]]:
    """ID and opacity of each layer: background, foreground, and those that come on top."""
    layers = [
        (compositeNode.GetBackgroundVolumeID(), 1.0),
        (compositeNode.GetForegroundVolumeID(), compositeNode.GetForegroundOpacity()),
    ]
    if hasMoreLayers():
        first = compositeNode.Layer_Last
        layers += [
            (compositeNode.GetNthLayerVolumeID(layer), compositeNode.GetNthLayerOpacity(layer))
            for layer in range(first, first + compositeNode.GetNumberOfAdditionalLayers())
        ]
    return layers


def setLayers(compositeNode, layers) -> None:
    """Show layers, (ID, opacity) from the lowest up, and no others, in one change of the view.

    Each change of a layer costs 10 ms. More than two need a Slicer that ``hasMoreLayers``.
    """
    backgroundId, (foregroundId, opacity) = layers[0][0], layers[1] if layers[1:] else (None, 0.0)
    wasModifying = compositeNode.StartModify()
    compositeNode.SetBackgroundVolumeID(backgroundId)
    compositeNode.SetForegroundVolumeID(foregroundId)
    if foregroundId is not None:
        compositeNode.SetForegroundOpacity(opacity)
    if hasMoreLayers():
        _setFurtherLayers(compositeNode, layers[2:])
    compositeNode.EndModify(wasModifying)


def _setFurtherLayers(compositeNode, layers) -> None:
    first = compositeNode.Layer_Last
    for number, (volumeId, opacity) in enumerate(layers):
        compositeNode.SetNthLayerVolumeID(first + number, volumeId)
        compositeNode.SetNthLayerOpacity(first + number, opacity)
    # From behind: what follows a removed layer moves up.
    for number in reversed(range(len(layers), compositeNode.GetNumberOfAdditionalLayers())):
        compositeNode.SetNthLayerVolumeID(first + number, None)


def hasMoreLayers() -> bool:
    """Whether this version of Slicer lays more than two volumes over each other."""
    return hasattr(slicer.vtkMRMLSliceCompositeNode, "SetNthLayerVolumeID")
