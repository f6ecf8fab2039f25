"""Keep freed memory for the next step in place of handing it back to the system.

A step allocates and frees the same large blocks as the step before. By default the C library maps
and unmaps each of them, and the system clears every page anew: a third of a step's time with the
default configuration. What it trades away: the process keeps its peak until it ends.
"""

import ctypes
import sys

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Ask the allocator to keep freed blocks; returns whether it can (glibc only)."""
    if not sys.platform.startswith("linux"):
        return False
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is None:
        return False
    return bool(set_option(_M_MMAP_MAX, 0)) and bool(set_option(_M_TRIM_THRESHOLD, _NEVER))
