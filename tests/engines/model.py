"""A llama of two layers with trained-looking weights: heavy tails and a few large channels."""
import json

import torch
from safetensors.torch import save_file

HIDDEN, INNER, HEADS, LAYERS, WORDS = 256, 512, 4, 2, 320


def weight(generator, rows, cols):
    w = torch.randn(rows, cols, generator=generator) * 0.03
    w *= torch.exp(0.3 * torch.randn(rows, 1, generator=generator))
    w[:, torch.randint(cols, (3,), generator=generator)] *= 8
    return w.to(torch.bfloat16)


def make_model(folder):
    g = torch.Generator().manual_seed(7)
    held = {"model.embed_tokens.weight": weight(g, WORDS, HIDDEN), "lm_head.weight": weight(g, WORDS, HIDDEN),
            "model.norm.weight": torch.ones(HIDDEN, dtype=torch.bfloat16)}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        for name in ("q", "k", "v", "o"):
            held[f"{at}self_attn.{name}_proj.weight"] = weight(g, HIDDEN, HIDDEN)
        for name in ("gate", "up"):
            held[f"{at}mlp.{name}_proj.weight"] = weight(g, INNER, HIDDEN)
        held[f"{at}mlp.down_proj.weight"] = weight(g, HIDDEN, INNER)
        for name in ("input_layernorm", "post_attention_layernorm"):
            held[f"{at}{name}.weight"] = torch.ones(HIDDEN, dtype=torch.bfloat16)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in held.items()}, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN,
        "intermediate_size": INNER, "num_attention_heads": HEADS, "num_key_value_heads": HEADS,
        "num_hidden_layers": LAYERS, "vocab_size": WORDS, "rms_norm_eps": 1e-5, "hidden_act": "silu",
        "max_position_embeddings": 512, "tie_word_embeddings": False, "torch_dtype": "bfloat16"}, indent=2))
