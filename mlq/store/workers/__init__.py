"""Workers in Redis: heartbeats, orders, the last lines of their logs, who may start how many."""
