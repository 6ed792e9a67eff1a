"""The successor head in natural text: what it does where it matters most."""
