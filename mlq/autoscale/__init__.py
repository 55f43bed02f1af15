"""The autoscaler: signals, the policy (pure), the loop, and the simulation of both."""
