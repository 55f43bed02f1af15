"""The only room that knows a terminal: tables, JSON, progress, live views."""
