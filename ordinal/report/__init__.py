"""The report: one file that opens without a network."""
