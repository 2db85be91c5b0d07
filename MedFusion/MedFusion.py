"""MedFusion's Slicer module; everything it does is in the package MedFusionLib."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

# With a bare --additional-module-paths the package lies in the folder above, not beside this file.
_aboveModule = Path(__file__).resolve().parent.parent
if importlib.util.find_spec("MedFusionLib") is None and (
    (_aboveModule / "MedFusionLib" / "__init__.py").is_file()
):
    sys.path.append(str(_aboveModule))


class MedFusion(ScriptedLoadableModule):
    """What Slicer shows about the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("MedFusion")
        parent.categories = [translate("qSlicerAbstractCoreModule", "IGT")]
        parent.dependencies = []
        parent.contributors = ["MedFusion contributors"]
        parent.helpText = _(
            "Fuses an MR volume with a CT, PET or SPECT volume of the same patient, slice by "
            "slice, into one volume on the grid of the MR. Research use only, not for diagnosis."
        )
        parent.acknowledgementText = _("The README names the papers that the methods come from.")


class MedFusionWidget(ScriptedLoadableModuleWidget):
    """Says how to fuse from the Python console."""

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        label = qt.QLabel(
            _("Fuse from the Python console:\nslicer.util.getModuleLogic('MedFusion').fuse(mr, ct)")
        )
        label.wordWrap = True
        label.setTextInteractionFlags(qt.Qt.TextSelectableByMouse)
        self.layout.addWidget(label)
        self.layout.addStretch(1)


class MedFusionLogic(ScriptedLoadableModuleLogic):
    """Fuses volume nodes.

    Example, in the Python console::

        logic = slicer.util.getModuleLogic("MedFusion")
        fusedNode = logic.fuse(getNode("T1"), getNode("CT"), method="pyramid")
    """

    def fuse(self, referenceNode, otherNode, outputNode=None, **options):
        """Fuse two volume nodes and return the fused node.

        ``outputNode`` is updated in place when given. ``options`` are those of
        ``MedFusionLib.slicer_app.mrml.fuseNodes`` (modalities, method, device, colour, plane...).
        """
        self.ensureTorch()
        from MedFusionLib.slicer_app.mrml import fuseNodes

        fusedNode, _report = fuseNodes(referenceNode, otherNode, outputNode, **options)
        return fusedNode

    def ensureTorch(self):
        """Ask for PyTorch, and install it through its extension, when it is not there yet."""
        import PyTorchUtils

        torchLogic = PyTorchUtils.PyTorchUtilsLogic()
        if not torchLogic.torchInstalled():
            torchLogic.installTorch(askConfirmation=True, torchVersionRequirement=">=2.2")


class MedFusionTest(ScriptedLoadableModuleTest):
    """Self-test, run inside Slicer."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_FusedVolumeLiesOnTheReferenceGrid()

    def test_FusedVolumeLiesOnTheReferenceGrid(self):
        import numpy as np

        voxels = np.indices((16, 32, 32)).sum(axis=0).astype(np.int16)
        reference = slicer.util.addVolumeFromArray(voxels, np.diag([1, 1, 2, 1]), "MR")
        other = slicer.util.addVolumeFromArray(voxels[::-1], np.diag([1, 1, 2, 1]), "CT")
        fused = MedFusionLogic().fuse(reference, other, method="average")
        self.assertEqual(fused.GetImageData().GetDimensions(), (32, 32, 16))
        self.assertEqual(fused.GetSpacing(), reference.GetSpacing())
        self.delayDisplay("Test passed")
