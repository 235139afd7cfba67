"""How much an instance may ask of this gateway before it is refused."""

from __future__ import annotations

from storage.elements import ScanLimits
from storage.unusable import OverLimit, tag_text
from storage.value_representation import OPAQUE

SHORT_VALUE = 1024
"""Bytes of a value that is counted as an element alone."""


class Budget:
    """What is left of the limits while one instance is scanned; beyond it OverLimit is raised."""

    __slots__ = ("_header_left", "_limits", "_private_left", "elements_left")

    def __init__(self, limits: ScanLimits) -> None:
        self._limits = limits
        self.elements_left = limits.elements
        self._private_left = limits.private_elements
        self._header_left = limits.header_bytes

    def take_element(self) -> None:
        """Count a data element or an item."""
        self.elements_left -= 1
        if self.elements_left < 0:
            raise self.too_many_elements()

    def too_many_elements(self) -> OverLimit:
        """The refusal for a loop that counts `elements_left` itself."""
        return OverLimit(f"The instance has more than {self._limits.elements} data elements.")

    def take_private_element(self) -> None:
        """Count a private element."""
        self._private_left -= 1
        if self._private_left < 0:
            raise OverLimit(f"The instance has more than {self._limits.private_elements} private data elements.")

    def weigh(self, tag: int, vr: str, length: int) -> None:
        """Hold a long value against the limits, unless it can be left aside as bulk data."""
        if vr in OPAQUE or length <= SHORT_VALUE:
            return
        self._header_left -= length
        if length > self._limits.value_bytes:
            raise OverLimit(f"The value of {tag_text(tag)} has more than {self._limits.value_bytes} bytes.")
        if self._header_left < 0:
            raise OverLimit(f"The values outside bulk data have more than {self._limits.header_bytes} bytes.")
