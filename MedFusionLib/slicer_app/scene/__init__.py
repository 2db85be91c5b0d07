"""Between MedFusion's values and the nodes of a MRML scene."""
