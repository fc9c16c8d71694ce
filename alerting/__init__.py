"""Pure alert decisions, with their notifiers at the edge."""
