"""Begin a project: the graph without the demo, in a folder of its own."""
