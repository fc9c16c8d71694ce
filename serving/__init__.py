"""The model side: emit request events, obey actions."""
