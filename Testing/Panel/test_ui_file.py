"""MedFusion.ui against the parameter node and the code."""

from __future__ import annotations

import ast
import re
import xml.etree.ElementTree as ElementTree

import pytest

# Type of a field (as written in the parameter node) for each widget that binds it, as in
# slicer.parameterNodeWrapper's connectors.
ACCEPTED = {
    "qMRMLNodeComboBox": r"vtkMRML\w+Node$",
    "QComboBox": r"(Modality|Window|AlignmentChoice|Planes?|Grid|Refinement|Colour"
    r"|Annotated\[str, Choice\(.+\)\])$",
    "QCheckBox": r"bool$",
    "QSpinBox": r"Annotated\[int, WithinRange\(.+\)\]$",
    "ctkSliderWidget": r"Annotated\[float, WithinRange\(.+\)\]$",
}
CAPTIONED = "QLabel"
"""A caption has no tool tip of its own: Qt shows that of the section it stands in."""
BOUND_BY_CODE = {"device", "method", "inputsWereDeleted", "furtherVolumes"}
"""What the machine offers is not known before the worker has told it; the methods stand under
headings, which Slicer's binding does not know; what was deleted is no choice; each further volume
has a row of its own."""


@pytest.fixture(scope="module")
def ui(repository):
    return ElementTree.parse(repository / "MedFusion" / "Resources" / "UI" / "MedFusion.ui")


@pytest.fixture(scope="module")
def sources(repository) -> dict[str, str]:
    """The panel's own files that touch a widget, by name."""
    folder = repository / "MedFusionLib" / "slicer_app" / "panel"
    texts = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.py")}
    return {name: text for name, text in texts.items() if "ui." in text}


def widgets(ui) -> dict[str, ElementTree.Element]:
    return {widget.get("name"): widget for widget in ui.iter("widget")}


def prop(widget, name: str) -> str | None:
    for element in widget.findall("property"):
        if element.get("name") == name:
            return element[0].text
    return None


def bound(ui) -> dict[str, ElementTree.Element]:
    found = [(prop(widget, "SlicerParameterName"), widget) for widget in ui.iter("widget")]
    return {parameter: widget for parameter, widget in found if parameter}


@pytest.fixture(scope="module")
def fields(repository) -> dict[str, str]:
    path = repository / "MedFusionLib" / "slicer_app" / "panel" / "parameter_node.py"
    (cls,) = (node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef))
    return {
        statement.target.id: ast.unparse(statement.annotation)
        for statement in cls.body
        if isinstance(statement, ast.AnnAssign)
    }


def test_every_parameter_of_the_file_is_a_field_that_its_widget_can_show(ui, fields):
    for parameter, widget in bound(ui).items():
        assert parameter in fields
        assert re.match(ACCEPTED[widget.get("class")], fields[parameter]), parameter


def test_every_field_has_a_widget(ui, fields):
    assert set(fields) - set(bound(ui)) == BOUND_BY_CODE


def test_every_widget_that_the_code_names_exists(ui, sources):
    known = set(widgets(ui))
    assert {"panel", "run", "views"} <= set(sources)
    for source in sources.values():
        assert set(re.findall(r"\bui\.(\w+)", source)) <= known
    assert {f"{name}CollapsibleButton" for name in ("inputs", "result", "options")} <= (known)


def test_every_button_is_connected(ui, sources):
    code = "".join(sources.values())
    for name, widget in widgets(ui).items():
        if widget.get("class") in ("QPushButton", "QToolButton"):
            assert f"ui.{name}.connect(" in code


def test_names_are_unique(ui):
    names = [widget.get("name") for widget in ui.iter("widget")]
    assert len(names) == len(set(names))


def test_every_node_selector_gets_the_scene(ui):
    selectors = {n for n, w in widgets(ui).items() if w.get("class") == "qMRMLNodeComboBox"}
    connected = {
        connection.findtext("receiver")
        for connection in ui.iter("connection")
        if connection.findtext("signal") == "mrmlSceneChanged(vtkMRMLScene*)"
        and connection.findtext("slot") == "setMRMLScene(vtkMRMLScene*)"
    }
    assert selectors == connected


def test_the_keyboard_is_let_into_every_node_selector(ui, repository):
    source = (repository / "MedFusionLib" / "slicer_app" / "panel" / "panel.py").read_text(
        encoding="utf-8"
    )
    for name, widget in widgets(ui).items():
        if widget.get("class") == "qMRMLNodeComboBox":
            assert f'"{name}"' in source


def test_every_widget_says_what_it_is_for(ui):
    for name, widget in widgets(ui).items():
        isCaption = widget.get("class") == CAPTIONED and prop(widget, "text")
        isFilledByCode = name == "qualityLabel"
        if widget.get("class") != "qMRMLWidget" and not isCaption and not isFilledByCode:
            assert prop(widget, "toolTip"), name


def test_captions_lead_to_their_controls_and_no_key_is_used_twice(ui):
    known, keys = set(widgets(ui)), []
    for widget in ui.iter("widget"):
        buddy = prop(widget, "buddy")
        assert buddy is None or buddy in known
        text = prop(widget, "text") or ""
        if widget.get("class") == "QLabel" and "&" in text:
            assert buddy is not None
        keys += re.findall(r"&(\w)", text.lower())
    assert len(keys) == len(set(keys)), sorted(keys)
    assert set(keys).isdisjoint("fevh"), "Slicer's menus File, Edit, View and Help have these"


def test_nothing_is_styled_by_hand(ui):
    names = {element.get("name") for element in ui.iter("property")}
    assert names.isdisjoint({"styleSheet", "font", "palette"})


def test_every_text_of_the_code_is_marked_for_translation(sources):
    """Whatever is assigned to a text or a tool tip comes from ``_``, a rule or a node."""
    for name, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                target = ast.unparse(node.targets[0])
                if target.endswith((".text", ".toolTip")):
                    assert node.value.value == "", f"{name}: {target}"
