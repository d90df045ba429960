"""Pictures: from a raw map to colours, and figures of photos beside their maps.

Arrays in, arrays or bytes out; the same arguments give the same bytes. Nothing here explains.
"""
