"""What no single latent shows: periods, circles, cycles, index and domain, order, other seeds."""
