"""Chat exports: one module per format (see ``formats``), pseudonyms and masking."""
