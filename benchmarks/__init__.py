"""What Tocsin costs and how fast it is, measured beside what one would use instead."""
