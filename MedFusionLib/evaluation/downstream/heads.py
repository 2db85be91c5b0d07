"""What predicts the class of a slice: a plain linear head, the majority, and TFormer."""

from __future__ import annotations

import numpy as np

from MedFusionLib.evaluation.downstream.folds import Predict

PENALTY = 100.0
"""On squared weights. Fixed beforehand: there are too few patients to choose it by."""


def linear_head(features: np.ndarray) -> Predict:
    """Ridge classifier on features (slices, F), scaled by those that are learned from."""
    from sklearn.linear_model import RidgeClassifier
    from sklearn.preprocessing import StandardScaler

    def predict(
        train: np.ndarray, classes: np.ndarray, weights: np.ndarray, test: np.ndarray
    ) -> np.ndarray:
        scaler = StandardScaler().fit(features[train], sample_weight=weights)
        head = RidgeClassifier(alpha=PENALTY)
        head.fit(scaler.transform(features[train]), classes, sample_weight=weights)
        return head.predict(scaler.transform(features[test]))

    return predict


def majority(
    train: np.ndarray, classes: np.ndarray, weights: np.ndarray, test: np.ndarray
) -> np.ndarray:
    """The class with the most slices among those that are learned from, for every slice."""
    return np.full(len(test), np.bincount(classes).argmax())
