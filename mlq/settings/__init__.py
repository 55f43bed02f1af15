"""Settings: what a user configured, each value with its origin; the URLs of servers and how they are protected."""
