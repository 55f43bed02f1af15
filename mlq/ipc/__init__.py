"""What the processes of one host share without Redis: pages of shared memory, pipes, locks, private files."""
