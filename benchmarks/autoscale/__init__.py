"""The limits of the autoscaler: workloads replayed with its policy, and with the defaults of other autoscalers."""
