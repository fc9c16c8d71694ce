"""Choose a share of users so that each stays on the side it is on. Pure."""

from __future__ import annotations

from hashlib import blake2b

__all__ = ["in_share"]


def in_share(who: str, salt: str, percent: float) -> bool:
    """Tell whether `who` belongs to the first `percent` of all.

    The same answer for the same name at any time and in any process, and growing shares keep those
    who were in; another salt draws other users.

    >>> [in_share("alice", "v2", p) for p in (0, 100)]
    [False, True]
    """
    if percent <= 0:
        return False
    digest = blake2b(f"{salt}\0{who}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) < percent / 100 * 2**64
