"""Image formats by their first bytes, and which of them can be decoded here."""

from __future__ import annotations

from importlib.util import find_spec

HEIC_ADVICE = 'pip install "jaxattr[heic]" reads HEIC'
UNREADABLE = ("JPEG XL", "PSD", "PDF")
"""Formats that are known by their first bytes, and never decoded."""
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"8BPS", "PSD"),
    (b"%PDF", "PDF"),
)
_HEIF_BRANDS = frozenset(
    [
        *(b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs"),
        *(b"mif1", b"msf1"),  # after AVIF, which has them, too
    ]
)


def kind(head: bytes, tail: bytes = b"") -> str:
    """The format that a file's first bytes announce, as Pillow names it; empty if none is known.

    Args:
        tail: the last bytes, which tell TGA.
    """
    for start, name in _MAGIC:
        if head.startswith(start):
            return name
    if head[4:8] == b"ftyp":
        size = int.from_bytes(head[:4], "big")
        brands = {head[8:12], *(head[at : at + 4] for at in range(16, min(size, len(head)), 4))}
        if brands & {b"avif", b"avis"}:
            return "AVIF"
        if brands & _HEIF_BRANDS:
            return "HEIF"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    # "BM" and "P6" alone begin many a text: what follows must fit, too.
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return "PPM"
    return "TGA" if tail.endswith(b"TRUEVISION-XFILE.\0") else ""


def reads_heic() -> bool:
    """Whether the extra `heic` is installed."""
    return find_spec("pillow_heif") is not None
