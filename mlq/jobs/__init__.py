"""A submitted file: rows, chunks, submission, collection, output."""
