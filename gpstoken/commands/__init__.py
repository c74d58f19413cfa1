"""The commands of `gpstoken COMMAND`, one per file, and the rows of experiments/ that they name."""
