"""Chat exports: finding the files in a folder, reading their formats, and turning them into messages and turns."""
