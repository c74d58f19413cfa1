"""Faults injected into real commands: kills, signals, full disks, and processes that meet."""
