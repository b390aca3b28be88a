"""Copy of LoRA adapters from the stack's bucket into the pod, before its engine starts: the engine streams its own
weights from a bucket, but takes adapters from a folder alone.

Arguments: pairs of an adapter's URI in the store and its folder. What reads the bucket is the engine's own streamer,
with the pod's own identity. Status 1 where an adapter is not there: the pod's next try may find it, once it has been
mirrored.
"""

from __future__ import annotations

import sys
from pathlib import Path

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def main(arguments: list[str]) -> int:
    """Copy each adapter's two files."""
    from runai_model_streamer import pull_files  # type: ignore[import-not-found,unused-ignore]

    for uri, folder in zip(arguments[::2], arguments[1::2], strict=True):
        Path(folder).mkdir(parents=True, exist_ok=True)
        pull_files(f"{uri.rstrip('/')}/", folder, [f"*{CONFIG}", f"*{WEIGHTS}"], None)
        missing = [name for name in (CONFIG, WEIGHTS) if not (Path(folder) / name).is_file()]
        if missing:
            print(f"error: {uri} has no {' and no '.join(missing)}; is it mirrored already?", flush=True)
            return 1
        print(f"copied {uri}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
