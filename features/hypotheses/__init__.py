"""What a feature may stand for: one family of hypotheses a file, all of one shape."""
