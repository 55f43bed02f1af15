"""Model files: their formats, and the models that are loaded from them."""
