"""The streaming core at full load, beside its peers: ``python -m benchmarks.core --help``."""
