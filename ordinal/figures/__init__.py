"""Every figure, drawn in one place."""
