"""Where a rollout stands: its steps, what it waits for, and how to end it."""

from __future__ import annotations

from serving.rollout.machine import STEPS, Outcome, RolloutState
from serving.rollout.outlook import duration, outlook, share_name
from tocsin.api.markup import Child, Node, el
from tocsin.api.rollout.document import BASE
from tocsin.api.rollout.parts import headline, time_of, tone_of
from tocsin.api.rollout.view import View

__all__ = ["standing"]


def standing(view: View, state: RolloutState, form_token: str) -> Node:
    """Return the section."""
    since = view.now_us if state.outcome is Outcome.RUNNING else state.ended_at_us
    took = "unknown" if since is None else duration((since - state.started_at_us) / 1e6)
    facts: list[tuple[str, Child]] = [
        ("Begun", time_of(state.started_at_us)),
        ("Lasts" if state.outcome is Outcome.RUNNING else "Lasted", took),
        ("Figures until", time_of(state.looked_at_us)),
    ]
    if state.outcome is not Outcome.RUNNING:
        ended = "unknown" if state.ended_at_us is None else time_of(state.ended_at_us)
        facts.insert(1, ("Ended", ended))
    return el(
        "section",
        el(
            "div",
            el(
                "h2",
                el("bdi", state.previous),
                el("span", " \u2192 ", class_="arrow"),
                el("bdi", state.version),
                id="which",
            ),
            el("p", headline(state), class_=f"pill {tone_of(state)}", id="headline"),
            class_="title-row",
        ),
        el("ol", [_stage(view, state, place) for place in range(len(STEPS))], class_="track"),
        _next(view, state),
        el(
            "dl",
            [el("div", el("dt", name), el("dd", value)) for name, value in facts],
            class_="facts",
        ),
        _abort(state, form_token) if view.running and view.latest else None,
        class_=f"card hero {tone_of(state)}",
        aria_labelledby="which",
    )


def _stage(view: View, state: RolloutState, place: int) -> Node:
    done = place < state.step or state.outcome is Outcome.DONE
    here = place == state.step and not done
    kind = "done" if done else "ahead"
    note: Child = None
    said = "passed" if done else "to come"
    if here and state.outcome is Outcome.ABORTED:
        kind, said, note = "back", "taken back here", el("span", "taken back here", class_="note")
    elif here:
        kind, said = "here", "now"
        note = _needs(view, state)
    elif done:
        last = place == len(STEPS) - 1
        note = el("span", "promoted" if last else _lasted(state, place), class_="note")
    return el(
        "li",
        el("span", class_="dot", aria_hidden="true"),
        el("strong", share_name(STEPS[place])),
        el("span", f" ({said})", class_="unseen"),
        note,
        class_=kind,
        aria_current="step" if kind == "here" else None,
    )


def _lasted(state: RolloutState, place: int) -> str:
    times = [point.at_us for point in state.trail if point.step == place]
    before = [point.at_us for point in state.trail if point.step < place]
    if not times:
        return "passed"
    begun = before[-1] if before else state.started_at_us
    return duration((times[-1] - begun) / 1e6)


def _needs(view: View, state: RolloutState) -> Child:
    ahead = outlook(state, view.now_us)
    if ahead is None:
        return None
    rows: list[Child] = []
    if ahead.requests_needed is not None:
        rows.append(
            _bar(
                "canary requests",
                ahead.requests,
                ahead.requests_needed,
                f"{ahead.requests:,} of {ahead.requests_needed:,} requests",
            )
        )
    if ahead.seconds_needed:
        least = duration(ahead.seconds_needed)
        spent = duration(min(ahead.seconds, ahead.seconds_needed))
        rows.append(_bar("time", ahead.seconds, ahead.seconds_needed, f"{spent} of {least}"))
    return rows


def _bar(what: str, have: float, need: float, text: str) -> Node:
    return el(
        "span",
        el("progress", max=need, value=min(have, need), aria_label=f"{what}: {text}"),
        el("span", text, class_="note"),
        class_="need",
    )


def _next(view: View, state: RolloutState) -> Child:
    if (ahead := outlook(state, view.now_us)) is not None:
        when = "Next, once it goes on: " if view.doubts else "Next: "
        return el("p", el("strong", when), ahead.sentence, class_="next")
    word = "Why: " if state.outcome is Outcome.ABORTED else "Result: "
    return el("p", el("strong", word), el("bdi", state.reason or "nobody said"), class_="next")


def _abort(state: RolloutState, form_token: str) -> Node:
    form = el(
        "form",
        el("input", type="hidden", name="form_token", value=form_token),
        el(
            "label",
            "Your name",
            el("input", name="author", required=True, maxlength=256, autocomplete="username"),
        ),
        el(
            "label",
            "Why",
            el(
                "input",
                name="reason",
                required=True,
                maxlength=500,
                autocomplete="off",
                placeholder="customers complain",
            ),
        ),
        el("button", "Take ", el("bdi", state.version), " back to 0 %", class_="button danger"),
        method="post",
        action=f"{BASE}/abort",
        class_="form",
    )
    return el("details", el("summary", "Abort\u2026", class_="button"), form, id="abort")
