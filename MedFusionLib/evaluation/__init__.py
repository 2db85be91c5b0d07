"""Metrics, leader board, benchmark and reports."""
