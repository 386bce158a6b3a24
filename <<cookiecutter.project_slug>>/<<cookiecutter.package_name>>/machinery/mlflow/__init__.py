"""All that is said to MLflow: runs, models, versions, aliases."""
