"""The few errors that a user can meet and mend."""


class FaninError(Exception):
    """What a user can mend: the message says what was found and what would do (exit code 2)."""


class WordsError(FaninError, ValueError):
    """A list of words that cannot be used."""


class ShapeError(FaninError, ValueError):
    """Shapes or indices that do not fit each other."""


class OptionError(FaninError, ValueError):
    """A setting outside its range, or a name that is not known."""


class ModelFileError(FaninError):
    """A file that is no model, is damaged, or cannot be read or written."""
