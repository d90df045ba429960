"""The library's own errors: each says what came, what was wanted, and what to do."""


class JaxattrError(ValueError):
    """Base of all errors that a caller's input can cause."""


class CheckpointError(JaxattrError):
    """A checkpoint cannot be found, read, or does not fit a supported architecture."""


class ImageError(JaxattrError):
    """An image file cannot be decoded."""


class DatasetError(JaxattrError):
    """A labelled image folder cannot be indexed or matched to the model's classes."""


class LabelError(JaxattrError):
    """A class name, wnid or index that the model does not know."""


class LedgerError(JaxattrError):
    """A ledger cannot be read, belongs to another run, or cannot be written."""


class JaxattrWarning(UserWarning):
    """Base of all warnings about what a caller's input may mean."""


class ImageWarning(JaxattrWarning):
    """An image that can be decoded, though probably not as it was meant."""
