"""ModelGraph: the blocks of a transformer up to the hook, as ONNX operators, for tokens packed without padding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.feature_set import HookName
from monitor.compiler.architectures import Architecture, Rope
from monitor.compiler.graph import CONTRIB, Graph
from monitor.compiler.linear import Operand, Precision, Weight, operand, product
from monitor.compiler.model_weights import ModelTensors
from monitor.compiler.rotation import rotation
from monitor.model.four_bit import FourBitWeight
from monitor.readers.onnx import step

Array = NDArray[np.float32]

_SPREAD_CHANNELS = 128
# A normed token has a root mean square of 1, and turned at random hardly a channel is beyond four: what is lost to
# cutting off is far less than what a finer unit gains
_NORMED_LIMIT = 4.0


def add_blocks(
    graph: Graph,
    weights: ModelTensors,
    architecture: Architecture,
    blocks: int,
    precision: Precision,
    turn: Array | None,
    positions: int,
    hook: HookName = "resid_post",
) -> str:
    """Adds the first `blocks` blocks and returns the activations at the hook point of the last one, [token, d_model].

    The inputs are those of `step.Step`; each block puts out the keys and values of the new tokens. `precision` is
    that of the products with weights; attention itself and norms are always float32. If there is a rotation `turn`
    [d, d], the embeddings that come in and the residual stream that goes out are rotated by it. In int8, it is folded
    into the weights. In float32, the stream is turned back for the blocks: they need no rotation, and their weights
    stay as the model has them, which is 4 bits in many files.
    `positions` is the longest past plus chunk.
    """
    points = [(blocks - 1, hook)]
    return add_hook_points(graph, weights, architecture, points, precision, turn, positions)[0]


def add_hook_points(
    graph: Graph,
    weights: ModelTensors,
    architecture: Architecture,
    points: Sequence[tuple[int, HookName]],
    precision: Precision,
    turn: Array | None,
    positions: int,
) -> list[str]:
    """As `add_blocks`, up to the deepest of `points` (block and hook), and returns the activations at each of them."""
    return _Blocks(graph, weights, architecture, precision, turn, positions).add(points)


class _Blocks:
    def __init__(
        self,
        graph: Graph,
        weights: ModelTensors,
        architecture: Architecture,
        precision: Precision,
        turn: Array | None,
        positions: int,
    ) -> None:
        self._g = graph
        self._w = weights
        self._a = architecture
        self._precision = precision
        self._turn = turn if precision == "int8" else None
        self._outer_turn = turn if precision == "fp32" else None
        self._positions = positions

    def add(self, points: Sequence[tuple[int, HookName]]) -> list[str]:
        g, a, blocks = self._g, self._a, 1 + max(layer for layer, _ in points)
        found: dict[tuple[int, HookName], str] = {}
        if min(layer for layer, _ in points) < 0:
            raise ValueError("a graph needs at least one block")
        g.input(step.EMBEDDINGS, "float32", ["token", a.d_model])
        g.input(step.POSITIONS, "int64", [1, "token"])
        for rows in (step.QUERY_ROWS, step.PAST_ROWS, step.NEW_ROWS):
            g.input(rows, "int64", ["sequence", a.kv_heads, f"{rows}.length"])
        g.input(step.OUTPUT_ROWS, "int64", ["token", a.heads])
        g.input(step.SCORES_SHAPE, "int64", [5])
        g.input(step.CONTEXT_SHAPE, "int64", [4])
        # the plain mask even if every layer has a window, because a Step always has it
        for mask in sorted({step.MASK, *(step.window_mask(w) for w in a.windows[:blocks] if w is not None)}):
            g.input(mask, "float32", ["sequence", 1, 1, "chunk", "context"])
        residual = self._turned_stream(step.EMBEDDINGS, "stream.turn_back", -1)
        x = g.add("SimplifiedLayerNormalization", residual, self._norm("layers.0.input_layernorm"), **self._eps)
        for layer in range(blocks):
            prefix = f"layers.{layer}."
            branch = self._attention(layer, x)
            if (layer, "attn_out") in points:
                added = self._branch(branch, prefix, "post_attention_layernorm")
                found[layer, "attn_out"] = self._turned_stream(added, "stream.turn", 1)
            if len(found) == len(set(points)):
                break
            x, residual = self._join(branch, residual, self._pre_mlp_norm(prefix), prefix, "post_attention_layernorm")
            branch = self._mlp(prefix, x)
            if layer + 1 == blocks:
                branch = self._branch(branch, prefix, "post_feedforward_layernorm")
                if (layer, "mlp_out") in points:
                    found[layer, "mlp_out"] = self._turned_stream(branch, "stream.turn", 1)
                if (layer, "resid_post") in points:
                    found[layer, "resid_post"] = self._turned_stream(g.add("Add", branch, residual), "stream.turn", 1)
                break
            if (layer, "mlp_out") in points:
                added = self._branch(branch, prefix, "post_feedforward_layernorm")
                found[layer, "mlp_out"] = self._turned_stream(added, "stream.turn", 1)
            following = f"layers.{layer + 1}."
            x, residual = self._join(
                branch,
                residual,
                self._norm(f"{following}input_layernorm"),
                prefix,
                "post_feedforward_layernorm",
            )
            if (layer, "resid_post") in points:
                found[layer, "resid_post"] = self._turned_stream(residual, "stream.turn", 1)
        return [found[point] for point in points]

    @property
    def _eps(self) -> dict[str, Any]:
        return {"axis": -1, "epsilon": self._a.norm_eps}

    def _normed(self, x: str) -> Operand:
        """What comes out of a norm, for products with weights of `_reading`."""
        if self._turn is not None:
            return operand(self._g, x, self._precision, _NORMED_LIMIT)
        return operand(self._g, self._spread(x, self._a.d_model), self._precision)

    def _pre_mlp_norm(self, prefix: str) -> str:
        return self._norm(self._pre_mlp(prefix))

    def _pre_mlp(self, prefix: str) -> str:
        # in Gemma, post_attention_layernorm comes before the sum; in all others, after it
        return prefix + ("pre_feedforward_layernorm" if self._a.branch_norms else "post_attention_layernorm")

    def _norm(self, name: str) -> str:
        """A norm's weight; with a rotation, it is folded into the products that follow."""
        if self._turn is not None:
            return self._g.constant("ones", np.ones(self._a.d_model, np.float32))
        return self._g.constant(name, self._gain(name))

    def _gain(self, name: str) -> Array:
        return self._w.get(f"{name}.weight") + np.float32(self._a.norm_offset)

    def _join(self, branch: str, residual: str, norm: str, prefix: str, branch_norm: str) -> tuple[str, str]:
        """Adds a branch to the residual stream; returns the sum's norm and the sum."""
        results = self._g.add_many(
            "SkipSimplifiedLayerNormalization",
            [self._branch(branch, prefix, branch_norm), residual, norm],
            4,
            domain=CONTRIB,
            epsilon=self._a.norm_eps,
        )
        return results[0], results[3]

    def _branch(self, branch: str, prefix: str, norm: str) -> str:
        if not self._a.branch_norms:
            return branch
        gain = self._g.constant(prefix + norm, self._gain(prefix + norm))
        return self._g.add("SimplifiedLayerNormalization", branch, gain, **self._eps)

    def _turned_stream(self, stream: str, name: str, direction: int) -> str:
        """The residual stream between graph and blocks: `direction` 1 rotates it, -1 turns it back."""
        turn = self._outer_turn
        if turn is None:
            return stream
        return self._g.add("MatMul", stream, self._g.constant(name, turn if direction == 1 else turn.T))

    def _kept(self, name: str) -> FourBitWeight | None:
        """The weight as the model's file has it, if it is in 4 bits and nothing is folded into it."""
        return self._w.four_bit(f"{name}.weight") if self._precision == "fp32" else None

    def _reading(self, name: str, norm: str) -> Weight:
        """The weight [channel, out] of a product that reads the residual stream."""
        kept = self._kept(name)
        if kept is not None:
            return kept
        weight = self._w.get(f"{name}.weight").T
        if self._turn is None:
            return self._spread_weight(weight)
        return self._turn.T @ (weight * self._gain(norm)[:, None])

    def _writing(self, name: str) -> Weight:
        """The weight [channel, out] of a product that is added to the residual stream."""
        kept = self._kept(name)
        if kept is not None:
            return kept
        weight = self._w.get(f"{name}.weight").T
        return weight if self._turn is None else weight @ self._turn

    def _attention(self, layer: int, x: str) -> str:
        """Grouped-query attention of the new tokens over the past and themselves; [token, d_model]."""
        g, a, prefix = self._g, self._a, f"layers.{layer}."
        heads, dim = a.heads + a.kv_heads, a.head_dim
        turned, values = self._queries_keys_values(layer, x)
        keys = g.add(
            "Slice", turned, g.integers(a.heads * dim), g.integers(heads * dim), g.integers(1)
        )  # [token, kv_width]
        # One row for each head of each token, so that any order of sequences, heads and tokens is a single gather
        rows = g.integers(-1, dim)
        queries = g.add("Gather", g.add("Reshape", turned, rows), step.QUERY_ROWS, axis=0)
        context = []
        for kind, new in (("keys", keys), ("values", values)):
            past = g.input(step.past(kind, layer), "float32", ["row", dim])
            g.output(new, step.new(kind, layer), "float32", ["token", a.kv_width])
            known = g.add("Gather", past, step.PAST_ROWS, axis=0)
            own = g.add("Gather", g.add("Reshape", new, rows), step.NEW_ROWS, axis=0)
            context.append(g.add("Concat", known, own, axis=2))  # [sequence, kv head, context, head_dim]
        scores = g.add("FusedMatMul", queries, context[0], domain=CONTRIB, transB=1)
        if a.softcap is not None:
            cap = g.constant("softcap", np.array(a.softcap, np.float32))
            scores = g.add("Mul", g.add("Tanh", g.add("Div", scores, cap)), cap)
        window = a.windows[layer]
        mask = step.MASK if window is None else step.window_mask(window)
        # [sequence, kv head, queries a kv head, chunk, context]
        scores = g.add("Add", g.add("Reshape", scores, step.SCORES_SHAPE), mask)
        shares = g.add("Reshape", g.add("Softmax", scores, axis=-1), step.CONTEXT_SHAPE)
        mixed = g.add("Reshape", g.add("MatMul", shares, context[1]), rows)
        gathered = g.add("Gather", mixed, step.OUTPUT_ROWS, axis=0)  # [token, head, head_dim]
        joined = g.add("Reshape", gathered, g.integers(-1, a.heads * dim))
        name = f"{prefix}self_attn.o_proj"
        bias = self._turned(self._w.get(f"{name}.bias")) if a.output_bias else None
        return product(g, operand(g, joined, self._precision), name, self._writing(name), bias)

    def _turned(self, bias: Array) -> Array:
        return bias if self._turn is None else bias @ self._turn

    def _queries_keys_values(self, layer: int, x: str) -> tuple[str, str]:
        """Queries and keys, rotated to their positions, side by side [token, (heads + kv_heads) * head_dim]; values."""
        g, a, prefix = self._g, self._a, f"layers.{layer}.self_attn."
        norm = f"layers.{layer}.input_layernorm"
        q, k, v = (self._reading(f"{prefix}{name}_proj", norm) for name in "qkv")
        if not a.qk_norm:
            q = q.times(a.query_scale) if isinstance(q, FourBitWeight) else q * np.float32(a.query_scale)
        bias = None
        if a.qkv_bias:
            bq, bk, bv = (self._w.get(f"{prefix}{name}_proj.bias") for name in "qkv")
            bias = np.concatenate([bq if a.qk_norm else bq * np.float32(a.query_scale), bk, bv])
        together = product(g, self._normed(x), f"{prefix}qkv", _side_by_side([q, k, v]), bias)
        heads = a.heads + a.kv_heads
        qk, values = g.add_many("Split", [together, g.integers(heads * a.head_dim, a.kv_width)], 2, axis=1)
        if a.qk_norm:
            qk = self._head_norm(prefix, qk)
        cos, sin = self._rope(a.ropes[layer])
        turned = g.add(
            "RotaryEmbedding",
            g.add("Unsqueeze", qk, g.integers(0)),
            step.POSITIONS,
            cos,
            sin,
            domain=CONTRIB,
            num_heads=heads,
            interleaved=0,
        )
        return g.add("Squeeze", turned, g.integers(0)), values

    def _head_norm(self, prefix: str, qk: str) -> str:
        """RMSNorm of every head; the gain of the queries includes their scale."""
        g, a = self._g, self._a
        each = g.add("Reshape", qk, g.integers(-1, a.heads + a.kv_heads, a.head_dim))
        plain = g.add(
            "SimplifiedLayerNormalization", each, g.constant("head_ones", np.ones(a.head_dim, np.float32)), **self._eps
        )
        gains = np.concatenate(
            [
                np.tile(self._gain(f"{prefix}q_norm") * np.float32(a.query_scale), (a.heads, 1)),
                np.tile(self._gain(f"{prefix}k_norm"), (a.kv_heads, 1)),
            ]
        )
        scaled = g.add("Mul", plain, g.constant(f"{prefix}qk_norm", gains))
        return g.add("Reshape", scaled, g.integers(-1, (a.heads + a.kv_heads) * a.head_dim))

    def _rope(self, rope: Rope) -> tuple[str, str]:
        names = f"cos.{rope.name}", f"sin.{rope.name}"
        if not self._g.has_constant(names[0]):
            for name, table in zip(names, rope.tables(self._positions), strict=True):
                self._g.constant(name, table)
        return names

    def _mlp(self, prefix: str, x: str) -> str:
        g = self._g
        norm = self._pre_mlp(prefix)
        shared = self._normed(x)
        gate, up = (
            product(g, shared, f"{prefix}mlp.{name}_proj", self._reading(f"{prefix}mlp.{name}_proj", norm))
            for name in ("gate", "up")
        )
        if self._a.activation == "silu":
            gate = g.add("QuickGelu", gate, domain=CONTRIB, alpha=1.0)  # x * sigmoid(alpha * x)
        else:
            gate = g.add("FastGelu", gate, domain=CONTRIB)  # the tanh form
        name = f"{prefix}mlp.down_proj"
        weight = self._spread_weight(self._writing(name))
        inner = self._spread(g.add("Mul", gate, up), weight.shape[0])
        return product(g, operand(g, inner, self._precision), name, weight)

    def _spread(self, values: str, width: int) -> str:
        """For int8, turns neighbouring channels of `values` [token, width] into one another.

        A few channels of a few tokens are far larger than the rest. Nothing in front can take this rotation up, but
        in small blocks it costs next to nothing. What is multiplied with it is turned by `_spread_weight`.
        """
        if self._precision != "int8":
            return values
        g, block = self._g, math.gcd(width, _SPREAD_CHANNELS)
        rows = g.add("Reshape", values, g.integers(-1, block))
        turned = g.add("MatMul", rows, g.constant(f"spread.{block}", rotation(block)))
        return g.add("Reshape", turned, g.integers(-1, width))

    def _spread_weight(self, weight: Weight) -> Weight:
        if self._precision != "int8" or isinstance(weight, FourBitWeight):
            return weight
        block = math.gcd(weight.shape[0], _SPREAD_CHANNELS)
        blocks = weight.reshape(-1, block, weight.shape[1])
        return (rotation(block).T @ blocks).reshape(weight.shape)


def _side_by_side(weights: Sequence[Weight]) -> Weight:
    """One weight with the outputs of all; in 4 bits only if all are."""
    blocks = [weight for weight in weights if isinstance(weight, FourBitWeight)]
    if len(blocks) == len(weights):
        return FourBitWeight.side_by_side(blocks)
    return np.concatenate([w.dense() if isinstance(w, FourBitWeight) else w for w in weights], axis=1)
