"""Small random GGUF files: every architecture, every tensor type, widths as odd as the type allows.

Tests ask for a file; llama.cpp can load what leaves, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

from brainc.dtypes import Array

ARCHITECTURES = ("llama", "gemma3", "qwen2", "qwen3")
KINDS = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K")
LAYERS, CONTEXT = 7, 64  # gemma3's seventh layer is the first behind one that sees everything
UNWRITTEN = ("Q4_K", "Q5_K", "Q6_K")  # types that the gguf package reads but does not write


@dataclass(frozen=True)
class Sizes:
    """Of a model: `model` numbers, `heads` in `groups`, each `width` wide, `hidden` in the middle."""

    model: int
    heads: int
    groups: int
    width: int
    hidden: int


def sizes_for(kind: str) -> Sizes:
    """The oddest widths that blocks of this type allow."""
    if kind.endswith("_K"):
        return Sizes(256, 8, 2, 32, 512)
    if kind[0] == "Q":
        return Sizes(96, 3, 1, 32, 160)
    return Sizes(50, 5, 5, 10, 70)


def weights(rng: np.random.Generator, rows: int, columns: int, kind: str, spread: float) -> Array:
    """A random matrix in that type, as bytes (or numbers) that the writer takes."""
    quant = gguf.GGMLQuantizationType[kind]
    if kind not in UNWRITTEN:
        return np.asarray(
            gguf.quants.quantize((rng.standard_normal((rows, columns)) * spread).astype(np.float32), quant)
        )
    block, size = gguf.GGML_QUANT_SIZES[quant]
    raw = rng.integers(0, 256, (rows, columns // block, size), dtype=np.uint8)
    if kind == "Q6_K":
        raw[..., 192:208] = rng.integers(20, 100, raw[..., 192:208].shape)  # the parts' scales
        raw[..., 208:210] = np.float16(spread / 1200).reshape(1).view(np.uint8)
    else:
        step = spread / (30 * (2 if kind == "Q4_K" else 4) * 2)
        raw[..., 0:2] = np.float16(step).reshape(1).view(np.uint8)
        raw[..., 2:4] = np.float16(step * (7 if kind == "Q4_K" else 15)).reshape(1).view(np.uint8)
        raw[..., 4:8] = raw[..., 8:12]  # offsets like the scales: numbers around zero
    return raw.reshape(rows, -1)


def write(
    path: Path,
    architecture: str,
    kind: str,
    seed: int = 0,
    *,
    tied: bool = True,
    rope_factor: float = 0.0,
    words: str = "",
    pre: str = "gpt-2",
    template: str = "",
) -> Path:
    """A model of that architecture whose matrices have that type; vectors are F32.

    words: the kind of vocabulary, "gpt2" (with `pre`) or "llama"; "": what models of that architecture have.
    template: how it chats, if it does.
    """
    rng, sizes = np.random.default_rng(seed), sizes_for(kind)
    out = gguf.GGUFWriter(path, architecture)
    out.add_context_length(CONTEXT)
    out.add_embedding_length(sizes.model)
    out.add_block_count(LAYERS)
    out.add_feed_forward_length(sizes.hidden)
    out.add_head_count(sizes.heads)
    out.add_head_count_kv(sizes.groups)
    out.add_key_length(sizes.width)
    out.add_value_length(sizes.width)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_freq_base(1e6 if architecture == "gemma3" else 1e4)
    out.add_rope_dimension_count(sizes.width)
    if rope_factor:
        out.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        out.add_rope_scaling_factor(rope_factor)
    if architecture == "gemma3":
        out.add_sliding_window(5)
    if template:
        out.add_chat_template(template)
    pieces = vocabulary(out, words or ("llama" if architecture == "gemma3" else "gpt2"), pre)
    tensors(out, rng, architecture, kind, sizes, pieces, tied)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path


def vocabulary(out: gguf.GGUFWriter, model: str, pre: str) -> int:
    """A vocabulary of bytes and a little more; how many tokens it has."""
    if model == "gpt2":
        seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
        letters = [chr(c) for c in seen] + [chr(256 + i) for i in range(256 - len(seen))]
        pieces = [*letters, "he", "ll", "hell", "<|end|>", "<|im_end|>"]
        out.add_tokenizer_model("gpt2")
        out.add_tokenizer_pre(pre)
        out.add_token_merges(["h e", "l l", "he ll"])
        types = [1] * (len(pieces) - 2) + [3, 3]
        out.add_bos_token_id(len(pieces) - 2)
        out.add_eos_token_id(len(pieces) - 2)
    else:
        pieces = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), "\u2581", "h", "e", "he", "\u2581he"]
        types = [2, 3, 3, *[6] * 256, *[1] * 5]
        out.add_tokenizer_model("llama")
        out.add_tokenizer_pre("default")
        out.add_token_scores([0.0] * 259 + [-1.0, -2.0, -3.0, -4.0, -5.0])
        out.add_bos_token_id(1)
        out.add_eos_token_id(2)
        out.add_unk_token_id(0)
    out.add_token_list(pieces)
    out.add_token_types(types)
    return len(pieces)


def tensors(
    out: gguf.GGUFWriter, rng: np.random.Generator, architecture: str, kind: str, sizes: Sizes, pieces: int, tied: bool
) -> None:
    """Every tensor of the model."""

    def vector(name: str, size: int, around: float = 1.0) -> None:
        out.add_tensor(name, (around + 0.1 * rng.standard_normal(size)).astype(np.float32))

    def matrix(name: str, rows: int, columns: int) -> None:
        spread = columns**-0.5 * (0.3 if name.startswith("blk") else 1.0)  # what layers add is small, as in real ones
        data = weights(rng, rows, columns, kind, spread)
        out.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType[kind])

    wide, narrow = sizes.heads * sizes.width, sizes.groups * sizes.width
    matrix("token_embd.weight", pieces, sizes.model)
    vector("output_norm.weight", sizes.model)
    if not tied:
        matrix("output.weight", pieces, sizes.model)
    for i in range(LAYERS):
        stem = f"blk.{i}"
        vector(f"{stem}.attn_norm.weight", sizes.model)
        vector(f"{stem}.ffn_norm.weight", sizes.model)
        for name, rows in (("q", wide), ("k", narrow), ("v", narrow)):
            matrix(f"{stem}.attn_{name}.weight", rows, sizes.model)
            if architecture == "qwen2":
                vector(f"{stem}.attn_{name}.bias", rows, 0.0)
        if architecture in ("qwen3", "gemma3"):
            vector(f"{stem}.attn_q_norm.weight", sizes.width)
            vector(f"{stem}.attn_k_norm.weight", sizes.width)
        if architecture == "gemma3":
            vector(f"{stem}.post_attention_norm.weight", sizes.model)
            vector(f"{stem}.post_ffw_norm.weight", sizes.model)
        matrix(f"{stem}.attn_output.weight", sizes.model, wide)
        matrix(f"{stem}.ffn_gate.weight", sizes.hidden, sizes.model)
        matrix(f"{stem}.ffn_up.weight", sizes.hidden, sizes.model)
        matrix(f"{stem}.ffn_down.weight", sizes.model, sizes.hidden)
