"""The autoscaler: the pure policy, the loop that applies it, and the replay of traces through it."""
