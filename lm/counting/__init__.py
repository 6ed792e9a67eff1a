"""The embedded model `counting`: a small GPT-2 that learns to count from a generated corpus."""
