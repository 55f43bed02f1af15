"""The same inference on other task queues, with results."""
