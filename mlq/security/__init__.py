"""What protects the operator and other users: masked passwords, escaped control characters, owners of files."""
