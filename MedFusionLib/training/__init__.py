"""Data sets and training of every learned method."""
