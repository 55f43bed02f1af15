"""The policy: how many workers a queue needs. Pure: no clock, no I/O."""
