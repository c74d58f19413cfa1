"""What `gpstoken COMMAND` runs: a file a command, and the rows of experiments/ that commands name."""
