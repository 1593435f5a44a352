"""The class that PlatformIO looks for; its own behaviour is all that is needed."""

from platformio.public import PlatformBase


class AtmelavrPlatform(PlatformBase):
    pass
