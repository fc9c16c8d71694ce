"""The demo: the whole loop, once, on real traffic shapes and on this machine alone."""
