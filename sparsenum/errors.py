"""Warnings and errors that a caller may want to catch by name."""


class ConvergenceWarning(UserWarning):
    """Warning that the solver stopped before its tolerance was met; the result holds the error."""


class DeviceError(RuntimeError):
    """Error that the requested device cannot be used here; the message says what is missing."""


class RuleWarning(UserWarning):
    """A rule of what may be recommended names ids that match nothing; the others hold."""


class ProtocolWarning(UserWarning):
    """Warning that held-out data are drawn in a way that may rank models wrongly."""
