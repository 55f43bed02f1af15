"""From rows to messages: what is sent, where to, and how fast."""
