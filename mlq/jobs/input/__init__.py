"""Sources: files of every format, read as streams of rows."""
