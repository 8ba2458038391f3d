"""From an adapter to a folder that anybody can load: what it was trained with, its weights, its cards, the hub."""
