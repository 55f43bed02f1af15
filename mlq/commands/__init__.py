"""The command line, a module for each first word: parse, call one thing, render."""
