"""Many workers on a host: devices, worker specs, children, the supervisor that keeps them up."""
