"""Faust agents: what turns request events into windows, signals, alerts and rows."""
