"""Keeps the memory of freed arrays for the next ones, instead of giving it back to the system at once.

glibc maps every array above 32 MiB anew and unmaps it when it is freed, and the system clears each of its pages at
first use. Such arrays are what a CPU computes with at 256 px: encoding 16 images with `small` took 0.92 s of a core, of
which 0.55 were the system's, and takes 0.37 s with what is kept here; decoding them took 2.40 s and takes 1.88 (one
thread of an AMD EPYC, virtual machine).
"""

import ctypes

# Names of glibc's malloc.h; other C libraries have no mallopt, or ignore them.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
MOST = 1 << 30  # bytes of an array that is kept, and of free memory at the end of the heap


def keep() -> bool:
    """Asks the C library to keep freed memory; a process does this once, before its work.

    Returns:
        Whether the C library has agreed.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS, Windows
        return False
    return all([mallopt(M_MMAP_THRESHOLD, MOST), mallopt(M_TRIM_THRESHOLD, MOST)])
