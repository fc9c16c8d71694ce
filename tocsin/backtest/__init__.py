"""Rules tried on history: which alerts and actions would have come of what the store holds."""
