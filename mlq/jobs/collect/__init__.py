"""From results to lines of the output."""
