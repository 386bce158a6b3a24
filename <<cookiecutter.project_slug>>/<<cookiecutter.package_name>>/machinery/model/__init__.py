"""What travels with each model, as the code that it is served by: so it imports nothing else of the package."""
