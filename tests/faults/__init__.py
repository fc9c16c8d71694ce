"""One fault a test, under load, on either broker; then every figure is held to what was sent."""
