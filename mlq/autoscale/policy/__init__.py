"""The policy: how many workers a queue needs. Pure."""
