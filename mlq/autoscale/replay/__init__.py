"""The replay of a trace of arrivals through a policy, on a virtual clock."""
