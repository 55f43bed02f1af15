"""The output of commands: tables, JSON documents, progress and live views."""
