"""Run ``python -m tocsin`` as the command ``tocsin``."""

from tocsin.cli.main import app

app()
