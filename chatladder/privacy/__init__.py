"""People kept out of the data: pseudonyms, masking, and names inside texts."""
