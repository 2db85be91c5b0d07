"""Pictures of slice views through Slicer's own slice pipeline, without a window or OpenGL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import slicer
from PIL import Image, ImageDraw, ImageFont
from vtk.util.numpy_support import vtk_to_numpy

from MedFusionLib.evaluation.reports.legend_picture import draw_legend
from MedFusionLib.slicer_app.scene.colour_legend import uptakeColours
from MedFusionLib.slicer_app.scene.mrml import addVolumeNode, showWholeRange
from MedFusionLib.slices.colour import FUNCTIONAL_MAP
from MedFusionLib.slices.intensity import choose_window
from MedFusionLib.slices.legend import Legend
from MedFusionLib.slices.painting import FUNCTIONAL
from MedFusionLib.volumes.volume import Volume

ROLES = ("reference", "other", "fused")
ORIENTATIONS = ("Axial", "Sagittal", "Coronal")
VIEW_SIZE = 400
CAPTION_HEIGHT = 28
README_WIDTH = 900


def write_slice_pictures(
    volumes: Mapping[str, Volume], folder: str | Path, legend: Legend | None = None
) -> list[Path]:
    """Write PNG pictures of three volumes, side by side in the three anatomical planes.

    ``volumes`` has the keys reference, other and fused; any grids do, the slices go through the
    middle of the reference. Written into the existing ``folder``: ``axial.png``, ``sagittal.png``
    and ``coronal.png`` (a row of three views of 400 × 400 each), ``views.png`` (all nine) and
    ``readme.png`` (the nine, 900 wide). With a ``legend`` the functional volume is shown in its
    colours, and each fused view has its scale. Returns their paths. Raises ``ValueError`` when a
    volume is missing.
    """
    missing = [role for role in ROLES if role not in volumes]
    if missing:
        raise ValueError(f"The pictures need the volumes {', '.join(ROLES)}; add {missing}.")
    rows = {name: _row(views) for name, views in _renderedRows(volumes, legend)}
    pictures = {f"{name.lower()}.png": row for name, row in rows.items()}
    pictures["views.png"] = _stacked(list(rows.values()))
    pictures["readme.png"] = _narrowed(pictures["views.png"])
    paths = [Path(folder) / name for name in pictures]
    for path, picture in zip(paths, pictures.values(), strict=True):
        picture.save(path, optimize=True)
    return paths


def _renderedRows(
    volumes: Mapping[str, Volume], legend: Legend | None
) -> Iterator[tuple[str, dict[str, Image.Image]]]:
    """For each orientation its name and the views by their captions."""
    scene = slicer.vtkMRMLScene()
    application = slicer.vtkMRMLApplicationLogic()
    application.SetMRMLScene(scene)
    colours = slicer.vtkMRMLColorLogic()
    colours.SetMRMLScene(scene)
    colourMap = legend.colour_map if legend else FUNCTIONAL_MAP
    nodes = {role: _shownNode(scene, role, volumes[role], colourMap) for role in ROLES}
    for orientation in ORIENTATIONS:
        logic = _sliceLogic(scene, application, orientation)
        _centreOn(logic, nodes["reference"])
        views = {role: _view(logic, node) for role, node in nodes.items()}
        if legend is not None:
            draw_legend(views["fused"], legend)
        yield orientation, {f"{orientation}: {role}": view for role, view in views.items()}
    scene.Clear(True)


def _shownNode(scene, role: str, volume: Volume, colourMap: str):
    node = addVolumeNode(scene, volume, role)
    if role == "fused" or volume.is_colour:
        showWholeRange(node, volume)
    elif volume.modality in FUNCTIONAL:
        node.GetDisplayNode().SetAndObserveColorNodeID(uptakeColours(scene, colourMap).GetID())
        node.GetDisplayNode().AutoWindowLevelOff()
        window = choose_window(volume)
        node.GetDisplayNode().SetWindowLevelMinMax(window.low, window.high)
    return node


def _sliceLogic(scene, application, orientation: str):
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    # Only a node that the scene itself creates knows the orientation presets.
    sliceNode = scene.CreateNodeByClass("vtkMRMLSliceNode")
    sliceNode.UnRegister(None)
    sliceNode.SetName(orientation)
    sliceNode.SetLayoutName(orientation)
    scene.AddNode(sliceNode)
    sliceNode.SetDimensions(VIEW_SIZE, VIEW_SIZE, 1)
    sliceNode.SetOrientation(orientation)
    logic = slicer.vtkMRMLSliceLogic()
    logic.SetMRMLApplicationLogic(application)
    logic.SetMRMLScene(scene)
    logic.SetSliceNode(sliceNode)
    return logic


def _centreOn(logic, volumeNode) -> None:
    logic.GetSliceCompositeNode().SetBackgroundVolumeID(volumeNode.GetID())
    logic.FitSliceToAll()
    logic.SnapSliceOffsetToIJK()


def _view(logic, volumeNode) -> Image.Image:
    """The slice view with one volume in it, RGB, black where the volume does not reach."""
    logic.GetSliceCompositeNode().SetBackgroundVolumeID(volumeNode.GetID())
    connection = logic.GetImageDataConnection()
    connection.GetProducer().Update()
    image = connection.GetProducer().GetOutputDataObject(connection.GetIndex())
    width, height, _ = image.GetDimensions()
    pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)
    shade = pixels[..., 3:] / 255.0
    # VTK's first line is the lowest one.
    return Image.fromarray(np.round(pixels[::-1, :, :3] * shade[::-1]).astype(np.uint8))


def _row(views: Mapping[str, Image.Image]) -> Image.Image:
    """Views side by side, each under its caption."""
    row = Image.new("RGB", (VIEW_SIZE * len(views), VIEW_SIZE + CAPTION_HEIGHT))
    draw = ImageDraw.Draw(row)
    font = ImageFont.load_default(size=16)
    for column, (caption, view) in enumerate(views.items()):
        row.paste(view, (column * VIEW_SIZE, CAPTION_HEIGHT))
        draw.text((column * VIEW_SIZE + 10, 5), caption, font=font, fill="white")
    return row


def _stacked(rows: Sequence[Image.Image]) -> Image.Image:
    montage = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)))
    top = 0
    for row in rows:
        montage.paste(row, (0, top))
        top += row.height
    return montage


def _narrowed(picture: Image.Image) -> Image.Image:
    height = round(picture.height * README_WIDTH / picture.width)
    return picture.resize((README_WIDTH, height), Image.Resampling.LANCZOS)
