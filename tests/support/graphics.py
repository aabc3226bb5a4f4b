"""Pictures that are no photos, drawn by Pillow: what scanners, programs and designers make."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE = 256
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "1234", "lazy", "dogs", "sphinxes", "of", "black", "quartz"]

Random = np.random.Generator
Colour = tuple[int, int, int]


def text_page(random: Random) -> Image.Image:
    """Draw a page of black text on white, as a scanner sees it."""
    page = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(page)
    for y in range(12, SIDE - 12, int(random.integers(11, 18))):
        draw.text((12, y), " ".join(random.choice(WORDS, 9)), fill="black")
    return page


def scan_of_a_body(random: Random) -> Image.Image:
    """Draw soft grey shapes on black with a little noise, as X-rays and MRI scans look."""
    picture = Image.new("L", (SIDE, SIDE), 0)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((40, 16, 216, 240), fill=int(random.integers(90, 200)))
    for _ in range(12):
        x, y = random.integers(60, 190, 2).tolist()
        radius = int(random.integers(6, 40))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=int(random.integers(20, 250)))
    soft = np.asarray(picture.filter(ImageFilter.GaussianBlur(3)), float) + random.normal(0, 4, (SIDE, SIDE))
    return Image.fromarray(soft.clip(0, 255).astype(np.uint8)).convert("RGB")


def logo(random: Random) -> Image.Image:
    """Draw a few flat shapes and a word on a plain ground."""
    picture = Image.new("RGB", (SIDE, SIDE), _colour(random) if random.random() < 0.5 else "white")
    draw = ImageDraw.Draw(picture)
    for _ in range(3):
        x, y = random.integers(20, 130, 2).tolist()
        box, fill = (x, y, x + int(random.integers(30, 110)), y + int(random.integers(30, 110))), _colour(random)
        draw.ellipse(box, fill=fill) if random.random() < 0.5 else draw.rectangle(box, fill=fill)
    draw.text((80, 220), str(random.choice(WORDS)).upper(), fill=_colour(random))
    return picture


def chart(random: Random) -> Image.Image:
    """Draw bars over axes."""
    picture = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(picture)
    colour = _colour(random)
    for x in range(30, 230, 20):
        draw.rectangle((x, int(random.integers(30, 220)), x + 12, 230), fill=colour)
    draw.line((20, 20, 20, 230, 240, 230), fill="black", width=2)
    return picture


def screenshot(random: Random) -> Image.Image:
    """Draw windows with bars of title, text and buttons."""
    picture = Image.new("RGB", (SIDE, SIDE), _colour(random))
    draw = ImageDraw.Draw(picture)
    for _ in range(3):
        x, y = random.integers(0, 120, 2).tolist()
        draw.rectangle((x, y, x + 130, y + 110), fill=(240, 240, 240), outline=(90, 90, 90))
        draw.rectangle((x, y, x + 130, y + 14), fill=_colour(random))
        for line in range(5):
            draw.text((x + 6, y + 20 + 14 * line), " ".join(random.choice(WORDS, 3)), fill=(30, 30, 30))
        draw.rectangle((x + 90, y + 92, x + 124, y + 106), fill=(60, 120, 220))
    return picture


def line_drawing(random: Random) -> Image.Image:
    """Draw thin black lines on white, as plans and sketches have them."""
    picture = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(picture)
    for _ in range(20):
        draw.line(random.integers(0, SIDE, 6).tolist(), fill="black")
    return picture


def gradient(random: Random) -> Image.Image:
    """Blend four colours smoothly."""
    corners = random.integers(0, 256, (2, 2, 3), dtype=np.uint8)
    return Image.fromarray(corners).resize((SIDE, SIDE), Image.Resampling.BILINEAR)


def code(random: Random) -> Image.Image:
    """Draw black and white squares, as a QR code has them."""
    squares = random.integers(0, 2, (29, 29), dtype=np.uint8) * 255
    return Image.fromarray(squares).resize((SIDE, SIDE), Image.Resampling.NEAREST).convert("RGB")


def _colour(random: Random) -> Colour:
    red, green, blue = random.integers(0, 256, 3).tolist()
    return red, green, blue


KINDS: dict[str, Callable[[Random], Image.Image]] = {
    "page of text": text_page,
    "scan of a body": scan_of_a_body,
    "logo": logo,
    "chart": chart,
    "screenshot": screenshot,
    "line drawing": line_drawing,
    "gradient": gradient,
    "code": code,
}

FRAGILE = {"gradient"}
"""Kinds that show so little that bfloat16 may give them quite another vector (docs/decisions/0012)."""


def graphics(kind: str, count: int) -> list[Image.Image]:
    """Return `count` pictures of a kind, the same ones every time."""
    random = np.random.default_rng(0)
    return [KINDS[kind](random) for _ in range(count)]
