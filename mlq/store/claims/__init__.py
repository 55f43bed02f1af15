"""Claims in Redis: messages in the hands of workers, the leases on them, and how a claim ends."""
