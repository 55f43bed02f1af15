"""Workers in Redis: heartbeats, orders, the last lines of their logs, and the booking of autoscaled workers."""
