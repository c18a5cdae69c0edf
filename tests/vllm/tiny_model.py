"""Makes a Llama of two layers with random weights, and a tokenizer for it; runs in vLLM's environment.

python tests/vllm/tiny_model.py FOLDER [DTYPE|bert]: `bert` makes a BERT of one layer, for embeddings
"""

import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEXT = "the quick brown fox jumps over the lazy dog, hello world tokens cost money per gpu second"
LONGEST = 16_384
CHAT = "{% for m in messages %}{{ m['content'] }}{% endfor %}"


def tokenizer() -> PreTrainedTokenizerFast:
    """320 tokens, of bytes and of pairs in one sentence."""
    bpe = Tokenizer(models.BPE(unk_token=None))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<pad>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        [TEXT] * 4, trainers.BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=alphabet)
    )
    names = {"bos_token": special[0], "eos_token": special[1], "pad_token": special[2]}
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, model_max_length=LONGEST, chat_template=CHAT, **names
    )


def main(folder: str, dtype: str = "bfloat16") -> None:
    """Write both into a folder."""
    words = tokenizer()
    words.save_pretrained(folder)
    # The class as releases before transformers 5 know it, too.
    described = Path(folder) / "tokenizer_config.json"
    named = json.loads(described.read_text(encoding="utf-8")) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    described.write_text(json.dumps(named), encoding="utf-8")
    torch.manual_seed(0)
    if dtype == "bert":
        small = BertConfig(
            vocab_size=len(words),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=1,
            num_attention_heads=2,
            pad_token_id=2,
        )
        BertModel(small).save_pretrained(folder)
        return
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=LONGEST,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    LlamaForCausalLM(config).to(getattr(torch, dtype)).save_pretrained(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
