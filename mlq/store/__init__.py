"""What mlq keeps in Redis: one module for each thing, and the Lua scripts that change it."""
