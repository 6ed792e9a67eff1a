"""What is typed after `ordinal`: a function each, whose docstring is its help."""
