"""What runs inside a model server: it sees and reports every request and is never in the way."""
