"""The commands, one module for each first word: parse the options, call the code that does the work, show answers."""
