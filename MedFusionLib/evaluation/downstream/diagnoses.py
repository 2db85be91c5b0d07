"""Four classes of disease, found by words in a table's diagnoses."""

from __future__ import annotations

import re

CLASSES = {
    "normal": ("normal", "healthy"),
    "tumour": (
        *("tumour", "tumor", "neoplas", "glioma", "glioblastoma", "astrocytoma", "meningioma"),
        *("metasta", "sarcoma", "carcinoma", "lymphoma"),
    ),
    "vascular": (
        *("vascular", "cerebrovascular", "stroke", "infarct", "isch", "embol", "aneurysm"),
        *("hematoma", "haematoma", "hemorrhage", "haemorrhage", "hypertensive", "arteriovenous"),
    ),
    "degenerative": ("degenerative", "alzheimer", "huntington", "parkinson", "motor neuron"),
}
"""Class to the beginnings of words that stand for it."""


def class_of(diagnosis: str) -> str | None:
    """The class whose words a diagnosis has; None where it has those of none or of several.

    Words begin after anything that is no letter, so "abnormal" is not "normal", and "unlabelled"
    is nothing.
    """
    text = " " + re.sub(r"[^a-z]+", " ", diagnosis.lower())
    found = [name for name, words in CLASSES.items() if any(f" {word}" in text for word in words)]
    return found[0] if len(found) == 1 else None
