"""Spans over OTLP become request events, for servers where no code can be installed."""
