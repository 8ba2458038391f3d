"""Chat exports: the files in a folder, their formats, and what becomes of their messages."""
