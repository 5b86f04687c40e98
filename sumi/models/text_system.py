"""Systems with one encoder of texts, which may be a frozen one: what their runs record of its files."""

from dataclasses import replace
from typing import TYPE_CHECKING, Self

from sumi.conditioning.text import EncoderConfig, TextConditioning, continued, texts_fingerprint
from sumi.data.dataset import Dataset
from sumi.models.model import SystemConfig


class TextSystemConfig(SystemConfig):
    """A system whose ``encoder`` reads texts."""

    if TYPE_CHECKING:  # a field of each, in its own place

        @property
        def encoder(self) -> EncoderConfig: ...

    def continued(self, before: SystemConfig | None) -> Self:
        """See `SystemConfig.continued`: that of a frozen encoder."""
        match before:
            case TextSystemConfig(encoder=encoder):
                return replace(self, encoder=continued(self.encoder, encoder))
            case _:
                return self

    def annotations(self, data: Dataset) -> str:
        """See `SystemConfig.annotations`: captions and keywords. Raises InputError where ``data`` have none."""
        return texts_fingerprint(data)

    def found_encoder(self) -> EncoderConfig:
        """The encoder with the path and the fingerprint of its files. Raises InputError for none, or other ones."""
        return TextConditioning(self.encoder).found().encoder
