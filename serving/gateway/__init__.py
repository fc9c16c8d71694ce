"""The gateway: OpenAI's API in front of any number of upstreams, obeying the flags in force."""
