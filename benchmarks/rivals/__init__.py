"""The same inference with other task queues, with results."""
