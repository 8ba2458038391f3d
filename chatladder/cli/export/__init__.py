"""Export of an adapter as a folder that anybody can load: its settings, weights and cards, and the upload to a hub."""
