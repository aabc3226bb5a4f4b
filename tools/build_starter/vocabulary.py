"""The words from which the training phrases are made up; plain data."""

# ruff: noqa: SIM905 - a paragraph of words reads better than a list of quoted ones

from __future__ import annotations

COMMON = """
    person man woman boy girl child baby people crowd family dog cat bird fish horse cow sheep animal insect
    flower tree plant grass forest mountain hill beach sea ocean lake river waterfall sky cloud sunset
    sunrise snow ice rain street road city building house church bridge tower castle park garden field farm
    desert car truck bus train boat ship airplane bicycle motorcycle vehicle chair sofa table bed lamp desk
    kitchen bathroom room door window wall floor book phone computer laptop keyboard screen camera
    television clock cup bottle glass plate bowl fork knife spoon food meal dessert cake bread pizza fruit
    apple orange banana strawberry vegetable salad soup meat cheese coffee tea wine beer ball bat racket
    guitar piano drum violin music hat shirt dress shoe bag umbrella toy doll balloon flag sign statue
    fountain fence stairs rope tent kite surfboard skateboard ski sled wheel engine tool hammer weapon gun
    wedding party concert game race festival parade market shop restaurant office school hospital museum
    airport station harbor playground stadium swimming-pool
""".split()
"""Things that photographs show and that ImageNet's class names miss or spell out too finely."""

ADJECTIVES = """
    red blue green yellow black white brown orange pink purple grey small big large tiny old young new wet
    dirty wooden metal colorful bright dark cute happy sad beautiful empty crowded broken shiny furry
    spotted striped sleeping running flying swimming
""".split()
"""What a thing may look like."""

VERBS = """
    sitting standing walking running jumping playing sleeping eating swimming flying lying riding climbing
    looking waiting working smiling dancing holding carrying throwing catching driving cooking reading
    fishing surfing skiing skating
""".split()
"""What a thing or a person may be doing."""

PLACES = (
    "on",
    "in",
    "near",
    "under",
    "beside",
    "behind",
    "above",
    "next to",
    "in front of",
    "with",
    "over",
    "by",
)
"""How one thing may stand to another."""

PEOPLE = (
    "someone",
    "people",
    "a man",
    "a woman",
    "children",
    "two dogs",
    "an animal",
    "a group of people",
    "a person",
)
"""Who may be doing something."""

# The shipped model learned from these as single words ("sit on" fell apart); kept so that the texts stay the same.
USES = """
    eat drink wear ride sit on play with drive read use cook with sleep on write with cut with carry climb
    watch
""".split()
"""What a thing may be good for, after "something to"."""

VIEWS = (
    "photo",
    "picture",
    "image",
    "close-up",
    "view",
)
"""What a picture may be called."""

CLASS_TEMPLATES = (
    "{}",
    "a photo of a {}",
    "a picture of a {}",
    "a close-up photo of a {}",
    "a {} outdoors",
    "two {}s",
    "a small {}",
    "photo of the {}",
    "{} in the background",
    "a person with a {}",
)
"""Phrases made of each ImageNet class name."""
