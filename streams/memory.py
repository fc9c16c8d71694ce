"""How the worker's process asks for memory, and gives it back."""

from __future__ import annotations

import ctypes
import gc
import sys
from typing import Final

import pyarrow as pa
from clickhouse_connect.driver import options

__all__ = ["do_without_pandas", "return_memory_early"]

# mallopt(3) of glibc; other C libraries have no such function, and no such arenas.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_LARGE: Final = 256 * 1024

_SWITCH_S: Final = 0.001
_YOUNG_OBJECTS: Final = 50_000


def return_memory_early() -> None:
    """Let large blocks go back to the system when freed, and collect garbage in large steps.

    A micro-batch needs some megabytes for some milliseconds, over and over. glibc learns from the
    first to keep such blocks in arenas of each thread, where they fragment: at full load resident
    memory was 540 MB with its defaults and 320 MB with these, Arrow's own pool included. The
    collector would look through each batch's tuples 20 times, and finds no cycles there.
    """
    sys.setswitchinterval(_SWITCH_S)  # or the fetching thread waits 5 ms for each of its turns
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return
    finally:
        gc.set_threshold(_YOUNG_OBJECTS, 20, 20)
    mallopt(_M_MMAP_THRESHOLD, _LARGE)
    mallopt(_M_TRIM_THRESHOLD, _LARGE)
    mallopt(_M_ARENA_MAX, 2)


def do_without_pandas() -> None:
    """Keep clickhouse-connect from importing pandas in this process.

    It asks of every insert whether that is a DataFrame, and where pandas is installed imports it to
    know what that is: 30 MB, and a second, that nobody here needs.
    """
    options.pd = options.pd_time_test = None
