"""Figures of the report: `python -m reports.figures`; a module a kind, a function a figure."""
