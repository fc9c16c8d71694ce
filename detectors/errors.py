"""Exceptions of detectors.

TocsinError
└── DetectorError        a detector was given what it cannot work with
    ├── SketchError      a sketch is malformed, or two of different precision should be merged
    └── SnapshotError    a snapshot does not fit the detector that should be restored from it
"""

from __future__ import annotations

from schemas.errors import TocsinError

__all__ = ["DetectorError", "SketchError", "SnapshotError"]


class DetectorError(TocsinError):
    """A detector was given what it cannot work with."""


class SketchError(DetectorError):
    """A sketch is malformed, or two of different precision should be merged."""


class SnapshotError(DetectorError):
    """A snapshot does not fit the detector that should be restored from it."""
