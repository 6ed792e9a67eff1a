"""Dictionaries compared: what each holds of succession, and of what was planted."""
