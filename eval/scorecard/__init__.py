"""The claims, judged by the rule of docs/scorecard.md: figure, control, interval and verdict."""
