"""Programs that make what the package ships; nothing of the package imports them."""
