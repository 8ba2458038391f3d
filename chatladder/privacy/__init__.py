"""Privacy of the people in the data: pseudonyms, masking, and names inside texts."""
