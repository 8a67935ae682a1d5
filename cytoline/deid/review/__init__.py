"""What a person decides about images that were kept back: recorded, bound in a chain, carried out by the next run."""
