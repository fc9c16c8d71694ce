"""Rollouts: a new version takes over step by step, or goes back by itself."""
