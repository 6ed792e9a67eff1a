"""The successor head: which it is, and what else it computes."""
