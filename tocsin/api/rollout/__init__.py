"""The page that draws a model migration, and the calls behind it."""
