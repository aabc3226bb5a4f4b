"""all-MiniLM-L6-v2 in plain torch: the sentence encoder whose vectors the starter model learns."""

from __future__ import annotations

from collections.abc import Sequence

import safetensors.torch
import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor
from torch.nn import functional

WIDTH = 384
HEADS = 12
LAYERS = 6
MAX_TOKENS = 48
BATCH = 256


class MiniLM:
    """Six BERT layers, each normalised after its residual; mean over the tokens; unit length.

    Source: https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0). It computes in bfloat16.
    """

    def __init__(self, weights: bytes, tokenizer: bytes) -> None:
        tensors = safetensors.torch.load(weights)
        self._weights = {name: _to_bfloat16(tensor) for name, tensor in tensors.items()}
        self._tokenizer = Tokenizer.from_str(tokenizer.decode())
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.enable_padding()

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """Return unit vectors, (N, 384) float32; texts of like length share a batch, to pad little."""
        vectors = torch.empty(len(texts), WIDTH)
        by_length = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        for start in range(0, len(by_length), BATCH):
            chosen = by_length[start : start + BATCH]
            vectors[chosen] = self._embed_batch(self._tokenizer.encode_batch([texts[index] for index in chosen]))
        return vectors

    def _embed_batch(self, encodings: Sequence[Encoding]) -> Tensor:
        tokens = torch.tensor([encoding.ids for encoding in encodings])
        mask = torch.tensor([encoding.attention_mask for encoding in encodings])
        hidden = self._token_vectors(tokens)
        for layer in range(LAYERS):
            hidden = self._layer(hidden, mask, f"encoder.layer.{layer}")
        weights = mask.unsqueeze(-1).float()
        mean = (hidden.float() * weights).sum(1) / weights.sum(1)
        return functional.normalize(mean, dim=-1)

    def _token_vectors(self, tokens: Tensor) -> Tensor:
        """Sum word, position and segment embeddings: (B, L) to (B, L, 384)."""
        words = self._weights["embeddings.word_embeddings.weight"][tokens]
        positions = self._weights["embeddings.position_embeddings.weight"][: tokens.shape[1]]
        segment = self._weights["embeddings.token_type_embeddings.weight"][0]
        return self._normalise(words + positions + segment, "embeddings.LayerNorm")

    def _layer(self, hidden: Tensor, mask: Tensor, name: str) -> Tensor:
        attended = self._linear(self._attend(hidden, mask, name), f"{name}.attention.output.dense")
        hidden = self._normalise(hidden + attended, f"{name}.attention.output.LayerNorm")
        inner = functional.gelu(self._linear(hidden, f"{name}.intermediate.dense"))
        return self._normalise(hidden + self._linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def _attend(self, hidden: Tensor, mask: Tensor, name: str) -> Tensor:
        batch, length, _ = hidden.shape

        def project(role: str) -> Tensor:
            projected = self._linear(hidden, f"{name}.attention.self.{role}")
            return projected.view(batch, length, HEADS, WIDTH // HEADS).transpose(1, 2)

        attended = functional.scaled_dot_product_attention(
            project("query"), project("key"), project("value"), attn_mask=mask[:, None, None, :].bool()
        )
        return attended.transpose(1, 2).reshape(batch, length, WIDTH)

    def _linear(self, values: Tensor, name: str) -> Tensor:
        return functional.linear(values, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _normalise(self, values: Tensor, name: str) -> Tensor:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return functional.layer_norm(values, (WIDTH,), weight, bias, eps=1e-12)


def _to_bfloat16(tensor: Tensor) -> Tensor:
    return tensor.bfloat16() if tensor.is_floating_point() else tensor
