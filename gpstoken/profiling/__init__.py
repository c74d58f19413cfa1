"""The cost of a row at its published size, for `gpstoken profile`: parameters, multiply-adds, memory, latency."""
