"""The devices of a host: GPUs, CPU cores, slots, locks, and the plan that places workers on them."""
