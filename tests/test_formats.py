"""Which files count as pictures, against what Pillow says of its own decoders."""

from __future__ import annotations

import pillow_heif
import pytest
from PIL import Image

from image_index.formats import PICTURE_EXTENSIONS, PILLOW_FORMATS, RAW_EXTENSIONS, format_names, readable_extensions


@pytest.fixture(scope="module")
def decoders() -> dict[bytes, str]:
    """Return the format in which Pillow opens each extension that it knows."""
    pillow_heif.register_heif_opener()
    return {extension.encode(): name for extension, name in Image.registered_extensions().items()}


@pytest.mark.parametrize("extension", sorted(PICTURE_EXTENSIONS))
def test_an_extension_that_is_taken_has_a_decoder_that_is_allowed(decoders: dict[bytes, str], extension: bytes) -> None:
    """No picture is taken that could only fail; by its extension it is found under the format that it is stored as."""
    assert decoders[extension] in PILLOW_FORMATS
    assert decoders[extension].lower() in format_names(extension.decode())


@pytest.mark.parametrize("name", PILLOW_FORMATS)
def test_every_format_that_may_be_opened_is_found_by_its_name(decoders: dict[bytes, str], name: str) -> None:
    """In any case of letters, with a dot or without."""
    assert name in decoders.values()
    for word in (name, name.lower(), f".{name.title()}"):
        assert name.lower() in format_names(word)


def test_a_word_that_is_no_format_says_which_there_are() -> None:
    """EPS and PDF are formats of Pillow, and none of ours."""
    for word in ("eps", "pdf", "", "jpeg2"):
        with pytest.raises(ValueError, match=r"^avif, bmp, dib, gif, heif, jpeg, .*raw, tiff, webp$"):
            format_names(word)


@pytest.mark.parametrize("there", [True, False])
def test_raw_files_count_where_the_extra_is_installed(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    """Without it they are no failures: they are passed over."""
    monkeypatch.setattr("image_index.formats.find_spec", lambda _: object() if there else None)
    assert (b".cr2" in readable_extensions()) == there
    assert readable_extensions() - RAW_EXTENSIONS == PICTURE_EXTENSIONS
