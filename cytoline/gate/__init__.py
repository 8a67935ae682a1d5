"""``cytoline gate``: has this change made the models worse than their own noise explains?

The way of the data: ``revision`` reads the figures and cases of two states, ``rules`` what is held to what,
``recompute`` draws patients again, ``judge`` decides, ``outputs`` says it to people and machines.
"""
