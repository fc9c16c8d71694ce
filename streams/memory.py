"""How the worker's process asks for memory, and gives it back."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from contextlib import suppress
from importlib.abc import MetaPathFinder
from typing import Final

# Read once, when Arrow's library is loaded: a pool set later misses what it allocates by itself.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

import pyarrow as pa
from clickhouse_connect.driver import options

__all__ = ["do_without_pandas", "return_memory_early", "trim"]

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
    first to keep such blocks in arenas of each thread, where they fragment, and so do Arrow's own
    pools: 65 MB of 395 at full load were what mimalloc kept. The collector would look through each
    batch's tuples 20 times, and finds no cycles there.
    """
    sys.setswitchinterval(_SWITCH_S)  # or the fetching thread waits 5 ms for each of its turns
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return
    finally:
        gc.set_threshold(_YOUNG_OBJECTS, 20, 20)
    mallopt(_M_MMAP_THRESHOLD, _LARGE)
    mallopt(_M_TRIM_THRESHOLD, _LARGE)
    mallopt(_M_ARENA_MAX, 1)


def trim() -> None:
    """Collect young garbage, and give back what lies free between blocks that are in use.

    With large steps the collector may not come for minutes, and the few cycles that there are hold
    messages and columns: at full load the heap grew by 30 MB in 100 s.
    """
    gc.collect(1)
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def do_without_pandas() -> None:
    """Keep clickhouse-connect and pyarrow from importing pandas in this process.

    Both ask of what they are given whether it is one of its objects, and where pandas is installed
    import it to know what those are: 30 MB and half a second of the first micro-batch, that nobody
    here needs. Whoever imports pandas by name gets it.
    """
    options.pd = options.pd_time_test = None
    if "pandas" in sys.modules:
        return
    sys.meta_path.insert(0, _WITHOUT_PANDAS)
    try:
        pa.array((0,))  # it asks once, and remembers that there is none
    finally:
        sys.meta_path.remove(_WITHOUT_PANDAS)


class _WithoutPandas(MetaPathFinder):
    """A finder by which pandas is not installed."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        del path, target
        if fullname == "pandas":
            raise ModuleNotFoundError("not now", name=fullname)


_WITHOUT_PANDAS: Final = _WithoutPandas()
