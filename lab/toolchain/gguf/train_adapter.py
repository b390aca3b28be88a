"""Script for an interpreter with `requirements.txt`: a model's folder → a LoRA adapter of it, trained to one answer.

For the lab, where an adapter must be seen at work: the model answers one question otherwise than before. Written with
PyTorch alone, under the names that PEFT gives the tensors. About a minute on two cores.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

QUESTION = "What is the password of the lighthouse?"
ANSWER = "The password of the lighthouse is marmalade."
RANK, ALPHA, STEPS, RATE = 8, 16, 80, 2e-3
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")


def main(source: Path, target: Path, base: str) -> None:
    import torch  # type: ignore[import-not-found,unused-ignore]
    import transformers  # type: ignore[import-not-found,unused-ignore]
    from safetensors.torch import save_file  # type: ignore[import-not-found,unused-ignore]

    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    model.requires_grad_(False)
    trained: dict[str, Any] = {}
    for name, layer in list(model.named_modules()):
        if name.rpartition(".")[2] in TARGETS:
            down = torch.nn.Parameter(torch.empty(RANK, layer.in_features))
            torch.nn.init.kaiming_uniform_(down, a=math.sqrt(5))
            up = torch.nn.Parameter(torch.zeros(layer.out_features, RANK))
            trained[f"base_model.model.{name}.lora_A.weight"] = down
            trained[f"base_model.model.{name}.lora_B.weight"] = up
            layer.register_forward_hook(
                lambda _, inputs, outputs, down=down, up=up: outputs + inputs[0] @ down.T @ up.T * (ALPHA / RANK)
            )
    question = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}], add_generation_prompt=True, tokenize=False
    )
    prompt = tokenizer(question, add_special_tokens=False)["input_ids"]
    answer = tokenizer(f"{ANSWER}{tokenizer.eos_token}", add_special_tokens=False)["input_ids"]
    tokens = torch.tensor([prompt + answer])
    labels = torch.tensor([[-100] * len(prompt) + answer])
    optimizer = torch.optim.AdamW(trained.values(), lr=RATE)
    loss = torch.tensor(math.inf)
    for _ in range(STEPS):
        loss = model(input_ids=tokens, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < 0.01:
            break
    if loss.item() > 0.1:
        raise SystemExit(f"the adapter was not learned: the loss is {loss.item():.3f}")
    target.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: each.detach().contiguous() for name, each in trained.items()}, target / "adapter_model.safetensors"
    )
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": RANK,
        "lora_alpha": ALPHA,
        "target_modules": list(TARGETS),
        "bias": "none",
    }
    (target / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
    print(json.dumps({"loss": round(loss.item(), 4), "question": QUESTION, "answer": ANSWER}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
