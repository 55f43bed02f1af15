"""Devices of a host: GPUs, cores, slots, locks, and the plan of which worker runs where."""
