"""What flows through Tocsin: events, signals, alerts, actions, flags, topics and settings."""
