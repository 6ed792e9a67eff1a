"""What the learned directions mean: residues, order, stability, and the witnesses beside them."""
