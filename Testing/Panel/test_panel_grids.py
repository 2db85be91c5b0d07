"""The panel's choice of grid, refinement and planes: real widgets, scene and worker process."""

from __future__ import annotations

import json

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core")
pytest.importorskip("PySide6.QtWidgets", reason="needs PySide6")

from MedFusionLib.fusion import fuse  # noqa: E402
from MedFusionLib.slicer_app.choices import Grid, Planes, Refinement  # noqa: E402
from MedFusionLib.slicer_app.scene.hidden_node import INVENTED_ROLE  # noqa: E402
from MedFusionLib.slicer_app.scene.mrml import volumeFromNode  # noqa: E402


@pytest.fixture
def thick(panel):
    """The chosen pair, with slices three times as far apart as their pixels."""
    panel.choosePair()
    for node in (panel.parameters.referenceVolume, panel.parameters.otherVolume):
        node.SetSpacing(1.0, 1.0, 3.0)
    panel.panel.refresh()
    return panel


def inTheLibrary(panel, **settings) -> np.ndarray:
    nodes = (panel.parameters.referenceVolume, panel.parameters.otherVolume)
    volumes = [volumeFromNode(node) for node in nodes]
    return fuse(volumes, method="average", device="cpu", **settings).volume.voxels


def test_only_what_applies_can_be_chosen(thick):
    ui, parameters = thick.ui, thick.parameters
    assert not ui.refinementComboBox.enabled and ui.gridTextLabel.isHidden()
    assert "Choose a finer grid first" in ui.refinementComboBox.toolTip
    parameters.grid = Grid.ISOTROPIC
    assert ui.refinementComboBox.enabled
    assert "28×24×34 voxels of 1 × 1 × 1 mm" in ui.gridTextLabel.text
    parameters.planes = Planes.THREE
    assert not ui.planeComboBox.enabled
    assert "86 slices instead of 12" in ui.gridTextLabel.text
    parameters.method = "dc2"
    assert not ui.planesComboBox.enabled and ui.planeComboBox.enabled
    assert "all three planes at once" in ui.planesComboBox.toolTip


def test_a_finer_grid_arrives_as_the_library_makes_it_with_the_map_of_what_is_invented(thick):
    parameters = thick.parameters
    parameters.score = False
    parameters.grid, parameters.planes = Grid.ISOTROPIC, Planes.THREE
    thick.applyAndWait()
    fused = parameters.outputVolume
    expected = inTheLibrary(thick, grid="isotropic", planes="three")
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(fused), expected)
    told = json.loads(fused.GetAttribute("MedFusion.Parameters"))
    assert (told["grid"]["name"], told["planes"]) == ("isotropic", "three")
    assert "were not measured but interpolated" in thick.ui.resultLabel.text
    assert not thick.ui.showInventedButton.isHidden()
    thick.ui.showInventedButton.click()
    thick.wait(lambda: fused.GetNodeReference(INVENTED_ROLE) is not None)
    node = fused.GetNodeReference(INVENTED_ROLE)
    assert node.GetImageData().GetDimensions() == (28, 24, 34)

    parameters.grid, parameters.planes = Grid.REFERENCE, Planes.ONE
    thick.applyAndWait()
    assert fused is parameters.outputVolume and fused.GetSpacing() == pytest.approx((1, 1, 3))
    assert thick.ui.showInventedButton.isHidden()
    assert not thick.scene.IsNodePresent(node)


def test_a_refinement_without_a_finer_grid_is_not_asked_for(thick):
    thick.parameters.refinement = Refinement.NETWORK
    assert thick.panel.request().options["refinement"] == "interpolation"
    thick.parameters.grid = Grid.ISOTROPIC
    assert thick.panel.request().options["refinement"] == "network"


def test_a_finer_grid_that_gains_nothing_is_refused_before_the_run(thick):
    thick.parameters.referenceVolume.SetSpacing(1.0, 1.0, 1.0)
    thick.parameters.otherVolume.SetSpacing(1.0, 1.0, 1.0)
    thick.parameters.grid = Grid.ISOTROPIC
    assert not thick.ui.applyButton.enabled
    assert "gains nothing" in thick.ui.applyButton.toolTip
    assert thick.ui.gridComboBox.enabled, "so that it can be chosen otherwise"
