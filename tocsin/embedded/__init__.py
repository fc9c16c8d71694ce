"""The embedded stack: broker, store and workers in one directory."""
