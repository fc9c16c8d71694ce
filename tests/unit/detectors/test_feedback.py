"""Thumbs: one for each user and request, the newest; corrections are no verdict."""

from detectors.feedback import Feedback
from schemas.base import SCHEMA_VERSION
from schemas.event import new_event_id
from schemas.feedback import FeedbackEvent, Thumb
from schemas.signal import SignalName, SignalQuery

S = 1_000_000
QUERY = SignalQuery(SignalName.FEEDBACK_POSITIVE_RATE, 60, ("model",))
LABELS = {"model": "m", "feature": "chat"}


def event(request: str, thumb: Thumb | None, at_s: int = 10, user: str = "u") -> FeedbackEvent:
    return FeedbackEvent(
        schema_version=SCHEMA_VERSION,
        feedback_id=new_event_id(),
        request_id=request,
        at_us=at_s * S,
        user_id=user,
        thumb=thumb,
    )


def test_share_of_thumbs_up() -> None:
    feedback = Feedback([QUERY])
    for i, thumb in enumerate([Thumb.UP, Thumb.UP, Thumb.UP, Thumb.DOWN]):
        feedback.add(event(f"r{i}", thumb), LABELS)
    feedback.add(event("r", Thumb.DOWN), {"model": "n"})
    one, two = feedback.evaluate(20 * S)
    assert (one.labels, one.value, one.samples) == ({"model": "m"}, 0.75, 4)
    assert one.detail["ci_low"] < 0.75 < one.detail["ci_high"]
    assert (two.value, two.samples) == (0, 1)


def test_a_user_who_changes_the_thumb_has_the_newest() -> None:
    feedback = Feedback([QUERY])
    feedback.add(event("r", Thumb.DOWN, at_s=12), LABELS)
    feedback.add(event("r", Thumb.UP, at_s=11), LABELS)  # came late
    feedback.add(event("r", Thumb.UP, user="another"), LABELS)
    (signal,) = feedback.evaluate(20 * S)
    assert (signal.value, signal.samples) == (0.5, 2)


def test_a_correction_alone_is_no_verdict() -> None:
    feedback = Feedback([QUERY])
    feedback.add(event("r", None), LABELS)
    feedback.add(event("r", None), LABELS)
    (signal,) = feedback.evaluate(20 * S)
    assert (signal.value, signal.samples, signal.detail) == (None, 0, {"without_thumb": 2})


def test_a_correction_does_not_take_the_thumb_away() -> None:
    feedback = Feedback([QUERY])
    feedback.add(event("r", Thumb.UP), LABELS)
    feedback.add(event("r", None, at_s=15), LABELS)
    (signal,) = feedback.evaluate(20 * S)
    assert (signal.value, signal.samples) == (1, 1)


def test_replayed_feedback_counts_once() -> None:
    feedback = Feedback([QUERY])
    same = event("r", Thumb.UP)
    feedback.add(same, LABELS)
    feedback.evaluate(20 * S)
    feedback.add(same, LABELS)
    assert [s.samples for s in feedback.evaluate(30 * S)] == [1]
