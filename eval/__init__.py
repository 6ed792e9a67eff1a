"""Are the directions causal? Successor heads, and edits of M(t) read by them."""
