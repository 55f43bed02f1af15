"""The table of commands, the options that several of them take, and what they share."""
