"""The gates of the autoscaler: workloads replayed through its policy, and through what others do."""
