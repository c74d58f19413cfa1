"""`gpstoken profile`: what a row costs at its published size: parameters, multiply-adds, memory, latency."""
