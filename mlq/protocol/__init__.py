"""The shapes of bytes: messages, results, headers, keys. Pure: no I/O, no threads."""
