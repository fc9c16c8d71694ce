"""Make tiny random Llama models: two versions and a LoRA adapter, a few hundred KiB each.

Run inside the vLLM environment: `python make_model.py DIR` writes DIR/tiny-v1, DIR/tiny-v2 and
DIR/tiny-lora. The weights are random, so the answers are noise; lengths, times and errors are real.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

__all__ = ["main"]

LINES = [
    "The bell rings when the service is slow.",
    "A request has a prompt, an answer and a price.",
    "Tokens are counted, latency is measured, errors are told apart.",
    "When nobody answers the page, the old version comes back.",
    "0 1 2 3 4 5 6 7 8 9 ten twenty hundred thousand",
]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<pad>", "<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
# 32 numbers a head is the smallest that the CPU attention kernels know.
HIDDEN, LAYERS, HEADS = 128, 2, 4
RANK = 8


def _tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(LINES, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def _model(directory: Path, tokenizer: PreTrainedTokenizerFast, seed: int) -> None:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=4096,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).to(torch.float32).save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def _adapter(directory: Path, base: Path, seed: int) -> None:
    """Write a PEFT-format adapter on the attention projections."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for layer in range(LAYERS):
        for name in ("q_proj", "v_proj"):
            key = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            weights[f"{key}.lora_A.weight"] = torch.randn(RANK, HIDDEN, generator=generator)
            weights[f"{key}.lora_B.weight"] = torch.randn(HIDDEN, RANK, generator=generator)
    directory.mkdir(parents=True, exist_ok=True)
    save_file(weights, directory / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base),
        "r": RANK,
        "lora_alpha": RANK,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": ["q_proj", "v_proj"],
    }
    (directory / "adapter_config.json").write_text(json.dumps(config, indent=1))


def main(target: Path) -> None:
    """Write both versions and the adapter under `target`."""
    tokenizer = _tokenizer()
    _model(target / "tiny-v1", tokenizer, seed=1)
    _model(target / "tiny-v2", tokenizer, seed=2)
    _adapter(target / "tiny-lora", target / "tiny-v1", seed=3)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
