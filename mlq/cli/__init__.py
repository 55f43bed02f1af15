"""The table of commands, the options that several commands take, and the code that they share."""
