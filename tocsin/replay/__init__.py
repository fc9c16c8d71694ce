"""Send traffic of the past once more: recorded events as they were, traces as new requests."""
