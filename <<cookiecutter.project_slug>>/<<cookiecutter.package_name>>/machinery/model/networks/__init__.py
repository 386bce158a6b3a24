"""Networks as scikit-learn's estimators: what trains for hours is watched, goes on after a kill, and is kept safely.

The libraries are imported where a network is fitted or answers, and not before.
"""
