"""Warnings and errors that a caller may want to catch by name."""


class ConvergenceWarning(UserWarning):
    """The solver stopped before its tolerance was met; the result says how far it came."""


class DeviceError(RuntimeError):
    """The requested device cannot be used here; the message says what is missing."""


class RuleWarning(UserWarning):
    """A rule of what may be recommended names ids that match nothing; the others hold."""


class ProtocolWarning(UserWarning):
    """Held-out data are drawn in a way that may rank models wrongly; the figures are right."""
