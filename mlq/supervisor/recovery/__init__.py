"""Recovery after the death of a worker: its claims, its results, and the processes that it started."""
