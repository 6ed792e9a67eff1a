"""Edits of M(t), read by the head through its effective OV circuit."""
