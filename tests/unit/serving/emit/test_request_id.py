from __future__ import annotations

import uuid

from serving.emit.request_id import is_our_request_id, new_request_id


def test_tocsin_knows_its_own_ids_and_no_others() -> None:
    ids = [new_request_id() for _ in range(1_000)]
    assert len(set(ids)) == 1_000
    assert all(map(is_our_request_id, ids))
    assert not any(is_our_request_id(uuid.uuid4().hex) for _ in range(1_000))
    assert not any(is_our_request_id(one[:-1] + ("0" if one[-1] != "0" else "1")) for one in ids)


def test_what_is_no_id_is_none_of_ours() -> None:
    ours = new_request_id()
    for text in ("", ours.upper(), f" {ours}", f"{ours}\n", f"{ours}0", ours[:-1], "ü" * 32):
        assert not is_our_request_id(text)
