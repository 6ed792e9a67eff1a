"""Plotly figures, one file for each; they take tables and know nothing of pages."""
