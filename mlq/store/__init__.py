"""What is in Redis, one class a noun, with its Lua scripts."""
