"""Small tokenizers in the layouts in which those of SigLIP2, SigLIP, XLM-R and other models are published.

Each is trained on a few sentences in many scripts and lies in a folder of its own, as a snapshot of the hub does.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch
from open_clip.model import CustomTextCLIP
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = (
    "a photo of two dogs on the beach at sunset, running after a red ball",
    "It's the old town's market: apples, pears & 12 kinds of cheese; 3.50 each!",
    "the cat sat on the mat, and the hat was on the cat that sat on the mat",
    "caf\u00e9 cr\u00e8me br\u00fbl\u00e9e na\u00efve fa\u00e7ade \u00fcber Stra\u00dfe M\u00e4dchen ni\u00f1o",
    "\u0421\u043e\u0431\u0430\u043a\u0430 \u043d\u0430 \u043f\u043b\u044f\u0436\u0435",
    "\u03ad\u03bd\u03b1\u03c2 \u03c3\u03ba\u03cd\u03bb\u03bf\u03c2",
    "\u6771\u4eac\u306e\u591c\u666f\u3068\u5bcc\u58eb\u5c71 \u6d77\u8fb9\u7684\u4e24\u53ea\u72d7",
    "\ud574\ubcc0\uc758 \uac1c \ub450 \ub9c8\ub9ac",
    "\u0643\u0644\u0628\u0627\u0646 \u0639\u0644\u0649 \u0627\u0644\u0634\u0627\u0637\u0626",
    "\u05e9\u05e0\u05d9 \u05db\u05dc\u05d1\u05d9\u05dd \u05e2\u05dc \u05d4\u05d7\u05d5\u05e3",
    "\u0938\u092e\u0941\u0926\u094d\u0930 \u0924\u091f \u092a\u0930 \u0926\u094b \u0915\u0941\u0924\u094d\u0924\u0947",
    "\u0e2a\u0e38\u0e19\u0e31\u0e02\u0e1a\u0e19\u0e0a\u0e32\u0e22\u0e2b\u0e32\u0e14",
    "\U0001f436\U0001f3d6\ufe0f\U0001f469\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f",
) * 3

RANGES = (
    *((0x20, 0x7F),) * 4,
    *((0x00, 0x20), (0x7F, 0xA1), (0xA1, 0x250), (0x300, 0x370), (0x370, 0x530), (0x590, 0x700), (0x900, 0xA00)),
    *((0xE00, 0xE80), (0x2000, 0x2070), (0x2500, 0x2600), (0x3040, 0x3100), (0x4E00, 0x9FA0), (0xAC00, 0xD7A4)),
    *((0xFB00, 0xFB50), (0xFF00, 0xFFF0), (0x1D400, 0x1D800), (0x1F300, 0x1FAFF), (0xE000, 0xE010), (0, 0xD800)),
)
"""Many scripts, controls, combining marks, spaces, emoji, forms for compatibility, characters that are unassigned."""

WORDS = tuple(word for line in CORPUS[:13] for word in line.split())
ODD = ("<eos>", "</s>", "<s>", "<pad>", "<unk>", "<mask>", "[SEP]", "[CLS]", "<0x41>", "\u2581", "##s", "<table>", "_")


def some_text(random: Random) -> str:
    """Return a text of known words, odd ones and characters of many scripts: empty, short, or far too long."""
    parts = []
    for _ in range(random.choice((0, 1, 2, 4, 8, 16, 60, 300))):
        kind = random.random()
        if kind < 0.4:
            word = random.choice(WORDS)
            parts.append(random.choice((word, word.upper(), word[1:], word + random.choice(WORDS))))
        elif kind < 0.5:
            parts.append(random.choice(ODD))
        else:
            parts.append("".join(chr(random.randrange(*random.choice(RANGES))) for _ in range(random.randrange(5))))
        parts.append(" " * random.choice((0, 1, 1, 2)))
    return "".join(parts)


def _added(*names: str, **options: bool) -> list[AddedToken]:
    return [AddedToken(name, normalized=False, special=True, **options) for name in names]


def _gemma() -> tuple[Tokenizer, dict[str, Any]]:
    """SigLIP2's: byte-pair merges over the whole text, single bytes for what is not known, the end's token behind."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=1500, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = content["added_tokens"][:4]  # the trainer makes the bytes added tokens as well
    tokenizer = Tokenizer.from_str(json.dumps(content))
    tokenizer.add_tokens([AddedToken("<table>", normalized=False), AddedToken("the", normalized=True)])
    tokenizer.post_processor = processors.TemplateProcessing("$A <eos>", special_tokens=[("<eos>", 1)])
    settings = {"tokenizer_class": "GemmaTokenizer", "add_bos_token": False, "add_eos_token": True}
    tokens = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return tokenizer, settings | tokens | {"padding_side": "right"}


def _unigram(special: list[str], unknown: str = "<unk>") -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    space = pre_tokenizers.Metaspace("\u2581", "always")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), space])
    trainer = trainers.UnigramTrainer(
        vocab_size=450, special_tokens=special, unk_token=unknown, show_progress=False, max_piece_length=12
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def _siglip() -> tuple[Tokenizer, dict[str, Any]]:
    """SigLIP's, which is T5's: a unigram model, padded with the end's token."""
    tokenizer = _unigram(["<pad>", "</s>", "<unk>"])
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    settings = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "additional_special_tokens": []}
    return tokenizer, settings | {"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}


def _xlm_roberta() -> tuple[Tokenizer, dict[str, Any]]:
    """XLM-R's: a unigram model with tokens at both ends, and settings that say next to nothing."""
    tokenizer = _unigram(["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.add_special_tokens(_added("<mask>", lstrip=True))
    ends = [("<s>", 0), ("</s>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=ends)
    mask = {"content": "<mask>", "lstrip": True, "normalized": False, "special": True, "__type": "AddedToken"}
    return tokenizer, {"tokenizer_class": "XLMRobertaTokenizer", "mask_token": mask}


def _folding() -> tuple[Tokenizer, dict[str, Any]]:
    """A unigram model behind normalizers that change lengths, of a class that takes the file as it is."""
    tokenizer = _unigram(["<s>", "<pad>", "</s>", "<unk>"])
    folds = [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(" {2,}"), " ")]
    tokenizer.normalizer = normalizers.Sequence(folds)
    ends = [("</s>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=ends)
    tokens = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return tokenizer, {"tokenizer_class": "PreTrainedTokenizerFast"} | tokens


def _bert() -> tuple[Tokenizer, dict[str, Any]]:
    """BERT's: the longest word that fits, then those that go on within a word."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=500, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=ends)
    return tokenizer, {"tokenizer_class": "BertTokenizer", "do_lower_case": True}


def _roberta() -> tuple[Tokenizer, dict[str, Any]]:
    """RoBERTa's: byte-pair merges of bytes, which stand for characters."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return tokenizer, {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": False}


LAYOUTS: dict[str, tuple[Callable[[], tuple[Tokenizer, dict[str, Any]]], dict[str, Any]]] = {
    "SigLIP2": (_gemma, {"context_length": 64, "tokenizer_kwargs": {"clean": "canonicalize"}}),
    "SigLIP": (_siglip, {"context_length": 64, "tokenizer_kwargs": {"clean": "canonicalize"}}),
    "XLM-R": (_xlm_roberta, {}),
    "folding": (_folding, {"context_length": 16, "tokenizer_kwargs": {"clean": "lower"}}),
    "BERT": (_bert, {"context_length": 32, "tokenizer_kwargs": {"strip_sep_token": True}}),
    "RoBERTa": (_roberta, {"context_length": 20, "tokenizer_mode": "clips"}),
}
"""How each is made, and what the `text_cfg` of a model that uses it says of it."""


def make_tokenizer(layout: str, folder: Path) -> dict[str, Any]:
    """Write the tokenizer of that layout into `folder`; return the `text_cfg` of a model that uses it."""
    make, text_config = LAYOUTS[layout]
    tokenizer, settings = make()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return {"hf_tokenizer_name": str(folder), **text_config}


def make_siglip(folder: Path, layout: str = "SigLIP2") -> Path:
    """Write a small model of SigLIP's kind with random weights into `folder`, with a tokenizer; return the folder."""
    text = make_tokenizer(layout, folder)
    tower = {"vocab_size": 1600, "width": 32, "heads": 2, "layers": 2, "no_causal_mask": True, "proj_bias": True}
    vision = {"layers": 1, "width": 32, "image_size": 32, "patch_size": 16, "head_width": 16}
    config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": {**text, **tower, "pool_type": "last"}}
    torch.manual_seed(1)
    model = CustomTextCLIP(16, vision, config["text_cfg"])
    for name, parameter in model.text.named_parameters():  # as if trained: fresh ones hardly tell two texts apart
        if "embedding" in name:
            torch.nn.init.normal_(parameter, std=1.0)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    preprocess = {"size": [32, 32], "mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}
    content = {"model_cfg": config | {"custom_text": True}, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    return folder
