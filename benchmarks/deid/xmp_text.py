"""XMP packets."""

from __future__ import annotations

from cytoline.phantom.containers import XMP

JPEG_HEAD = b"http://ns.adobe.com/xap/1.0/\0"
EXTENDED_HEAD = b"http://ns.adobe.com/xmp/extension/\0"


def packet(subject: str) -> bytes:
    """A packet with one Dublin Core subject."""
    return XMP.format(subject).encode()


def packet_naming(guid: str) -> bytes:
    """A packet that says which extended packet belongs to it (XMP part 3, 1.1.3.1)."""
    note = f'<x xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="{guid}"/>'
    return XMP.format(note).encode()
