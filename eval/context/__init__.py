"""The same head in a whole model that runs prompts."""
