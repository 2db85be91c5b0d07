"""What commands write: all of it or nothing, and never over what they read."""

from MedFusionLib.outputs.bug_log import bug_sentence
from MedFusionLib.outputs.collisions import refuse_collisions
from MedFusionLib.outputs.together import (
    Outputs,
    refuse_unwritable_file,
    refuse_unwritable_folder,
    together,
    write_text,
    written_whole,
)

__all__ = [
    "Outputs",
    "bug_sentence",
    "refuse_collisions",
    "refuse_unwritable_file",
    "refuse_unwritable_folder",
    "together",
    "write_text",
    "written_whole",
]
