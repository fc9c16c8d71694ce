"""The gateway under errors, stalls and kills: ``python -m tests.chaos_gateway``."""
