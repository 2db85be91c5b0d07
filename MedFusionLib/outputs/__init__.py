"""What commands write: all of it or nothing, and never over what they read."""

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
    "refuse_collisions",
    "refuse_unwritable_file",
    "refuse_unwritable_folder",
    "together",
    "write_text",
    "written_whole",
]
