"""Anthropic's API as an upstream: OpenAI's chat requests go there, and its answers come back."""
