"""The protection of operators: masked passwords, escaped control characters, and checks of the owners of files."""
