"""Sending: rows become messages; what is sent, to which queue, and how fast."""
