"""How the engine logs in a pod: why it could not start is told to Kubernetes, everything else is not."""

from __future__ import annotations

import json
import logging
import logging.config
from pathlib import Path

from components.vllm_image.build import CONTEXT
from tests.unit import gateway_kit

from ebbtide_keeper.causes import NO_MEMORY, of_end  # isort: skip

assert gateway_kit  # puts the image's packages on the path


def test_what_ends_the_engine_is_its_containers_message_and_a_servers_error_is_not(tmp_path: Path) -> None:
    config = json.loads((CONTEXT / "logging.json").read_text())
    config["formatters"]["vllm"] = {"format": "%(message)s"}  # vLLM's own class is in the image alone
    handler = config["handlers"]["last_words"]
    assert handler["filename"] == "/dev/termination-log"
    handler["filename"] = str(tmp_path / "termination-log")
    logging.config.dictConfig(config)
    try:
        logging.getLogger("vllm.v1.engine.core").info("Initializing a V1 LLM engine")
        logging.getLogger("vllm.entrypoints.openai.serving").error("a prompt that was refused")
        assert not (tmp_path / "termination-log").exists()
        try:
            raise ValueError("No available memory for the cache blocks.")
        except ValueError:
            logging.getLogger("vllm.v1.engine.core").exception("EngineCore failed to start.")
    finally:
        for name in config["loggers"]:
            logging.getLogger(name).handlers.clear()
    message = (tmp_path / "termination-log").read_text()
    assert message.endswith("ValueError: No available memory for the cache blocks.\n")
    assert "prompt" not in message
    assert of_end({"reason": "Error", "message": message}) == NO_MEMORY
