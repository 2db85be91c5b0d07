"""Volumes: the value, and its way from and to files."""
