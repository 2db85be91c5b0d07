"""One fusion in a scene: nodes to volumes, through the worker, and back to a node.

Nothing in the scene changes before the fused volume has arrived whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Any

from MedFusionLib.errors import GeometryError, InputError, MedFusionError
from MedFusionLib.fusion import REGISTERED, fuse
from MedFusionLib.methods import DEFAULT_METHOD
from MedFusionLib.slicer_app.running.worker_client import SECONDS_TO_WAIT, WorkerClient
from MedFusionLib.slicer_app.running.worker_session import FurtherVolume
from MedFusionLib.slicer_app.scene.found_transforms import showRegistration
from MedFusionLib.slicer_app.scene.further_sources import FurtherSource, furtherSource
from MedFusionLib.slicer_app.scene.judged_transforms import recordVerdict, verdictFor
from MedFusionLib.slicer_app.scene.landmark_nodes import landmarkMessage
from MedFusionLib.slicer_app.scene.mrml import fusedNodeFromVolume, imageInSteps, volumeSeenInNode
from MedFusionLib.slicer_app.scene.node_checks import (
    namedNode,
    refuseOutput,
    refuseSameVolume,
    refuseWhatIsNoTransform,
)
from MedFusionLib.slicer_app.scene.provenance import recordFurtherTransform
from MedFusionLib.slicer_app.scene.removed_nodes import RemovedNodes
from MedFusionLib.slicer_app.scene.scene_facts import betweenNodesInSteps, displayedWindow
from MedFusionLib.slicer_app.scene.sentences import bentText
from MedFusionLib.slicer_app.scene.transforms import TransformInSteps
from MedFusionLib.slicer_app.translation import _
from MedFusionLib.volumes.identity import IDENTITY_FIELDS
from MedFusionLib.volumes.volume import Volume

DISPLAYED = "displayed"
_NOT_OPTIONS = {
    *("reference", "other", "initial", "progress", "cancel"),
    *("window_reference", "window_other"),
}
"""Arguments of ``fuse`` that a request sets by itself."""


@dataclass(frozen=True)
class FusionRequest:
    """What to fuse, and how.

    ``modalities`` and ``windows`` are of the reference and the other (None: found out; a window
    may also be ``displayed``). ``alignment`` is none, resample, rigid, affine or deformable;
    ``transformNode`` takes the other volume to the reference, as if it were applied to it.
    ``landmarkNodes`` are lists of points on the reference and on the other, where each is shown: a
    registration starts from them, and how far they lie apart is reported.
    ``options`` are more of ``MedFusionLib.fusion.fuse``. ``acceptedPatients`` is the sentence with
    the patients' identities that the user has said yes to; it becomes a warning of the result.
    ``further`` are volumes behind the other one, each with settings of its own.
    """

    referenceNode: Any
    otherNode: Any
    outputNode: Any = None
    method: str = DEFAULT_METHOD
    alignment: str = "resample"
    transformNode: Any = None
    landmarkNodes: tuple[Any, Any] = (None, None)
    modalities: tuple[str | None, str | None] = (None, None)
    windows: tuple[Any, Any] = (None, None)
    options: Mapping[str, Any] = field(default_factory=dict)
    score: bool = False
    acceptedPatients: str | None = None
    further: tuple[FurtherSource, ...] = ()

    def volumes(self) -> dict[str, Any]:
        """The reference and the other volume as they are now, not copied, by role.

        Raises ``InputError`` for what is no image.
        """
        return {
            "reference": volumeSeenInNode(self.referenceNode, self.modalities[0]),
            "other": self._beside(self.otherNode, self.modalities[1]),
        }

    def furtherVolumes(self) -> list[FurtherVolume]:
        """The further volumes likewise, each with its transform, to be found in steps."""
        return [
            FurtherVolume(
                self._beside(one.node, one.modality),
                betweenNodesInSteps(self.referenceNode, one.node, one.transformNode),
                {
                    "alignment": one.alignment,
                    "window": _windowOf(one.node, one.window),
                    "colour": one.colour,
                },
            )
            for one in self.further
        ]

    def _beside(self, node, modality: str | None) -> Volume:
        volume = volumeSeenInNode(node, modality)
        return volume if self.acceptedPatients is None else _ofNobody(volume)

    @property
    def sources(self) -> tuple:
        """The nodes of all volumes: reference, other, further ones."""
        return (self.referenceNode, self.otherNode, *(one.node for one in self.further))

    def voxelTimes(self) -> list[int]:
        """When the voxels of the volumes were last changed, in VTK's count."""
        images = [node.GetImageData() for node in self.sources]
        return [image.GetMTime() if image is not None else 0 for image in images]

    def transform(self) -> TransformInSteps:
        """The transform from the reference's space to the other's, to be found in steps."""
        return betweenNodesInSteps(self.referenceNode, self.otherNode, self.transformNode)

    def landmarks(self) -> dict[str, Any] | None:
        """The landmarks as they are now, for the worker. Raises what ``landmarkMessage`` raises."""
        return landmarkMessage(self.referenceNode, self.otherNode, self.landmarkNodes)

    def fuseOptions(self) -> dict[str, Any]:
        """Keyword arguments of ``fuse``, as plain values."""
        nodes = (self.referenceNode, self.otherNode)
        windows = [_windowOf(*one) for one in zip(nodes, self.windows, strict=True)]
        return {
            **self.options,
            "method": self.method,
            "alignment": self.alignment,
            "window_reference": windows[0],
            "window_other": windows[1],
        }


def _windowOf(node, window):
    return displayedWindow(node) if window == DISPLAYED else window


def _ofNobody(volume: Volume) -> Volume:
    """A volume that does not tell whom it shows, so that nobody is compared a second time."""
    kept = {key: value for key, value in volume.metadata.items() if key not in IDENTITY_FIELDS}
    return replace(volume, metadata=kept)


def requestFor(referenceNode, otherNode, outputNode=None, **options: Any) -> FusionRequest:
    """A request from the console's arguments: the request's own fields, and options of ``fuse``."""
    own = (
        "method",
        "alignment",
        "transformNode",
        "landmarkNodes",
        "modalities",
        "windows",
        "score",
        "further",
    )
    fields = {name: options.pop(name) for name in own if name in options}
    _refuseUnknownOptions(options, own)
    referenceNode, otherNode = namedNode(referenceNode), namedNode(otherNode)
    fields["further"] = _furtherSources(fields)
    refuseSameVolume(referenceNode, otherNode, [one.node for one in fields["further"]])
    if outputNode is not None:
        outputNode = namedNode(outputNode)
    if fields.get("transformNode") is not None:
        refuseWhatIsNoTransform(fields["transformNode"])
    return FusionRequest(referenceNode, otherNode, outputNode, **fields, options=options)


def _furtherSources(fields: Mapping[str, Any]) -> tuple[FurtherSource, ...]:
    """The further volumes that the console gives; where none says how it is laid, as the other."""
    given = fields.get("further") or ()
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        given = (given,)
    alignment = fields.get("alignment", "resample")
    return tuple(furtherSource(one, alignment) for one in given)


def _refuseUnknownOptions(options: Mapping[str, Any], own: tuple[str, ...]) -> None:
    known = {*own, *signature(fuse).parameters} - _NOT_OPTIONS
    unknown = [name for name in options if name not in known]
    if unknown:
        raise InputError(
            _("There is no option '{name}'. The options are {known}.").format(
                name=unknown[0], known=", ".join(sorted(known))
            )
        )


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
        self._ended = False
        if request.outputNode is not None:
            reference, other, *further = request.sources
            refuseOutput(request.outputNode, reference, other, further)
        self._voxelTimes = request.voxelTimes()
        self._landmarks = request.landmarks()
        transform, further = request.transform(), request.furtherVolumes()
        alignments = [request.alignment, *(one.alignment for one in request.further)]
        for alignment, found in zip(
            alignments, (transform, *(one.transform for one in further)), strict=True
        ):
            if alignment in REGISTERED and not found.isFound:
                # To sample it takes up to minutes, after which the library would refuse it.
                raise GeometryError(bentText())
        self._client = client
        self._workerJob = client.submit(
            "fuse",
            request.volumes(),
            onProgress=lambda *values: self._tell(onProgress, *values),
            onDone=self._onResult,
            onError=self._fail,
            onWritten=self._refuseChangedVoxels,
            receive=self._receive,
            transform=transform,
            further=further,
            landmarks=self._landmarks,
            options=request.fuseOptions(),
            score=request.score,
        )
        self._removed = RemovedNodes(request.referenceNode.GetScene(), self._onNodeRemoved)

    def _tell(self, onProgress, *values) -> None:
        if onProgress is not None and not self._ended:
            onProgress(*values)

    @property
    def running(self) -> bool:
        """Whether neither ``onDone`` nor ``onError`` has been called yet."""
        return not self._ended

    @property
    def number(self) -> int:
        """By which the worker knows this fusion."""
        return self._workerJob.number

    def wait(self):
        """Deliver events until the run has ended; the fused node, or the error raised."""
        while self.running:
            self._client.processEvents(SECONDS_TO_WAIT)
        if self.error is not None:
            raise self.error
        return self.fusedNode

    @property
    def cancelling(self) -> bool:
        """Whether ``cancel`` was called."""
        return self._workerJob.cancelling

    def cancel(self) -> None:
        """Stop between two batches; a second call stops the process at once."""
        self._workerJob.cancel()

    def _onNodeRemoved(self, node) -> None:
        """What the run was to be made from is gone: end now, whatever the worker still does."""
        request = self.request
        transforms = (request.transformNode, *(one.transformNode for one in request.further))
        if node in (*request.sources, *transforms, *request.landmarkNodes):
            self._fail(
                InputError(
                    _("'{name}' was removed during the fusion, which was stopped.").format(
                        name=node.GetName()
                    )
                )
            )
            self._workerJob.cancel()

    def _refuseChangedVoxels(self) -> None:
        if self.request.voxelTimes() != self._voxelTimes:
            raise InputError(
                _("A volume was changed while it was handed to the fusion process. Fuse again.")
            )

    def _receive(self, result: Mapping[str, Any]) -> Iterator[None]:
        self._image = yield from imageInSteps(result["volume"].voxels)

    def _onResult(self, result: Mapping[str, Any]) -> None:
        if self._ended:
            return
        try:
            self.fusedNode = self._addToScene(result)
        except MedFusionError as error:
            self._fail(error)
            return
        finally:
            # The voxels are in the scene now; a mapped file that is kept takes up the disk.
            self._workerJob.result = self._image = None
        self._end()
        if self._onDone is not None:
            self._onDone(self.fusedNode, self.report)

    def _end(self) -> None:
        self._ended = True
        self._removed.stop()

    def _fail(self, error: MedFusionError) -> None:
        if self._ended:
            return
        self._end()
        self.error = error
        if self._onError is not None:
            self._onError(error)

    def _addToScene(self, result: Mapping[str, Any]):
        request = self.request
        self.report = result["report"]
        if request.acceptedPatients is not None:
            self.report["warnings"] = [request.acceptedPatients, *self.report["warnings"]]
        self._addVerdicts()
        self._warnOfChangedLandmarks()
        outputNode = request.outputNode
        if outputNode is not None and outputNode.GetScene() is None:
            outputNode = None
        fusedNode = fusedNodeFromVolume(
            result["volume"],
            self.report,
            request.referenceNode,
            request.otherNode,
            outputNode,
            request.transformNode,
            self._image,
            [(one.node, one.transformNode) for one in request.further],
        )
        if request.alignment in REGISTERED:
            transformNode = self._showFound(result["transform"], request.otherNode, self.report)
            fusedNode.SetNodeReferenceID("MedFusion.Transform", transformNode.GetID())
        for number, one in enumerate(request.further, 1):
            if one.alignment in REGISTERED:
                found = result["further_transforms"][number - 1]
                told = self.report["further"][number - 1]
                recordFurtherTransform(fusedNode, number, self._showFound(found, one.node, told))
        return fusedNode

    def _showFound(self, transform, otherNode, report: Mapping[str, Any]):
        """The transform node of a registration of this run, with its verdict."""
        referenceNode = self.request.referenceNode
        transformNode = showRegistration(transform, referenceNode, otherNode)
        recordVerdict(transformNode, report, referenceNode, otherNode)
        return transformNode

    def _addVerdicts(self) -> None:
        """What earlier registrations have found of the transforms that were chosen."""
        request = self.request
        assert self.report is not None
        reports = (self.report, *self.report["further"])
        settings = (request, *request.further)
        for told, one, otherNode in zip(reports, settings, request.sources[1:], strict=True):
            if one.transformNode is None or one.alignment in REGISTERED:
                continue
            verdict = verdictFor(one.transformNode, told, request.referenceNode, otherNode)
            if verdict is not None:
                told["registered_before"] = verdict

    def _warnOfChangedLandmarks(self) -> None:
        """The distances are those of the points as they were handed over."""
        try:
            isSame = self.request.landmarks() == self._landmarks
        except MedFusionError:
            isSame = False
        if not isSame:
            changed = _(
                "The landmarks, or what the volumes stand under, were changed during the run; they "
                "were used as they were when it began."
            )
            assert self.report is not None
            self.report["warnings"] = [*self.report["warnings"], changed]
