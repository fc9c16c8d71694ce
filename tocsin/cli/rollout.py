"""``tocsin rollout``: a new version takes over step by step, or goes back by itself."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from tocsin.cli.console import console, errors_told, libraries_silent, settings_for_command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schemas.settings import Settings
    from serving.rollout.machine import RolloutState
    from serving.rollout.steer import Steering

__all__ = ["rollout"]

rollout = typer.Typer(
    help="Roll a version out: shadow, 5, 25, 50, 100 %.\n\nExample: tocsin rollout start v2",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_BAR = 30


@rollout.command("start")
def start_rollout(
    version: Annotated[str, typer.Argument(help="a variant of ai.model.version")],
    model: Annotated[str, typer.Option(help="look at this model's requests alone")] = "",
    step_requests: Annotated[
        int, typer.Option(min=1, help="canary requests that each step needs")
    ] = 1_500,
    step_minutes: Annotated[float, typer.Option(min=0, help="minutes of each step")] = 5,
    alpha: Annotated[
        float, typer.Option(min=0.0001, max=0.5, help="share of good versions taken back")
    ] = 0.05,
    every: Annotated[float, typer.Option(min=0.1, help="seconds between two looks")] = 10,
) -> None:
    """Roll a version out and follow it until it is promoted or taken back.

    Each step is held until the canary has had enough requests and is no worse than the version in
    force (errors, latency, quality, cost); a canary that is worse goes back to 0 % at once. Ctrl-C
    leaves it at its step; the same command takes it up again. `tocsin api` draws it at /rollout.

    Exit status: 0 promoted, 1 taken back, 2 it could not begin or go on, 130 Ctrl-C.

    Example: tocsin rollout start v2 --step-requests 5000
    """
    from schemas.clock import system_clock
    from serving.rollout.drive import drive
    from serving.rollout.looks import StoreLooks
    from serving.rollout.machine import Outcome, RolloutPolicy

    with errors_told(), libraries_silent():
        settings = settings_for_command()
        steering = _steering(settings)
        policy = RolloutPolicy(
            alpha=alpha,
            step_requests=step_requests,
            step_s=step_minutes * 60,
            shadow_s=step_minutes * 60,
        )
        looks = StoreLooks(_store(settings), model=model)  # before anything changes
        with steering.held(), _files_told():
            state = steering.begin(version, system_clock(), policy, every)
            _tell(state)
            try:
                state = drive(
                    state,
                    steering,
                    looks,
                    every_s=every,
                    settle_s=settings.streams.lateness_s + 3,
                    now_us=system_clock,
                    told=_tell,
                )
            except KeyboardInterrupt:
                console.print("left as it is; the same command takes it up again")
                raise typer.Exit(130) from None
        if state.outcome is Outcome.ABORTED:
            raise typer.Exit(1)


@rollout.command("status")
def show_rollout() -> None:
    """Show where the rollout stands, what is known of the canary, and what comes next.

    Example: tocsin rollout status
    """
    from schemas.clock import system_clock
    from serving.rollout.outlook import lag_of, outlook

    with errors_told():
        steering = _steering(settings_for_command())
        state = steering.read()
        if state is None:
            console.print("no rollout yet; `tocsin rollout start VERSION` begins one")
            return
        _say(_bar(state))
        _tell(state)
        _say(f"from {state.previous}, begun {_moment(state.started_at_us)}", style="dim")
        now_us = system_clock()
        if (ahead := outlook(state, now_us)) is not None:
            _say(ahead.sentence)
            if (changed := steering.disturbed(state)) is not None:
                _say(f"{changed}: the rollout ends at its next look", style="yellow")
        if (lag := lag_of(state, now_us, steering.driven())) is not None:
            _say(lag, style="yellow")
        console.print(_table(state))


@rollout.command("abort")
def abort_rollout(
    reason: Annotated[str, typer.Argument(help="why, for the history")] = "by hand",
) -> None:
    """Take the canary back to 0 % and end the rollout.

    Whoever follows it with `tocsin rollout start` sees it and stops.

    Example: tocsin rollout abort "customers complain"
    """
    import getpass

    from schemas.clock import system_clock

    with errors_told(), _files_told():
        steering = _steering(settings_for_command())
        _tell(steering.abort(reason, by=getpass.getuser(), now_us=system_clock()))


def _steering(settings: Settings) -> Steering:
    from serving.flags.store import FlagStore
    from serving.rollout.steer import Steering

    return Steering(FlagStore(settings.flags.path))


def _store(settings: Settings) -> Any:
    from clickhouse_connect.driver.exceptions import ClickHouseError

    from schemas.clickhouse.migrate import store_client
    from serving.errors import LooksError

    store = settings.clickhouse
    where = f"the store at {store.host}:{store.port}"
    try:
        return store_client(store, store.database)
    except (ClickHouseError, OSError) as error:
        if getattr(error, "code", None) is not None:
            said = next(iter(str(error).splitlines()), "")
            raise LooksError(f"{where} refused us: {said[:300]}") from error
        raise LooksError(
            f"{where} does not answer, and without it nobody knows how the canary does; start it, "
            "or set TOCSIN_CLICKHOUSE__HOST and TOCSIN_CLICKHOUSE__PORT"
        ) from error


@contextmanager
def _files_told() -> Iterator[None]:
    from serving.errors import RolloutError

    try:
        yield
    except OSError as error:
        raise RolloutError(
            f"{error.filename or 'the flag file'}: cannot be written: {error.strerror}"
        ) from None


def _tell(state: RolloutState) -> None:
    share = state.share if state.share == "shadow" else f"{state.share} %"
    text = f"{state.version}: {state.outcome} at {share}"
    if state.outcome == "running":
        text += f", {state.step_requests} canary requests at this step"
        text += f"; waits: {state.trouble}" if state.trouble else ""
    _say(f"{text}: {state.reason}" if state.reason else text)


def _bar(state: RolloutState) -> str:
    """Return the steps in one line: done, present, to come."""
    from serving.rollout.machine import STEPS, Outcome

    rich = (console.encoding or "").lower().startswith("utf")
    done, here, back, ahead = "●◉✕○" if rich else "#>x."
    full, empty = "━╌" if rich else "=-"
    link = _BAR // (len(STEPS) - 1)
    text = ""
    for place, step in enumerate(STEPS):
        past = place < state.step or state.outcome is Outcome.DONE
        mark = here if state.outcome is Outcome.RUNNING else back
        mark = done if past else mark if place == state.step else ahead
        name = step if step == "shadow" else f"{step} %"
        text += f"{mark} {name}"
        if place < len(STEPS) - 1:
            share = 1.0 if past else _progress(state) if place == state.step else 0.0
            text += f" {full * round(share * link)}{empty * (link - round(share * link))} "
    return text


def _progress(state: RolloutState) -> float:
    """Return how much of the present step is over, from 0 to 1."""
    from schemas.clock import system_clock
    from serving.rollout.outlook import outlook

    ahead = outlook(state, system_clock())
    if ahead is None:
        return 0.0
    parts = [ahead.seconds / ahead.seconds_needed if ahead.seconds_needed else 1.0]
    if ahead.requests_needed is not None:
        parts.append(ahead.requests / ahead.requests_needed)
    return min(1.0, *parts)


def _table(state: RolloutState) -> Table:
    from math import exp

    from serving.rollout.outlook import comparisons

    policy = state.policy
    title = f"evidence of harm (back at {exp(policy.threshold):.3g})"
    table = Table("metric", "canary", "stable", title, "verdict")
    for one in comparisons(state):
        known, verdict = one.standing, str(one.verdict)
        if one.silent_since_us is not None:
            verdict += f", nothing new since {_moment(one.silent_since_us)}"
        table.add_row(
            one.metric,
            _share(known.canary_bad, known.canary) if known else "unknown",
            _share(known.stable_bad, known.stable) if known else "unknown",
            "unknown" if one.evidence is None else f"{one.evidence:.3g}",
            verdict,
        )
    return table


def _share(bad: int, count: int) -> str:
    return f"{bad / count * 100:.2f} % of {count:,}" if count else "unknown"


def _moment(at_us: int) -> str:
    import datetime as dt

    return dt.datetime.fromtimestamp(at_us // 1_000_000, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _say(text: str, style: str | None = None) -> None:
    console.print(text, markup=False, highlight=False, style=style)
