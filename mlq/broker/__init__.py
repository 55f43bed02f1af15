"""The server: connections, what their failures mean, users' rights, scripts, the embedded broker."""
