"""Discovery put to the test: many trials where the truth is known, side by side."""
