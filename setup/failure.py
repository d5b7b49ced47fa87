"""The one exception of the setup that its user is meant to read."""


class SetupFailure(Exception):
    """Says what failed and what to do about it."""

    def __init__(self, what, cure):
        super().__init__(what)
        self.what, self.cure = what, cure
