"""``tocsin rollout``: a new version takes over step by step, or goes back by itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from tocsin.cli.console import console, errors_told, libraries_silent, settings_for_command

if TYPE_CHECKING:
    from serving.rollout.machine import RolloutState
    from serving.rollout.steer import Steering

__all__ = ["rollout"]

rollout = typer.Typer(
    help="Roll a version out: shadow, 5, 25, 50, 100 %.\n\nExample: tocsin rollout start v2",
    no_args_is_help=True,
    rich_markup_mode=None,
)


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
    leaves it at its step; the same command takes it up again.

    Example: tocsin rollout start v2 --step-requests 5000
    """
    from clickhouse_connect.driver.exceptions import ClickHouseError

    from schemas.clickhouse.migrate import store_client
    from schemas.clock import system_clock
    from serving.rollout.drive import drive
    from serving.rollout.looks import StoreLooks
    from serving.rollout.machine import Outcome, RolloutPolicy

    with errors_told(), libraries_silent():
        settings = settings_for_command()
        steering = _steering()
        policy = RolloutPolicy(
            alpha=alpha,
            step_requests=step_requests,
            step_s=step_minutes * 60,
            shadow_s=step_minutes * 60,
        )
        with steering.held():
            state = steering.begin(version, system_clock())
            _tell(state)
            try:
                client = store_client(settings.clickhouse, settings.clickhouse.database)
                state = drive(
                    state,
                    steering,
                    StoreLooks(client, model=model),
                    policy,
                    every_s=every,
                    settle_s=settings.streams.lateness_s + 3,
                    now_us=system_clock,
                    told=_tell,
                    unreachable=(ClickHouseError, OSError),
                )
            except KeyboardInterrupt:
                console.print("left as it is; the same command takes it up again")
                raise typer.Exit(130) from None
        if state.outcome is Outcome.ABORTED:
            raise typer.Exit(1)


@rollout.command("status")
def show_rollout() -> None:
    """Show where the rollout stands and what is known of the canary.

    Example: tocsin rollout status
    """
    with errors_told():
        settings_for_command()
        state = _steering().read()
        if state is None:
            console.print("no rollout yet")
            return
        _tell(state)
        table = Table("metric", "canary", "stable", "evidence of harm")
        for metric, evidence in state.evidence.items():
            table.add_row(
                metric,
                _share(evidence.canary_bad, evidence.canary),
                _share(evidence.stable_bad, evidence.stable),
                f"{math.exp(min(evidence.log_value, 700)):.3g}",
            )
        console.print(table)


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
    from serving.errors import RolloutError
    from serving.rollout.machine import Outcome

    with errors_told():
        settings_for_command()
        steering = _steering()
        state = steering.read()
        if state is None or state.outcome is not Outcome.RUNNING:
            raise RolloutError("no rollout is under way")
        state = state.model_copy(update={"outcome": Outcome.ABORTED, "reason": reason})
        steering.apply(state, by=getpass.getuser(), now_us=system_clock())
        _tell(state)


def _steering() -> Steering:
    from serving.flags.store import FlagStore
    from serving.rollout.steer import Steering

    return Steering(FlagStore(settings_for_command().flags.path))


def _tell(state: RolloutState) -> None:
    share = state.share if state.share == "shadow" else f"{state.share} %"
    text = f"{state.version}: {state.outcome} at {share}"
    if state.outcome == "running":
        text += f", {state.step_requests} canary requests at this step"
    console.print(
        f"{text}: {state.reason}" if state.reason else text, markup=False, highlight=False
    )


def _share(bad: int, count: int) -> str:
    return f"{bad / count:.2%} of {count}" if count else "unknown"
