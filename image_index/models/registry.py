"""Which models open_clip offers on the hub, read from a file so that the parent never imports open_clip."""

from __future__ import annotations

import json
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from importlib.resources import files

from image_index.errors import UsageError


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A row of `registry.json`, which `tools/build_registry.py` writes; `file` is None for the hub's default name.

    `loads_as` is the architecture to create: for weights trained with QuickGELU it is the variant that has it
    (open_clip 3 only warns about the difference and then computes slightly wrong vectors).
    """

    architecture: str
    tag: str
    loads_as: str
    repo: str
    file: str | None
    dim: int
    tokenizer: str | None
    text_model: str | None
    parameters: int | None

    @property
    def name(self) -> str:
        """The name a user gives: NAME/TAG."""
        return f"{self.architecture}/{self.tag}"


@dataclass(frozen=True, slots=True)
class Licence:
    """What the publisher of some weights allows; `limit` says which use alone that is, where not every use is."""

    name: str
    limit: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.limit}" if self.limit else self.name


MIT, APACHE = Licence("MIT"), Licence("Apache-2.0")
AMLR = Licence("AMLR", "research only")
CC_BY_NC = Licence("CC-BY-NC-4.0", "non-commercial use only")

LICENCES = (
    ("apple/MobileCLIP*", AMLR),
    ("timm/MobileCLIP*", AMLR),
    ("apple/DFN*", AMLR),
    ("timm/*.metaclip*", CC_BY_NC),
    ("facebook/metaclip*", CC_BY_NC),
    ("visheratin/nllb*", CC_BY_NC),
    ("laion/*", MIT),
    ("timm/*.openai", MIT),
    ("timm/PE-Core*", APACHE),
    ("timm/ViT-*SigLIP*", APACHE),
)
"""The licence of the repositories that a pattern fits, as their model cards state it; the first pattern counts."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A model worth trying, whose licence allows any use, with what helps to choose between such models.

    `recall_percent` is that of Immich's documentation (docs/features/searching.md): image retrieval on Crossmodal-3600
    by English and by German texts, the mean of recall@1, @5 and @10. `relative_speed`, in pictures a second beside the
    default model, and `memory_mb`, of all processes of a first training on two cores, are from `benchmarks/models.py`.
    None is what was not published, or not measured.
    """

    name: str
    languages: str
    recall_percent: tuple[float, float] | None = None
    relative_speed: float | None = None
    memory_mb: int | None = None
    note: str = ""


RECOMMENDED = (
    Recommendation("ViT-B-32/laion2b_s34b_b79k", "English", (68.8, 36.6), 1.0, 1340),
    Recommendation("ViT-B-32-SigLIP2-256/webli", "many", (73.2, 84.4), 0.59, 2946),
    Recommendation("ViT-B-16-SigLIP2/webli", "many", (75.2, 86.4), 0.15, 3207),
    Recommendation(
        "xlm-roberta-base-ViT-B-32/laion5b_s13b_b90k", "many", (68.3, 81.6), note="for Chinese, Japanese, Hebrew, Greek"
    ),
    Recommendation("ViT-SO400M-14-SigLIP2-378/webli", "many", (74.9, 90.0), note="for a GPU"),
    Recommendation("PE-Core-L-14-336/meta", "English", note="for a GPU"),
)

CHOICES = {
    "fast": ("ViT-B-32/laion2b_s34b_b79k",),
    "default": ("ViT-B-32/laion2b_s34b_b79k",),
    "multilingual": ("ViT-B-32-SigLIP2-256/webli",),
    "best": ("ViT-B-16-SigLIP2/webli",),
}
"""What the words mean that `--model` takes for a model; behind it what they meant in earlier versions, which indexes
may have been made with."""

# LAION-2B weights first, as in the default model, then OpenAI's, then the newest the publisher recommends.
BEST_KNOWN_TAGS = {
    "RN50": "openai",
    "RN50-quickgelu": "openai",
    "RN101": "openai",
    "RN101-quickgelu": "openai",
    "ViT-B-32": "laion2b_s34b_b79k",
    "ViT-B-32-quickgelu": "openai",
    "ViT-B-16": "laion2b_s34b_b88k",
    "ViT-B-16-quickgelu": "openai",
    "ViT-B-16-plus-240": "laion400m_e32",
    "ViT-L-14": "laion2b_s32b_b82k",
    "ViT-L-14-quickgelu": "openai",
    "ViT-H-14": "laion2b_s32b_b79k",
    "ViT-H-14-CLIPA-336": "datacomp1b",
    "ViT-g-14": "laion2b_s34b_b88k",
    "ViT-bigG-14": "laion2b_s39b_b160k",
    "MobileCLIP-B": "datacompdr_lt",
    "coca_ViT-B-32": "laion2b_s13b_b90k",
    "coca_ViT-L-14": "laion2b_s13b_b90k",
    "convnext_base_w": "laion2b_s13b_b82k_augreg",
    "convnext_base_w_320": "laion_aesthetic_s13b_b82k_augreg",
    "convnext_large_d_320": "laion2b_s29b_b131k_ft_soup",
    "convnext_xxlarge": "laion2b_s34b_b82k_augreg_soup",
    "nllb-clip-base-siglip": "mrl",
    "nllb-clip-large-siglip": "mrl",
}


def load_registry() -> dict[str, KnownModel]:
    """Return every known model by its name, in open_clip's order."""
    text = files("image_index.models").joinpath("registry.json").read_text(encoding="utf-8")
    known = [KnownModel(**row) for row in json.loads(text)["models"]]
    return {model.name: model for model in known}


def licence_of(repo: str) -> Licence | None:
    """Return the licence of the weights in a repository of the hub, None where it is not known here."""
    return next((licence for pattern, licence in LICENCES if fnmatchcase(repo, pattern)), None)


def find_model(text: str) -> KnownModel:
    """Return the model that NAME/TAG, NAME alone or one of `CHOICES` means; raises UsageError with what is like it."""
    registry = load_registry()
    if text in CHOICES:
        return registry[CHOICES[text][0]]
    architecture, _, tag = text.rpartition("/") if "/" in text else (text, "", "")
    tag = tag.lower().replace("-", "_")  # as open_clip reads tags
    found = registry.get(f"{architecture}/{tag or _best_known_tag(architecture, registry)}")
    tags = _tags(architecture, registry)
    if found is None and not tag and tags:
        which = " or ".join(f"{architecture}/{tag}" for tag in tags)
        raise UsageError(f"{architecture} alone could be any of {len(tags)} models", f"write {which}")
    if found is None:
        raise UsageError(f"no model {text!r}{_suggestion(text, registry)}", "`imgidx models` lists what there is")
    return found


def _best_known_tag(architecture: str, registry: dict[str, KnownModel]) -> str:
    tags = _tags(architecture, registry)
    return tags[0] if len(tags) == 1 else BEST_KNOWN_TAGS.get(architecture, "")


def _tags(architecture: str, registry: dict[str, KnownModel]) -> list[str]:
    return [model.tag for model in registry.values() if model.architecture == architecture]


def _suggestion(text: str, registry: dict[str, KnownModel]) -> str:
    """Return what may have been meant, as the end of a message; "NAME:TAG" and OpenAI's "ViT-B/32" are understood."""
    architectures = [model.architecture for model in registry.values()]
    names = {name.lower(): name for name in [*CHOICES, *architectures, *registry]}
    asked = text.lower()
    spellings = dict.fromkeys((asked.replace(":", "/"), asked.replace("/", "-")))
    near = [names[spelt] for spelt in spellings if spelt in names]
    near = near or [names[key] for key in get_close_matches(asked, names, n=3, cutoff=0.6)]
    return f" (did you mean {' or '.join(near)}?)" if near else ""
