"""Begin a project: the pipeline without the demo, in a folder of its own."""
