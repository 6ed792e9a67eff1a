"""A label as a researcher reads it: what it says, its evidence, and how both are shown."""
