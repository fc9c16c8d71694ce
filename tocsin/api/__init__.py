"""The HTTP API by which people see and steer alerting."""
