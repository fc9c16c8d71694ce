"""The store: its tables as ordered SQL files, and what brings a store to them."""
