"""The supervisor of a host's workers: its decisions, its event loop, its children, and the threads beside it."""
