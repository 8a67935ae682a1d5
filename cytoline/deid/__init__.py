"""De-identification as such: making files anew without identifiers, and proving that none is left.

Shared by the anonymize stage, which does it to every collected image, and by the commands that do it to a folder.
The word is "de-identified", never "anonymous": the texture of tissue itself can point to a person.
"""
