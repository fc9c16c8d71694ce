"""The command ``tocsin``."""

from __future__ import annotations

import typer

from tocsin.cli.actions import actions
from tocsin.cli.alerts import ack, alerts
from tocsin.cli.approve import approve, reject
from tocsin.cli.demo import demo
from tocsin.cli.doctor import doctor
from tocsin.cli.gateway import gateway
from tocsin.cli.otlp import otlp
from tocsin.cli.processes import api, executor, migrate, worker
from tocsin.cli.query import query
from tocsin.cli.replay import replay
from tocsin.cli.rollout import rollout
from tocsin.cli.rules import rules
from tocsin.cli.settings import show_settings
from tocsin.cli.silence import silence
from tocsin.cli.up import up

__all__ = ["app"]

app = typer.Typer(
    name="tocsin",
    help="The alarm bell of an LLM service.\n\nExample: tocsin demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

for command in (
    demo,
    up,
    query,
    replay,
    alerts,
    ack,
    approve,
    reject,
    doctor,
    migrate,
    worker,
    executor,
    gateway,
    otlp,
    api,
):
    app.command()(command)
app.command("settings")(show_settings)
app.add_typer(actions, name="actions")
app.add_typer(rollout, name="rollout")
app.add_typer(rules, name="rules")
app.add_typer(silence, name="silence")

if __name__ == "__main__":
    app()
