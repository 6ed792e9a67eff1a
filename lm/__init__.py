"""The language model under study: its ordinal tokens, its weights, its effective OV circuits."""
