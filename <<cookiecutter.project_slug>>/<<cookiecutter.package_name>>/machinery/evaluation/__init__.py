"""What a model is worth on rows that it was not fitted to, and how sure that is."""
