"""Messages in Redis that no worker holds: dead letters, delays, revocations; the search for one of them."""
