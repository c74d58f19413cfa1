"""Side-by-side timings: every row is one variant against its reference, interleaved in one process."""
