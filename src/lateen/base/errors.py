"""Our exceptions: data in their fields. A user's mistake is a Finding (`base.findings`), never one of these."""


class LateenError(Exception):
    """An error whose text is one line for the user; the command line prints it and exits 1."""


class EnvoyMissing(LateenError):
    """There is no Envoy executable for this machine."""


class UsageError(LateenError):
    """The command was used wrongly; the command line exits 2."""
