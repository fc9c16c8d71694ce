"""Choose a share of requests by their ids: the same ones on every worker and in every replay."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.errors import DetectorError

__all__ = ["sampled"]

_SPACE: Final = 2**64


def sampled(request_ids: Sequence[str], rate: float) -> NDArray[np.bool_]:
    """Tell which requests belong to the sample of the given rate.

    An id is in it when its hash (BLAKE2b, 64 bits) lies in the lowest ``rate`` of all hashes. So
    what is in a sample is in every larger one too.

    Args:
        request_ids: n of them.
        rate: share of requests, from 0 (none) to 1 (all).

    Returns:
        bool, shape (n,).

    Raises:
        DetectorError: the rate is not between 0 and 1.

    Examples:
        >>> sampled(["a", "b", "c", "d"], 0.5).tolist()
        [False, True, False, False]

    """
    if not 0 <= rate <= 1:
        raise DetectorError(f"a sample's rate lies between 0 and 1, not {rate}")
    limit = round(rate * _SPACE)
    chosen = (_hash(request_id) < limit for request_id in request_ids)
    return np.fromiter(chosen, np.bool_, len(request_ids))


def _hash(request_id: str) -> int:
    data = request_id.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8, person=b"tocsin-sample").digest(), "big")
