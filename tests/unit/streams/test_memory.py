"""What a worker's process does without, and how it asks for memory and gives it back."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import pytest

from streams.memory import trim

SCRIPT = """
import sys

from streams.memory import do_without_pandas

do_without_pandas()

import pyarrow

assert pyarrow.array(["a", "b"]).to_pylist() == ["a", "b"]
assert "pandas" not in sys.modules, "imported all the same"

from river import drift

import pandas

assert drift.ADWIN() is not None
assert pandas.Series([1, 2]).sum() == 3
assert pyarrow.array(pandas.Series([1, 2])).to_pylist() == [1, 2]
"""


def test_pandas_comes_only_when_it_is_named() -> None:
    pytest.importorskip("pandas")
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_arrow_takes_its_memory_where_the_worker_does() -> None:
    script = "import streams.memory, pyarrow; print(pyarrow.default_memory_pool().backend_name)"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "system"


def test_what_is_given_back_is_garbage_too() -> None:
    class Node:
        pass

    node = Node()
    node.itself = node  # type: ignore[attr-defined]
    gone = weakref.ref(node)
    gc.disable()
    try:
        del node
        trim()
        assert gone() is None
    finally:
        gc.enable()
