"""Parent transforms of two volume nodes as one SimpleITK transform between their own spaces.

Slicer places a voxel in the world through IJKToRAS and then through the node's parent transforms.
A ``Volume`` carries IJKToRAS alone, so whatever the parents do differently to the two volumes has
to reach the resampling as a transform.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from MedFusionLib.errors import GeometryError
from MedFusionLib.slicer_app.scene.geometry import RAS_LPS_FLIP, nodeGeometry
from MedFusionLib.slicer_app.translation import _

if TYPE_CHECKING:
    import SimpleITK

FIELD_TOLERANCE = 0.05
"""Largest error of a sampled non-linear transform, as a share of the reference's finest spacing."""
FIRST_POINTS = 64
SECONDS_PER_STEP = 0.02
"""How long an interface stands still while points are taken through a transform."""
COARSEST_SAMPLING = 8.0
"""Distance in mm between samples of a non-linear transform, before the error asks for less."""


def referenceToOtherTransform(referenceNode, otherNode) -> SimpleITK.Transform | None:
    """Transform that takes points of the reference's own space to the other's own space.

    Both spaces are LPS in mm, without the parent transforms, as ``volumeFromNode`` gives the two
    volumes; the direction of the mapping is the one that resampling the other volume onto the
    reference's grid needs. Linear chains of parents become an ``AffineTransform``; all others
    become a ``DisplacementFieldTransform`` over the reference's grid, with an error there below
    ``FIELD_TOLERANCE``. ``None`` when both nodes have the same parent, so that nothing is between
    them. The nodes are only read. Raises ``GeometryError`` when a non-linear transform has to be
    inverted and folds space, so that it has no inverse.
    """
    return transformInSteps(referenceNode, otherNode).value


def transformInSteps(referenceNode, otherNode) -> TransformInSteps:
    """``referenceToOtherTransform`` for callers that cannot wait for a non-linear one."""
    return TransformInSteps(
        referenceNode, referenceNode.GetParentTransformNode(), otherNode.GetParentTransformNode()
    )


def fromWorld(pointsRas: np.ndarray, node) -> np.ndarray:
    """Points (N, 3) of the world (RAS, mm) in a volume node's own space (LPS, mm).

    Raises ``GeometryError`` where a non-linear parent folds space there.
    """
    toOwn = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, node.GetParentTransformNode(), toOwn)
    points = np.column_stack([pointsRas, np.ones(len(pointsRas))]) @ RAS_LPS_FLIP
    with _Mapping(toOwn) as mapping:
        steps = mapping(points)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value


class TransformInSteps:
    """The transform of ``referenceToOtherTransform``, found when it is needed and only once.

    ``steps`` finds it piece by piece: inverting a non-linear transform takes seconds to minutes,
    and the first point that has no inverse ends it with a ``GeometryError``.
    """

    def __init__(self, referenceNode, referenceParent, otherParent) -> None:
        self._referenceNode = referenceNode
        self._toOther: vtk.vtkGeneralTransform | None = None
        self._found: SimpleITK.Transform | None = None
        if referenceParent is otherParent:
            return
        toOther = vtk.vtkGeneralTransform()
        slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(referenceParent, otherParent, toOther)
        linear = vtk.vtkTransform()
        if slicer.vtkMRMLTransformNode.IsGeneralTransformLinear(toOther, linear):
            self._found = _affineTransform(linear.GetMatrix())
        else:
            self._toOther = toOther

    @property
    def value(self) -> SimpleITK.Transform | None:
        """The transform, however long it takes; None where nothing is between the volumes."""
        for _step in self.steps():
            pass
        return self._found

    @property
    def isFound(self) -> bool:
        """Whether ``value`` takes no time: always for linear transforms."""
        return self._toOther is None

    def steps(self) -> Iterator[None]:
        """Find the transform, a few milliseconds with each step of the iteration.

        Raises ``GeometryError`` for one that folds space, or that is changed meanwhile.
        """
        if self._toOther is None:
            return
        before = self._toOther.GetMTime()
        with _Mapping(self._toOther) as mapping:
            for found in _sampledTransform(mapping, self._referenceNode):
                if self._toOther.GetMTime() != before:
                    raise GeometryError(
                        _("The transform between the volumes was changed meanwhile. Fuse again.")
                    )
                self._found = found
                yield
        self._toOther = None


class _Mapping:
    """A VTK transform (RAS) over points of LPS; what VTK merely warns of, an inversion that found
    no point, becomes an error at once."""

    def __init__(self, toOther: vtk.vtkGeneralTransform) -> None:
        self._toOther = toOther
        self._failed = False
        parts = vtk.vtkCollection()
        slicer.vtkMRMLTransformNode.FlattenGeneralTransform(parts, toOther)
        self._parts = [parts.GetItemAsObject(index) for index in range(parts.GetNumberOfItems())]
        self._tags: list[int] = []
        self._pointsPerStep = FIRST_POINTS

    def __enter__(self) -> _Mapping:
        self._tags = [
            part.AddObserver(vtk.vtkCommand.WarningEvent, self._onWarning) for part in self._parts
        ]
        return self

    def __exit__(self, *error: object) -> None:
        for part, tag in zip(self._parts, self._tags, strict=True):
            part.RemoveObserver(tag)

    def _onWarning(self, caller, event) -> None:
        self._failed = True

    def __call__(self, pointsLps: np.ndarray) -> Generator[None, None, np.ndarray]:
        """Take points (n, 4) through, some with each step; the return value is (n, 3), LPS."""
        mapped = np.empty((len(pointsLps), 3))
        first = 0
        while first < len(pointsLps):
            last = first + self._pointsPerStep
            begin = time.perf_counter()
            mapped[first:last] = self._taken(pointsLps[first:last])
            seconds = max(1e-4, time.perf_counter() - begin)
            if self._failed:
                raise GeometryError(
                    _(
                        "The non-linear transform between the two volumes folds space and cannot "
                        "be inverted. Use a smoother transform, or harden its inverse onto a copy "
                        "of the other volume."
                    )
                )
            faster = min(4.0, SECONDS_PER_STEP / seconds)
            self._pointsPerStep = max(1, int(self._pointsPerStep * faster))
            first = last
            yield
        return mapped

    def _taken(self, pointsLps: np.ndarray) -> np.ndarray:
        source, target = vtk.vtkPoints(), vtk.vtkPoints()
        target.SetDataTypeToDouble()
        source.SetData(numpy_to_vtk(np.ascontiguousarray((pointsLps @ RAS_LPS_FLIP)[:, :3])))
        self._toOther.TransformPoints(source, target)
        return vtk_to_numpy(target.GetData()) @ RAS_LPS_FLIP[:3, :3]


def _affineTransform(matrixRas: vtk.vtkMatrix4x4) -> SimpleITK.AffineTransform:
    import SimpleITK

    matrix = slicer.util.arrayFromVTKMatrix(matrixRas)
    matrix = RAS_LPS_FLIP @ matrix @ RAS_LPS_FLIP
    transform = SimpleITK.AffineTransform(3)
    transform.SetMatrix(matrix[:3, :3].ravel().tolist())
    transform.SetTranslation(matrix[:3, 3].tolist())
    return transform


def _sampledTransform(mapping: _Mapping, referenceNode) -> Iterator[Any]:
    """The transform as a displacement field, sampled as finely as its own curvature asks.

    Yields None while it is sampled, and the field last.
    """
    affineLps, spacing, shape = _referenceGrid(referenceNode)
    distance = COARSEST_SAMPLING
    while True:
        strides = np.maximum(1, np.floor(distance / spacing)).astype(int)
        field = yield from _sampledPoints(mapping, affineLps, _sampleIndices(shape, strides))
        error = yield from _interpolationError(mapping, affineLps, shape, strides, field)
        if strides.max() == 1 or error <= FIELD_TOLERANCE * spacing.min():
            yield _displacementFieldTransform(field, affineLps, spacing, shape, strides)
            return
        distance /= 2


def _referenceGrid(referenceNode) -> tuple[np.ndarray, np.ndarray, tuple[int, int, int]]:
    """Affine IJK → LPS (4, 4), spacing (3,) in mm and number of voxels along I, J, K."""
    spacing, origin, directions = nodeGeometry(referenceNode)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(directions, (3, 3)) * spacing
    affine[:3, 3] = origin
    return affine, np.asarray(spacing), referenceNode.GetImageData().GetDimensions()


def _sampleIndices(shape, strides) -> list[np.ndarray]:
    """Voxel indices of the samples along I, J, K: the whole grid and one sample around it.

    A displacement field is zero outside its samples, so they must reach past the outermost voxel.
    """
    return [
        np.arange(-stride, count - 1 + 2 * stride, stride, dtype=float)
        for count, stride in zip(shape, strides, strict=True)
    ]


def _sampledPoints(
    mapping: _Mapping, affineLps: np.ndarray, indices: list[np.ndarray]
) -> Generator[None, None, np.ndarray]:
    """Points of the other's space, LPS in mm, (K, J, I, 3), for the given voxel indices."""
    i, j, k = indices
    field = np.empty((len(k), len(j), len(i), 3))
    plane = np.stack(np.meshgrid(i, j, indexing="xy"), axis=-1).reshape(-1, 2)
    for number, depth in enumerate(k):
        voxels = np.column_stack([plane, np.full(len(plane), depth), np.ones(len(plane))])
        mapped = yield from mapping(voxels @ affineLps.T)
        field[number] = mapped.reshape(len(j), len(i), 3)
    return field


def _interpolationError(
    mapping: _Mapping, affineLps, shape, strides, field: np.ndarray
) -> Generator[None, None, float]:
    """Largest distance in mm, at the middle of each cell of samples, from the exact transform.

    There linear interpolation, the mean of the cell's corners, is farthest from a smooth curve.
    """
    middles = [
        samples[:-1] + stride / 2
        for samples, stride in zip(_sampleIndices(shape, strides), strides, strict=True)
    ]
    exact = yield from _sampledPoints(mapping, affineLps, middles)
    pairs = [(slice(None, -1), slice(1, None))] * 3
    corners = sum(field[corner] for corner in itertools.product(*pairs))
    return float(np.linalg.norm(corners / 8 - exact, axis=-1).max())


def _displacementFieldTransform(field, affineLps, spacing, shape, strides):
    import SimpleITK

    indices = _sampleIndices(shape, strides)
    identity = _gridPoints(affineLps, indices)
    image = SimpleITK.GetImageFromArray(field - identity, isVector=True)
    first = affineLps @ [*(samples[0] for samples in indices), 1.0]
    image.SetOrigin(first[:3].tolist())
    image.SetSpacing((spacing * strides).tolist())
    image.SetDirection((affineLps[:3, :3] / spacing).ravel().tolist())
    return SimpleITK.DisplacementFieldTransform(image)


def _gridPoints(affineLps: np.ndarray, indices: list[np.ndarray]) -> np.ndarray:
    """Points (K, J, I, 3), LPS in mm, of the given voxel indices."""
    i, j, k = indices
    point = affineLps[:3, 3] + k[:, None, None, None] * affineLps[:3, 2]
    return point + j[:, None, None] * affineLps[:3, 1] + i[:, None] * affineLps[:3, 0]
