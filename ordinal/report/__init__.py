"""One page about a run, to open without a network."""
