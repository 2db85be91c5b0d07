"""A picture of the panel, drawn by PySide6 with stand-ins for Slicer's own widget classes."""

from __future__ import annotations

import importlib.util
import os
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
QtWidgets = pytest.importorskip("PySide6.QtWidgets", reason="needs PySide6")
QtUiTools = pytest.importorskip("PySide6.QtUiTools", reason="needs PySide6's QtUiTools")

from PySide6 import QtCore  # noqa: E402

from MedFusionLib.methods import method_names  # noqa: E402
from MedFusionLib.slicer_app import choices  # noqa: E402
from MedFusionLib.slicer_app.panel.case_names import Naming  # noqa: E402
from MedFusionLib.slicer_app.panel.statements import (  # noqa: E402
    Shown,
    asHtml,
    inputStatements,
    resultStatements,
)
from MedFusionLib.slicer_app.panel.texts import methodText  # noqa: E402

WIDTH = 420
"""Pixels; the panel asks for no less, and Slicer gives it no more."""
HEIGHT_FOR_APPLY = 400
"""What is left for a module's panel in a window of 740 pixels: menus, tool bar, the module's name
and help, and Data Probe take the rest."""
COLLAPSED = (
    *("viewCollapsibleButton", "qualityCollapsibleButton", "optionsCollapsibleButton"),
    "batchCollapsibleButton",
)
ARROW = 30
"""Pixels that a list's frame and arrow take."""
CHOICES = {
    "referenceModality": choices.Modality,
    "otherModality": choices.Modality,
    "referenceWindow": choices.Window,
    "otherWindow": choices.Window,
    "alignment": choices.AlignmentChoice,
    "plane": choices.Plane,
    "colour": choices.Colour,
}


def loadStandIns():
    spec = importlib.util.spec_from_file_location(
        "stand_ins", Path(__file__).with_name("stand_ins.py")
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


standIns = loadStandIns()


@pytest.fixture(scope="module")
def panel(repository):
    application = QtWidgets.QApplication.instance() or QtWidgets.QApplication([])
    panel = standIns.Loader().load(
        str(repository / "MedFusion" / "Resources" / "UI" / "MedFusion.ui")
    )
    fill(panel)
    panel.resize(WIDTH, panel.layout().totalHeightForWidth(WIDTH))
    panel.show()
    application.processEvents()
    yield panel
    panel.deleteLater()


def fill(panel) -> None:
    """What the parameter node and the rules would put into the widgets."""
    for combo in panel.findChildren(QtWidgets.QComboBox):
        offered = CHOICES.get(combo.property("SlicerParameterName"))
        if offered is not None:
            combo.addItems([offered.label(choice) for choice in offered])
    texts = {
        "methodComboBox": method_names(),
        "batchMethodComboBox": method_names(),
        "batchNamesComboBox": [Naming.label(naming) for naming in Naming],
        "deviceComboBox": ["Automatic", "CPU"],
        "precisionComboBox": ["auto"],
        "referenceSelector": ["T1 of a patient with quite a long name"],
        "otherSelector": ["FDG-PET"],
    }
    for name, items in texts.items():
        panel.findChild(QtWidgets.QComboBox, name).addItems(items)
    labels = {
        "referenceModalityLabel": "from DICOM: MR\nDOE JANE, ID A1, born 1950-01-02, "
        "study of 2024-03-05",
        "otherModalityLabel": "PET, guessed from 'pet' in the name",
        "relationLabel": "Same space, other grid: will be resampled "
        "(97 % of the smaller volume overlaps).",
        "methodDescriptionLabel": methodText(method_names()[0]),
        "warningsLabel": asHtml(inputStatements(None, ["These heads do not lie on each other."])),
        "resultLabel": asHtml(
            resultStatements(
                Shown(
                    "T1 + FDG-PET fused",
                    {
                        "method": "pyramid",
                        "warnings": ["The modality of the other volume is not certain."],
                        "registration": {
                            "quality": {"verdict": "doubtful", "reason": "Half a head is seen."}
                        },
                    },
                    "T1",
                    "FDG-PET",
                )
            )
        ),
        "progressLabel": "30 of 94 slices, 8.3 slices/s, 8 s left",
        "previewLabel": "Axial slice fused in 42 ms by pyramid.",
        "distanceLabel": "Inside, 12.3 mm from the border.",
        "batchLabel": "Fused: 3; kept: 0; refused: 1.",
        "qualityLabel": "Bone kept: 97 % is shown nearly as bright as in the CT.",
        "metricsLabel": "MI: 1.234,  SSIM: 0.812",
    }
    for name, text in labels.items():
        panel.findChild(QtWidgets.QLabel, name).setText(text)
    for layout in panel.findChildren(standIns.Section):
        layout.layout().setContentsMargins(6, 22, 6, 6)
    panel.findChild(QtWidgets.QProgressBar, "progressBar").setVisible(True)


def test_the_panel_can_be_drawn_and_looked_at(panel, tmp_path):
    picture = panel.grab()
    assert picture.save(str(tmp_path / "panel.png"))
    image = picture.toImage()
    colours = {image.pixel(x, y) for x in range(0, image.width(), 7) for y in range(0, 900, 7)}
    assert len(colours) > 5


def test_nothing_is_cut_off_at_the_width_of_slicers_panel(panel):
    assert panel.minimumSizeHint().width() <= WIDTH
    for widget in panel.findChildren(QtWidgets.QWidget):
        if widget.isVisible() and isinstance(widget.parent(), standIns.Section):
            assert widget.geometry().right() <= widget.parent().width()
    for button in panel.findChildren(QtWidgets.QAbstractButton):
        if button.isVisible() and button.text():
            assert button.width() >= button.minimumSizeHint().width(), button.objectName()


def test_apply_is_in_sight_in_a_low_window(panel):
    button = panel.findChild(QtWidgets.QPushButton, "applyButton")
    bottom = button.mapTo(panel, QtCore.QPoint(0, button.height())).y()
    assert bottom <= HEIGHT_FOR_APPLY


def test_what_most_never_open_is_collapsed(repository):
    path = repository / "MedFusion" / "Resources" / "UI" / "MedFusion.ui"
    widgets = {widget.get("name"): widget for widget in ElementTree.parse(path).iter("widget")}
    for name in COLLAPSED:
        (collapsed,) = widgets[name].findall("property[@name='collapsed']/bool")
        assert collapsed.text == "true", name
    shown = {"referenceSelector", "otherSelector", "methodComboBox"}
    assert shown <= {one.get("name") for one in widgets["inputsCollapsibleButton"].iter("widget")}


def test_no_wrapped_label_loses_a_line(panel):
    for label in panel.findChildren(QtWidgets.QLabel):
        if label.isVisible() and label.wordWrap() and label.text():
            assert label.height() >= label.heightForWidth(label.width()), label.objectName()


def test_no_choice_is_cut_off_in_its_list(panel):
    for combo in panel.findChildren(QtWidgets.QComboBox):
        if combo.isVisible() and not isinstance(combo, standIns.NodeSelector):
            width = combo.width() - ARROW
            for row in range(combo.count()):
                text = combo.itemText(row)
                assert combo.fontMetrics().horizontalAdvance(text) <= width, text


def test_the_width_does_not_follow_the_texts(panel):
    before = panel.minimumSizeHint().width()
    label = panel.findChild(QtWidgets.QLabel, "warningsLabel")
    text = label.text()
    label.setText("Averyverylongwordwithoutanyspace" * 5)
    assert panel.minimumSizeHint().width() == before
    label.setText(text)


def test_the_width_does_not_follow_the_names_of_nodes(panel):
    before = panel.minimumSizeHint().width()
    for selector in panel.findChildren(standIns.NodeSelector):
        selector.addItem("FDG PET of a patient with a very long name to T1 of the same patient")
        selector.setCurrentIndex(selector.count() - 1)
        selector.setVisible(True)
    QtWidgets.QApplication.processEvents()
    assert panel.minimumSizeHint().width() == before
    assert max(before, panel.minimumWidth()) == WIDTH


class LowWidget(QtWidgets.QWidget):
    """Gets its smallest height, whatever its labels need at its width, as was seen in Slicer."""

    def hasHeightForWidth(self) -> bool:
        return False


def settle(application) -> None:
    """Let one layout follow the other until all are done."""
    for _ in range(20):
        application.processEvents()


def test_no_line_is_lost_where_the_panel_is_higher_than_the_window(repository, monkeypatch):
    application = QtWidgets.QApplication.instance() or QtWidgets.QApplication([])
    monkeypatch.setitem(sys.modules, "qt", standIns.qtModule())
    module = "MedFusionLib.slicer_app.panel.panel_height"
    sys.modules.pop(module, None)
    PanelHeight = importlib.import_module(module).PanelHeight
    monkeypatch.setitem(standIns.CLASSES, "qMRMLWidget", LowWidget)
    path = repository / "MedFusion" / "Resources" / "UI" / "MedFusion.ui"
    area, panel = QtWidgets.QScrollArea(), standIns.Loader().load(str(path))
    area.setWidgetResizable(True)
    holder = QtWidgets.QWidget()
    QtWidgets.QVBoxLayout(holder).addWidget(panel)
    area.setWidget(holder)
    keeper = PanelHeight(standIns.PythonQtWidget(panel))
    area.resize(WIDTH + 20, 300)
    area.show()
    fill(panel)
    settle(application)
    test_no_wrapped_label_loses_a_line(panel)
    label = panel.findChild(QtWidgets.QLabel, "resultLabel")
    label.setText("One more sentence that is longer than the panel is wide. " * 40)
    settle(application)
    test_no_wrapped_label_loses_a_line(panel)
    needed = panel.height()
    label.setText("One line.")
    settle(application)
    assert panel.height() < needed
    keeper.stop()
    area.deleteLater()
    sys.modules.pop(module, None)


def test_the_keyboard_reaches_every_control(panel):
    reached, widget = set(), panel.nextInFocusChain()
    while widget is not None and widget.objectName() not in reached:
        reached.add(widget.objectName() or str(id(widget)))
        widget = widget.nextInFocusChain()
    kinds = (QtWidgets.QAbstractButton, QtWidgets.QComboBox, QtWidgets.QSpinBox)
    for control in panel.findChildren(QtWidgets.QWidget):
        if isinstance(control, kinds) and control.objectName() and control.isVisible():
            assert control.focusPolicy() & QtCore.Qt.FocusPolicy.TabFocus, control.objectName()
