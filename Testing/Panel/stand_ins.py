"""PySide6 widgets with the manners of PythonQt, and the little of Slicer that the panel needs."""

from __future__ import annotations

import contextlib
import ctypes
import sys
import types

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

if sys.version_info < (3, 12):
    # Before Python 3.12 made None immortal, PySide6 6.9 and later give back references to None that
    # they never took (each click, each empty property), until the interpreter aborts.
    for _ in range(500_000):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(None))


class Section(QtWidgets.QFrame):
    """Stands in for ctkCollapsibleButton and ctkCollapsibleGroupBox: a caption over its content."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self.setFrameShape(QtWidgets.QFrame.Shape.Box)
        self._caption, self._collapsed = "", False

    def getText(self):
        return self._caption

    def setText(self, text):
        self._caption = text

    def getCollapsed(self):
        return self._collapsed

    def setCollapsed(self, collapsed):
        self._collapsed = collapsed

    collapsed = QtCore.Property(bool, getCollapsed, setCollapsed)
    text = QtCore.Property(str, getText, setText)
    title = QtCore.Property(str, getText, setText)

    def paintEvent(self, event):
        super().paintEvent(event)
        QtGui.QPainter(self).drawText(6, 14, f"▾ {self._caption}")


class NodeSelector(QtWidgets.QComboBox):
    """Stands in for qMRMLNodeComboBox: lists the scene's nodes, and jumps as the real one does.

    When its node leaves the scene (the selector hears of that with a priority of -10), or is no
    longer to be listed, Qt's list moves on to the neighbour of the lost row, and from a row that
    is no node Slicer moves on to the last node. Nobody is asked.
    """

    currentNodeChanged = QtCore.Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene, self._tags = None, []
        self.filter = NodeFilter(self)
        self.currentIndexChanged.connect(self._onIndexChanged)

    def getNone(self):
        return self.itemText(0)

    def setNone(self, text):
        self.insertItem(0, text)

    noneDisplay = QtCore.Property(str, getNone, setNone)

    def setMRMLScene(self, scene):
        self.stopObserving()
        self._scene = scene
        told = vtk.calldata_type(vtk.VTK_OBJECT)
        events = slicer.vtkMRMLScene
        self._tags = [
            scene.AddObserver(
                events.NodeAddedEvent, told(lambda caller, event, node: self._add(node)), 10.0
            ),
            scene.AddObserver(
                events.NodeAboutToBeRemovedEvent,
                told(lambda caller, event, node: self._remove(node)),
                -10.0,
            ),
        ]
        # Rows that follow the nodes: a separator and what can be done with the current one.
        self.addItem("")
        self.addItem("Delete current Volume")

    def stopObserving(self):
        for tag in self._tags:
            self._scene.RemoveObserver(tag)

    def sortFilterProxyModel(self):
        return self.filter

    def addAttribute(self, nodeType, name):
        self.filter.attributes.append(name)
        self.listAnew()

    def currentNode(self):
        return self._scene.GetNodeByID(self.currentData() or "")

    def setCurrentNode(self, node):
        self.setCurrentIndex(max(0, self.findData(node.GetID())) if node is not None else 0)

    def nodes(self):
        """What is listed."""
        found = [self._scene.GetNodeByID(self.itemData(row) or "") for row in range(self.count())]
        return [node for node in found if node is not None]

    def listAnew(self):
        """Take away the rows of nodes that are no longer to be listed; add those that are."""
        for node in self.nodes():
            if not self._lists(node):
                self._remove(node)
        for node in slicer.util.getNodesByClass("vtkMRMLNode", self._scene):
            self._add(node)

    def _lists(self, node) -> bool:
        exactly = self.property("showChildNodeTypes") is False
        return (
            any(
                node.GetClassName() == name if exactly else node.IsA(name)
                for name in self.property("nodeTypes")
            )
            and not any(node.IsA(name) for name in self.property("hideChildNodeTypes") or [])
            and not node.GetHideFromEditors()
            and node.GetID() not in self.filter.hiddenNodeIDs
            and all(node.GetAttribute(name) is not None for name in self.filter.attributes)
        )

    def _add(self, node):
        if self._lists(node) and self.findData(node.GetID()) < 0:
            self.insertItem(self.count() - 2, node.GetName(), node.GetID())

    def _remove(self, node):
        row = self.findData(node.GetID())
        if row >= 0:
            self.removeItem(row)

    def _onIndexChanged(self, index):
        if index > 0 and not self.itemData(index):
            last = self.count() - 3
            self.setCurrentIndex(max(0, last))
        else:
            self.currentNodeChanged.emit(None if index <= 0 else self.currentNode())


class NodeFilter:
    """Stands in for qMRMLSortFilterProxyModel."""

    def __init__(self, selector):
        self._selector = selector
        self._hidden, self.attributes = [], []

    @property
    def hiddenNodeIDs(self):
        return tuple(self._hidden)

    @hiddenNodeIDs.setter
    def hiddenNodeIDs(self, ids):
        self._hidden = list(ids)
        self._selector.listAnew()


class SliderWidget(QtWidgets.QWidget):
    """Stands in for ctkSliderWidget: a slider and a number."""

    valueChanged = QtCore.Signal(float)

    def __init__(self, parent=None):
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal))
        row.addWidget(QtWidgets.QDoubleSpinBox())


class PathLineEdit(QtWidgets.QLineEdit):
    """Stands in for ctkPathLineEdit: a path that is typed or set."""

    currentPathChanged = QtCore.Signal(str)

    def __init__(self, parent=None):
        super().__init__(parent)
        self.textChanged.connect(self.currentPathChanged.emit)

    currentPath = QtCore.Property(str, QtWidgets.QLineEdit.text, QtWidgets.QLineEdit.setText)


CLASSES = {
    "qMRMLWidget": QtWidgets.QWidget,
    "qMRMLNodeComboBox": NodeSelector,
    "ctkCollapsibleButton": Section,
    "ctkCollapsibleGroupBox": Section,
    "ctkSliderWidget": SliderWidget,
    "ctkPathLineEdit": PathLineEdit,
}


class Loader(QtUiTools.QUiLoader):
    """Makes stand-ins for the classes that only Slicer has."""

    def createWidget(self, className, parent=None, name=""):
        if className not in CLASSES:
            return super().createWidget(className, parent, name)
        widget = CLASSES[className](parent)
        widget.setObjectName(name)
        return widget


class PythonQtWidget:
    """A widget whose Qt properties are attributes, and whose signals are connected by their text.

    Like PythonQt it fails for a property, a value or a signal that the widget does not have.
    """

    def __init__(self, widget):
        object.__setattr__(self, "widget", widget)

    def __getattr__(self, name):
        if self.widget.metaObject().indexOfProperty(name) >= 0:
            return self.widget.property(name)
        return getattr(self.widget, name)

    def __setattr__(self, name, value):
        if not self.widget.setProperty(name, value):
            raise AttributeError(f"{self.widget.objectName()}.{name} = {value!r}")

    def connect(self, signature, function):
        name, _, arguments = signature.partition("(")
        assert hasattr(self.widget, name), signature
        count = 0 if arguments == ")" else 1
        getattr(self.widget, name).connect(lambda *values: function(*values[:count]))


class Process(QtCore.QProcess):
    """A ``QProcess`` whose signals are connected by their text, as by PythonQt."""

    def connect(self, signature, function):
        getattr(self, signature.partition("(")[0]).connect(function)


class Menu(QtWidgets.QMenu):
    """A menu whose entries are connected as PythonQt's."""

    def addAction(self, text):
        return PythonQtWidget(super().addAction(text))


def widgetVariables(root) -> types.SimpleNamespace:
    """As ``slicer.util.childWidgetVariables``."""
    children = root.findChildren(QtWidgets.QWidget)
    return types.SimpleNamespace(
        **{child.objectName(): PythonQtWidget(child) for child in children if child.objectName()}
    )


def qtModule() -> types.ModuleType:
    """The names of ``qt`` that the panel uses without a dialog."""
    module = types.ModuleType("qt")
    module.QTimer = types.SimpleNamespace(
        singleShot=lambda milliseconds, function: QtCore.QTimer.singleShot(milliseconds, function)
    )
    module.QIcon, module.QStyle = QtGui.QIcon, QtWidgets.QStyle
    module.QObject, module.QEvent = QtCore.QObject, QtCore.QEvent
    module.QProcess, module.QByteArray = Process, QtCore.QByteArray
    module.QMenu, module.QPoint, module.Qt = Menu, QtCore.QPoint, QtCore.Qt
    return module


class Application:
    """Slicer, without a main window until ``views`` are given."""

    views = None

    def layoutManager(self):
        return self.views

    def testingEnabled(self):
        return True


@contextlib.contextmanager
def tryWithErrorDisplay(message=None, show=True, waitCursor=False):
    """As in Slicer's testing mode: the error goes on."""
    yield


class SliceView:
    """A slice view without a window: what is written into it can be read."""

    def __init__(self):
        self.renderer = vtk.vtkRenderer()
        self._renderers = vtk.vtkRendererCollection()
        self._renderers.AddItem(self.renderer)

    def renderWindow(self):
        return types.SimpleNamespace(GetRenderers=lambda: self._renderers)

    def scheduleRender(self):
        pass

    def texts(self):
        """Everything that is written into it."""
        actors = self.renderer.GetViewProps()
        found = [actors.GetItemAsObject(n) for n in range(actors.GetNumberOfItems())]
        return [text for actor in found for n in range(8) if (text := actor.GetText(n))]


class SliceViews:
    """A layout with one slice view, as far as its MRML nodes go."""

    def __init__(self, sliceNode, compositeNode):
        self.view = SliceView()
        self._widget = types.SimpleNamespace(
            mrmlSliceNode=lambda: sliceNode,
            mrmlSliceCompositeNode=lambda: compositeNode,
            sliceView=lambda: self.view,
        )
        self.layout = 0

    def setLayout(self, layout):
        self.layout = layout

    def sliceViewNames(self):
        return ["Red"]

    def sliceWidget(self, name):
        return self._widget if name == "Red" else None
