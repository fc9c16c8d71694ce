"""The page of a rollout, whole without a script: steps, share, metrics, decisions."""

from __future__ import annotations

from collections.abc import Iterator

from serving.rollout.machine import RolloutState
from tocsin.api.markup import Child, Node, el
from tocsin.api.rollout.comparing import comparing
from tocsin.api.rollout.decisions import decisions
from tocsin.api.rollout.document import BASE, document
from tocsin.api.rollout.figures import share_figure
from tocsin.api.rollout.parts import headline, key, prose, time_of, title_row, tone_of
from tocsin.api.rollout.span import Span
from tocsin.api.rollout.standing import standing
from tocsin.api.rollout.view import View

__all__ = ["rollout_page"]


def rollout_page(view: View, form_token: str = "", error: str = "", logout: bool = False) -> str:
    """Return the page.

    Args:
        view: what there is to show.
        form_token: what the form carries that ends the rollout.
        error: why what was asked for was not done.
        logout: whether there is a session to end.
    """
    state = view.state
    parts: list[Child] = []
    if error:
        parts.append(el("p", prose(error), class_="card alarm", role="alert"))
    if view.unknown:
        parts.append(_unknown(view.unknown))
    elif state is None:
        parts.append(_nothing())
    else:
        parts += _rollout(view, state, form_token)
    if view.others:
        parts.append(_others(view))
    title = "Rollouts" if state is None else f"{state.version}: {headline(state)}"
    live = view.running and view.latest
    return document(title, parts, live=live, logout=logout)


def _rollout(view: View, state: RolloutState, form_token: str) -> Iterator[Child]:
    span = Span.of(state, view.now_us)
    for doubt in view.doubts:
        yield el("p", prose(doubt), class_="card doubt", role="alert")
    yield standing(view, state, form_token)
    yield _share(state, span)
    yield comparing(state, span)
    yield decisions(state)


def _share(state: RolloutState, span: Span) -> Node:
    legend = el(
        "ul",
        key("plan-edge", "set"),
        key("observed", "observed, each look"),
        class_="legend",
    )
    return el(
        "section",
        title_row("share", "Share of traffic", legend),
        el("div", share_figure(state, span), class_="figure"),
        class_="card",
        aria_labelledby="share",
    )


def _others(view: View) -> Node:
    rows = [
        el(
            "li",
            el(
                "a",
                el("bdi", state.previous),
                " \u2192 ",
                el("bdi", state.version),
                href=f"{BASE}?started={state.started_at_us}",
            ),
            el("span", headline(state), class_=f"pill {tone_of(state)}"),
            time_of(state.started_at_us),
            el("bdi", state.reason, class_="quiet"),
        )
        for state in view.others
    ]
    return el(
        "section",
        title_row("others", "Other rollouts"),
        el("ul", rows, class_="others"),
        class_="card",
        aria_labelledby="others",
    )


def _nothing() -> Node:
    return el(
        "section",
        el("h2", "No rollout"),
        el(
            "p",
            "No version is being rolled out, and none has been yet. All traffic goes to the "
            "version in force.",
        ),
        el(
            "p",
            "Begin one with ",
            el("code", "tocsin rollout start VERSION"),
            ": first shadow "
            "copies, then 5, 25 and 50 % of users, then all, and back by itself when it is worse.",
        ),
        class_="card narrow",
    )


def _unknown(why: str) -> Node:
    return el(
        "section",
        el("h2", "Unknown"),
        el("p", prose(why)),
        class_="card narrow doubt",
        role="alert",
    )
