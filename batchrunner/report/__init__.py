"""What happened: folds of the store and of what the loop records, and their forms."""
