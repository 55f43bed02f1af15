"""A trace through the policy on a virtual clock."""
