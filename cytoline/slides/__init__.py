"""Reading whole slides."""
