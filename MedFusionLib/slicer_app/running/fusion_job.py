"""One fusion in a scene: nodes to volumes, through the worker, and back to a node.

Nothing in the scene changes before the fused volume has arrived whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import slicer

from MedFusionLib.errors import InputError, MedFusionError
from MedFusionLib.methods import DEFAULT_METHOD
from MedFusionLib.registration.transforms import matrix_of
from MedFusionLib.slicer_app.running.worker_client import WorkerClient
from MedFusionLib.slicer_app.scene.geometry import RAS_LPS_FLIP
from MedFusionLib.slicer_app.scene.mrml import fusedNodeFromVolume, imageInSteps, volumeSeenInNode
from MedFusionLib.slicer_app.scene.scene_facts import betweenNodes, displayedWindow
from MedFusionLib.slicer_app.translation import _

REGISTERED = ("rigid", "affine")
DISPLAYED = "displayed"


@dataclass(frozen=True)
class FusionRequest:
    """What to fuse, and how.

    ``modalities`` and ``windows`` are of the reference and the other (None: found out; a window
    may also be ``displayed``). ``alignment`` is none, resample, rigid or affine;
    ``transformNode`` takes the other volume to the reference, as if it were applied to it.
    ``options`` are further ones of ``MedFusionLib.fusion.fuse``.
    """

    referenceNode: Any
    otherNode: Any
    outputNode: Any = None
    method: str = DEFAULT_METHOD
    alignment: str = "resample"
    transformNode: Any = None
    modalities: tuple[str | None, str | None] = (None, None)
    windows: tuple[Any, Any] = (None, None)
    options: Mapping[str, Any] = field(default_factory=dict)
    score: bool = False

    def volumes(self) -> dict[str, Any]:
        """The two volumes as they are now, not copied, by role.

        Raises ``InputError`` for what is no image.
        """
        return {
            "reference": volumeSeenInNode(self.referenceNode, self.modalities[0]),
            "other": volumeSeenInNode(self.otherNode, self.modalities[1]),
        }

    def voxelTimes(self) -> list[int]:
        """When the voxels of the two volumes were last changed, in VTK's count."""
        images = [node.GetImageData() for node in (self.referenceNode, self.otherNode)]
        return [image.GetMTime() if image is not None else 0 for image in images]

    def transform(self) -> Any:
        """SimpleITK transform from the reference's space to the other's, None for none."""
        return betweenNodes(self.referenceNode, self.otherNode, self.transformNode)

    def fuseOptions(self) -> dict[str, Any]:
        """Keyword arguments of ``fuse``, as plain values."""
        nodes = (self.referenceNode, self.otherNode)
        windows = [
            displayedWindow(node) if window == DISPLAYED else window
            for node, window in zip(nodes, self.windows, strict=True)
        ]
        return {
            **self.options,
            "method": self.method,
            "alignment": self.alignment,
            "window_reference": windows[0],
            "window_other": windows[1],
        }


def requestFor(referenceNode, otherNode, outputNode=None, **options: Any) -> FusionRequest:
    """A request from the console's arguments: the request's own fields, and options of ``fuse``."""
    own = ("method", "alignment", "transformNode", "modalities", "windows", "score")
    fields = {name: options.pop(name) for name in own if name in options}
    return FusionRequest(referenceNode, otherNode, outputNode, **fields, options=options)


class FusionJob:
    """A fusion that runs in the worker while Slicer goes on; ends in exactly one of two calls.

    ``onProgress(done, total, message)``; ``onDone(fusedNode, report)``; ``onError(error)`` with a
    sentence for the user (``Cancelled`` after ``cancel``).
    """

    def __init__(
        self,
        client: WorkerClient,
        request: FusionRequest,
        onProgress: Callable | None = None,
        onDone: Callable | None = None,
        onError: Callable | None = None,
    ) -> None:
        self.request = request
        self.fusedNode = None
        self.report: dict[str, Any] | None = None
        self.error: MedFusionError | None = None
        self._onDone = onDone
        self._onError = onError
        self._image: Any = None
        self._voxelTimes = request.voxelTimes()
        self._workerJob = client.submit(
            "fuse",
            request.volumes(),
            onProgress=onProgress,
            onDone=self._onResult,
            onError=self._fail,
            onWritten=self._refuseChangedVoxels,
            receive=self._receive,
            transform=request.transform(),
            options=request.fuseOptions(),
            score=request.score,
        )

    @property
    def running(self) -> bool:
        """Whether neither ``onDone`` nor ``onError`` has been called yet."""
        return self._workerJob.running

    @property
    def cancelling(self) -> bool:
        """Whether ``cancel`` was called."""
        return self._workerJob.cancelling

    @property
    def workerJob(self):
        """The worker's request behind this fusion."""
        return self._workerJob

    def cancel(self) -> None:
        """Stop between two batches; a second call stops the process at once."""
        self._workerJob.cancel()

    def _refuseChangedVoxels(self) -> None:
        if self.request.voxelTimes() != self._voxelTimes:
            raise InputError(
                _("A volume was changed while it was handed to the fusion process. Fuse again.")
            )

    def _receive(self, result: Mapping[str, Any]) -> Iterator[None]:
        self._image = yield from imageInSteps(result["volume"].voxels)

    def _onResult(self, result: Mapping[str, Any]) -> None:
        try:
            self.fusedNode = self._addToScene(result)
        except MedFusionError as error:
            self._fail(error)
            return
        finally:
            # The voxels are in the scene now; a mapped file that is kept takes up the disk.
            self._workerJob.result = self._image = None
        self.report = result["report"]
        if self._onDone is not None:
            self._onDone(self.fusedNode, self.report)

    def _fail(self, error: MedFusionError) -> None:
        self.error = error
        if self._onError is not None:
            self._onError(error)

    def _addToScene(self, result: Mapping[str, Any]):
        request = self.request
        for node in (request.referenceNode, request.otherNode):
            if node.GetScene() is None:
                raise InputError(_("One of the volumes was removed during the fusion."))
        outputNode = request.outputNode
        if outputNode is not None and outputNode.GetScene() is None:
            outputNode = None
        fusedNode = fusedNodeFromVolume(
            result["volume"],
            result["report"],
            request.referenceNode,
            request.otherNode,
            outputNode,
            request.transformNode,
            self._image,
        )
        if request.alignment in REGISTERED:
            transformNode = showRegistration(result["transform"], request)
            fusedNode.SetNodeReferenceID("MedFusion.Transform", transformNode.GetID())
        return fusedNode


def showRegistration(transform, request: FusionRequest):
    """The found transform as a node that the user can look at, adjust and use again.

    Applied to the other volume it takes it to the reference. A node of an earlier run on the same
    pair is updated.
    """
    referenceNode, otherNode = request.referenceNode, request.otherNode
    scene = referenceNode.GetScene()
    node = _earlierRegistration(scene, referenceNode, otherNode)
    if node is None:
        name = _("{other} to {reference}").format(
            other=otherNode.GetName(), reference=referenceNode.GetName()
        )
        node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", scene.GenerateUniqueName(name))
        node.SetNodeReferenceID("MedFusion.Reference", referenceNode.GetID())
        node.SetNodeReferenceID("MedFusion.Other", otherNode.GetID())
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(otherToReferenceRas(transform)))
    node.SetAndObserveTransformNodeID(referenceNode.GetTransformNodeID())
    return node


def _earlierRegistration(scene, referenceNode, otherNode):
    for node in slicer.util.getNodesByClass("vtkMRMLLinearTransformNode", scene):
        pair = (
            node.GetNodeReference("MedFusion.Reference"),
            node.GetNodeReference("MedFusion.Other"),
        )
        if pair == (referenceNode, otherNode):
            return node
    return None


def otherToReferenceRas(transform) -> np.ndarray:
    """4×4 matrix in RAS of the inverse of a linear SimpleITK transform (reference to other)."""
    return RAS_LPS_FLIP @ np.linalg.inv(matrix_of(transform)) @ RAS_LPS_FLIP
