"""Pure detectors, sketches and windows: no sockets, no clock of their own."""
