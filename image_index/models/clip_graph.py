"""The ONNX graphs of a plain CLIP's towers, written node by node.

Most models have towers of this kind: patches or tokens, transformer blocks, the vector of one token. torch's exporter,
which traces any tower, takes 3.5 s of a core for the two of a ViT-B-32; this takes 0.01 s. It also knows what the
exporter cannot: a text may have any length, because a token attends only to those before it, so that the padding can be
left out; and of the last block only that one token is needed, which saves 6 % of the arithmetic.

Modules are recognised by the names of their types, and nothing is believed of them: `models.tower_export` compares the
vectors of a graph with those of its model. All weights are inputs, by their names in the model behind `model.`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

from image_index.models import image_tower, text_tower
from image_index.records import ModelFacts

OPSET = 20
"""The first in which GELU is one node."""

IR_VERSION = 9
"""The oldest that may hold it."""

ACTIVATIONS = {"GELU", "QuickGELU"}
NORMS = {"LayerNorm", "LayerNormFp32"}

ONE_TOKEN = {"argmax", "eos"}
"""How the token is found whose vector is that of the text, if it is the one at its end."""

LEAST_TEXT = 1e-12
"""What torch divides the vector of a text by at least."""


class UnknownTower(Exception):
    """The tower is not of the kind that is known here."""


class _Nodes:
    """The nodes of a graph, in their order; a call adds one and returns the name of what it gives."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.weights: dict[str, Any] = {}

    def __call__(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output."""
        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def weight(self, name: str, tensor: Any) -> str:
        """Return the name of the input for a weight of the model."""
        self.weights[f"model.{name}"] = tensor
        return f"model.{name}"

    def constant(self, values: ArrayLike, kind: Any = np.int64) -> str:
        """Return the name of a constant; most are shapes."""
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(values, kind), name))
        return name

    def linear(self, x: str, layer: Any, name: str) -> str:
        """Add an `nn.Linear`: rows (R, I) to (R, O)."""
        bias = [] if layer.bias is None else [self.weight(f"{name}.bias", layer.bias)]
        return self("Gemm", x, self.weight(f"{name}.weight", layer.weight), *bias, transB=1)

    def norm(self, x: str, layer: Any, name: str) -> str:
        """Add a layer norm, or nothing where the model has none."""
        if type(layer).__name__ == "Identity":
            return x
        _known(type(layer).__name__ in NORMS)
        parts = self.weight(f"{name}.weight", layer.weight), self.weight(f"{name}.bias", layer.bias)
        return self("LayerNormalization", x, *parts, axis=-1, epsilon=layer.eps)

    def unit(self, x: str, least: float) -> str:
        """Add the division of rows by their lengths, or by `least` where they are shorter."""
        length = self("ReduceL2", x, self.constant([-1]), keepdims=1)
        return self("Div", x, self("Max", length, self.constant(least, np.float32)))

    def model(self, given: onnx.ValueInfoProto, result: str, output: str, dim: int) -> onnx.ModelProto:
        """Return the whole, of which `result` is the output."""
        self.nodes.append(helper.make_node("Identity", [result], [output]))
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, list(tensor.shape))
            for name, tensor in self.weights.items()
        ]
        vectors = helper.make_tensor_value_info(output, TensorProto.FLOAT, [None, dim])
        graph = helper.make_graph(self.nodes, "tower", [given, *inputs], [vectors], self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


class _Transformer:
    """The blocks of a tower, between rows of tokens (N * L, W) and one row a picture or text (N, W)."""

    def __init__(self, nodes: _Nodes, shape: tuple[int, int], chosen: str, mask: str = "") -> None:
        """`shape` is (N, L), one of them -1; `chosen` names the constant or output (1,) that is the token's place."""
        self._nodes = nodes
        self._shape = shape
        self._chosen = chosen
        self._mask = mask

    def add(self, x: str, transformer: Any, name: str) -> str:
        """Add all blocks."""
        *blocks, last = transformer.resblocks
        for number, block in enumerate(blocks):
            x = self._block(x, block, f"{name}.resblocks.{number}")
        return self._block(x, last, f"{name}.resblocks.{len(blocks)}", is_last=True)

    def _block(self, x: str, block: Any, name: str, *, is_last: bool = False) -> str:
        """Add a `ResidualAttentionBlock`; the last one only for the chosen token."""
        nodes, kind = self._nodes, type(block.mlp.gelu).__name__
        _known(type(block).__name__ == "ResidualAttentionBlock" and kind in ACTIVATIONS)
        normed = nodes.norm(x, block.ln_1, f"{name}.ln_1")
        attended = self._attention(normed, block.attn, f"{name}.attn", is_last=is_last)
        if is_last:
            width = block.attn.embed_dim
            tokens = nodes("Reshape", x, nodes.constant([*self._shape, width]))
            x = nodes("Reshape", nodes("Gather", tokens, self._chosen, axis=1), nodes.constant([-1, width]))
        x = nodes("Add", x, self._scaled(attended, block.ls_1, f"{name}.ls_1"))
        inner = nodes.linear(nodes.norm(x, block.ln_2, f"{name}.ln_2"), block.mlp.c_fc, f"{name}.mlp.c_fc")
        if kind == "GELU":
            inner = nodes("Gelu", inner)
        else:
            inner = nodes("Mul", inner, nodes("Sigmoid", nodes("Mul", inner, nodes.constant(1.702, np.float32))))
        inner = nodes.linear(inner, block.mlp.c_proj, f"{name}.mlp.c_proj")
        return nodes("Add", x, self._scaled(inner, block.ls_2, f"{name}.ls_2"))

    def _attention(self, x: str, layer: Any, name: str, *, is_last: bool) -> str:
        """Add an `nn.MultiheadAttention` of the tokens to themselves."""
        nodes = self._nodes
        _known(layer.in_proj_weight is not None and layer.in_proj_bias is not None and layer.bias_k is None)
        weight = nodes.weight(f"{name}.in_proj_weight", layer.in_proj_weight)
        parts = nodes("Gemm", x, weight, nodes.weight(f"{name}.in_proj_bias", layer.in_proj_bias), transB=1)
        parts = nodes("Reshape", parts, nodes.constant([*self._shape, 3, layer.num_heads, layer.head_dim]))
        parts = nodes("Transpose", parts, perm=[2, 0, 3, 1, 4])
        query, key, value = (nodes("Gather", parts, nodes.constant(part), axis=0) for part in range(3))
        mask = self._mask
        if is_last:
            query = nodes("Gather", query, self._chosen, axis=2)
            mask = mask and nodes("Gather", mask, self._chosen, axis=0)
        query = nodes("Mul", query, nodes.constant(layer.head_dim**-0.5, np.float32))
        scores = nodes("MatMul", query, nodes("Transpose", key, perm=[0, 1, 3, 2]))
        shares = nodes("Softmax", nodes("Add", scores, mask) if mask else scores, axis=-1)
        together = nodes("Transpose", nodes("MatMul", shares, value), perm=[0, 2, 1, 3])
        rows = nodes("Reshape", together, nodes.constant([-1, layer.embed_dim]))
        return nodes.linear(rows, layer.out_proj, f"{name}.out_proj")

    def _scaled(self, x: str, layer: Any, name: str) -> str:
        """Add a `LayerScale` where the model has one."""
        if type(layer).__name__ == "Identity":
            return x
        _known(type(layer).__name__ == "LayerScale")
        return self._nodes("Mul", x, self._nodes.weight(f"{name}.gamma", layer.gamma))


def image_graph(model: Any, facts: ModelFacts) -> onnx.ModelProto:
    """Return the image tower with all that comes before it: (N, H, W, 3) uint8 to (N, D) unit vectors.

    Raises `UnknownTower` or `AttributeError` where it is not a plain one.
    """
    nodes, tower = _Nodes(), model.visual
    _known(type(tower).__name__ == "VisionTransformer" and tower.attn_pool is None and tower.pool_type == "tok")
    height, width = facts.preprocess.size
    given = helper.make_tensor_value_info(image_tower.INPUT, TensorProto.UINT8, [None, height, width, 3])
    tokens, rows = tower.positional_embedding.shape
    x = nodes("Div", nodes("Cast", given.name, to=TensorProto.FLOAT), nodes.constant(255, np.float32))
    x = nodes("Sub", x, nodes.constant(facts.preprocess.mean, np.float32))
    x = nodes("Div", x, nodes.constant(facts.preprocess.std, np.float32))
    patches = nodes.weight("visual.conv1.weight", tower.conv1.weight)
    x = nodes("Conv", nodes("Transpose", x, perm=[0, 3, 1, 2]), patches, strides=list(tower.conv1.stride))
    x = nodes("Transpose", nodes("Reshape", x, nodes.constant([-1, rows, tokens - 1])), perm=[0, 2, 1])
    first = nodes.weight("visual.class_embedding", tower.class_embedding)
    shape = nodes("Concat", nodes("Shape", given.name, start=0, end=1), nodes.constant([1, rows]), axis=0)
    x = nodes("Concat", nodes("Expand", first, shape), x, axis=1)
    x = nodes("Add", x, nodes.weight("visual.positional_embedding", tower.positional_embedding))
    x = nodes.norm(nodes("Reshape", x, nodes.constant([-1, rows])), tower.ln_pre, "visual.ln_pre")
    transformer = _Transformer(nodes, (-1, tokens), nodes.constant([0]))
    x = transformer.add(x, tower.transformer, "visual.transformer")
    x = nodes.norm(x, tower.ln_post, "visual.ln_post")
    x = nodes("MatMul", x, nodes.weight("visual.proj", tower.proj))
    return nodes.model(given, nodes.unit(x, image_tower.LEAST_LENGTH), image_tower.OUTPUT, facts.dim)


def text_graph(model: Any, facts: ModelFacts) -> onnx.ModelProto:
    """Return the text tower for a text of any length: (1, L) tokens to (1, D) unit vectors.

    Raises `UnknownTower` or `AttributeError` where it is not a plain one whose vector is independent of the padding.
    """
    nodes = _Nodes()
    tower, name = (model.text, "text.") if hasattr(model, "text") else (model, "")
    pool = getattr(tower, "text_pool_type", None) or tower.pool_type
    _known(tower.attn_mask is not None and getattr(tower, "cls_emb", None) is None and pool in ONE_TOKEN)
    given = helper.make_tensor_value_info(text_tower.INPUT, TensorProto.INT64, [1, None])
    width, zero = tower.token_embedding.weight.shape[1], nodes.constant([0])
    length = nodes("Shape", given.name, start=1, end=2)
    x = nodes("Gather", nodes.weight(f"{name}token_embedding.weight", tower.token_embedding.weight), given.name)
    places = nodes.weight(f"{name}positional_embedding", tower.positional_embedding)
    x = nodes("Add", nodes("Reshape", x, nodes.constant([-1, width])), nodes("Slice", places, zero, length, zero))
    mask = nodes.constant(tower.attn_mask.numpy(), np.float32)
    mask = nodes("Slice", mask, nodes.constant([0, 0]), nodes("Concat", length, length, axis=0))
    ids = given.name
    if pool == "eos":
        end = getattr(tower, "text_eos_id", None) or tower.eos_id
        ids = nodes("Cast", nodes("Equal", ids, nodes.constant(end)), to=TensorProto.INT32)
    transformer = _Transformer(nodes, (1, -1), nodes("ArgMax", ids, axis=1, keepdims=0), mask)
    x = nodes.norm(transformer.add(x, tower.transformer, f"{name}transformer"), tower.ln_final, f"{name}ln_final")
    projection = tower.text_projection
    if type(projection).__name__ == "Linear":
        x = nodes.linear(x, projection, f"{name}text_projection")
    else:
        x = nodes("MatMul", x, nodes.weight(f"{name}text_projection", projection))
    return nodes.model(given, nodes.unit(x, LEAST_TEXT), text_tower.OUTPUT, facts.dim)


def _known(is_known: bool) -> None:
    """Raise `UnknownTower` unless it is so."""
    if not is_known:
        raise UnknownTower
