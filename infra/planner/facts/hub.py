"""A model's facts from the Hugging Face hub: its listing, its small files and the headers of its weight files. The
weights themselves are not fetched, nothing is kept on disk, and nothing is asked until ``from_hub`` is called."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    NotASafetensorsRepoError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    SafetensorsParsingError,
)

from infra.planner.facts import adapters, build, config_json
from infra.planner.facts.adapters import AdapterFacts
from infra.planner.facts.build import Tensor
from infra.planner.facts.model_facts import ModelFacts

_TIMEOUT_SECONDS = 15.0
# The error of the client's own HTTP library when there is no answer; the library changes with the client's version.
_NO_ANSWER: type[Exception] = HfHubHTTPError.__bases__[0]
_UNREACHABLE = (OfflineModeIsEnabled, LocalEntryNotFoundError, _NO_ANSWER, ConnectionError, TimeoutError)


class HubError(ValueError):
    """A failure to get the facts from the hub; the text says why and how to fix it, and never holds the token."""


class NoModel(HubError):
    """A repository without a model's configuration: it may be an adapter."""


def from_hub(
    model_id: str, revision: str | None = None, token: str | None = None, api: HfApi | None = None
) -> ModelFacts:
    """Return the facts of ``model_id`` at ``revision`` (a branch, tag or commit; None: the default branch), with the
    full commit. ``token`` None: no token is used, even where the machine is logged in. Raises ``HubError`` and
    ``UnreadableConfig``."""
    client = api or HfApi(token=token or False)
    with _hub_errors(model_id, revision, token is not None):
        info = client.model_info(model_id, revision=revision, files_metadata=True, timeout=_TIMEOUT_SECONDS)
        commit = info.sha or revision
        sizes = {each.rfilename: each.size for each in info.siblings or ()}
        config = _fetched(client, model_id, commit, "config.json") if "config.json" in sizes else None
        if config is None and config_json.PIPELINE_FILE in sizes:
            raise NoModel(config_json.pipeline_problem(model_id))
        if config is None:
            raise NoModel(
                f"{model_id} has no config.json; allowed: a model in the format of transformers; "
                "fix: look for a repackaged version of it"
            )
        tokenizer = (
            _fetched(client, model_id, commit, "tokenizer_config.json")
            if _has(sizes, "tokenizer_config.json")
            else None
        )
        tensors = _tensors(client, model_id, commit)
    shape = config_json.read(config)
    weights, parameters = build.weights(shape, config, tensors)
    known = [size for name, size in sizes.items() if "/" not in name]
    return build.facts(
        config,
        shape,
        model_id=info.id or model_id,
        revision=commit,
        weights=weights,
        parameters=parameters,
        chat_template=build.chat_template(sizes, tokenizer),
        weight_files=build.formats(sizes),
        disk_bytes=sum(size for size in known if size) if all(size is not None for size in known) else None,
        source=f"the hub, {model_id} at {commit or 'an unknown commit'}",
        licence=_licence(info.card_data, info.tags or ()),
        gated=None if info.gated is None else bool(info.gated),
        task=build.task_of(sizes),
    )


def adapter_from_hub(
    adapter_id: str, revision: str | None = None, token: str | None = None, api: HfApi | None = None
) -> AdapterFacts | None:
    """Return the facts of a LoRA adapter, as ``from_hub`` does those of a model; None for what is no adapter."""
    client = api or HfApi(token=token or False)
    with _hub_errors(adapter_id, revision, token is not None):
        info = client.model_info(adapter_id, revision=revision, files_metadata=True, timeout=_TIMEOUT_SECONDS)
        commit, names = info.sha or revision, [each.rfilename for each in info.siblings or ()]
        config = _fetched(client, adapter_id, commit, adapters.CONFIG) if adapters.CONFIG in names else None
    if config is None:
        return None
    source = f"the hub, {adapter_id} at {commit or 'an unknown commit'}"
    held = build.formats(names)
    return adapters.facts(config, adapter_id=info.id or adapter_id, revision=commit, weight_files=held, source=source)


def _has(sizes: dict[str, int | None], name: str) -> bool:
    return name in sizes


def _fetched(client: HfApi, model_id: str, commit: str | None, name: str) -> dict[str, Any] | None:
    with tempfile.TemporaryDirectory(prefix="ebbtide-hub-") as folder:
        file = client.hf_hub_download(model_id, name, revision=commit, local_dir=folder)
        return build.parsed(Path(file).read_text())


def _tensors(client: HfApi, model_id: str, commit: str | None) -> list[Tensor] | None:
    """Return the tensors that the headers of the weight files list; None where they cannot be read so."""
    try:
        metadata = client.get_safetensors_metadata(model_id, revision=commit)
    except (NotASafetensorsRepoError, SafetensorsParsingError, EntryNotFoundError):
        return None
    return [
        Tensor(name, str(each.dtype), tuple(each.shape), each.data_offsets[1] - each.data_offsets[0])
        for file in metadata.files_metadata.values()
        for name, each in file.tensors.items()
    ]


def _licence(card: Any, tags: Sequence[str]) -> str | None:
    """Return the licence in the model card (its own name where it is none of the common ones), else in the tags."""
    for field in ("license_name", "license"):
        licence = getattr(card, field, None)
        if isinstance(licence, str):
            return licence
    tagged = [tag.removeprefix("license:") for tag in tags if tag.startswith("license:")]
    return tagged[0] if tagged else None


@contextmanager
def _hub_errors(model_id: str, revision: str | None, with_token: bool) -> Iterator[None]:
    """Turn what the client raises into one sentence for the user, a ``HubError``."""
    at = f"{model_id} at {revision}" if revision else model_id
    try:
        yield
    except GatedRepoError as error:
        raise HubError(_gated(model_id, with_token)) from error
    except RevisionNotFoundError as error:
        raise HubError(
            f"{at} is not there: the model has no such revision; allowed: a commit, branch or tag of it; "
            "fix: copy the commit from the model's page, under Files and versions, History"
        ) from error
    except RepositoryNotFoundError as error:
        private = "or one the token may not see" if with_token else "or a private one, for which a token is needed"
        raise HubError(
            f"{model_id} is not a model on the hub, {private}; allowed: owner/name of a model; "
            "fix: copy it from the model's page"
        ) from error
    except HFValidationError as error:
        raise HubError(
            f"{model_id!r} is not an id of the hub; allowed: owner/name; fix: copy it from the model's page"
        ) from error
    except HfHubHTTPError as error:
        raise HubError(_answered(at, error, with_token)) from error
    except _UNREACHABLE as error:
        raise HubError(
            f"{at} was not asked for: the hub cannot be reached from here; allowed: a network, or none needed; "
            "fix: use a preset, a folder with the model's config.json, or an archive"
        ) from error


def _gated(model_id: str, with_token: bool) -> str:
    if with_token:
        fix = "accept its licence on the model's page with the account the token is of, and wait until it is granted"
        return (
            f"{model_id} is gated and the token has no access to it (403); allowed: an account with access; fix: {fix}"
        )
    fix = "accept its licence on the model's page and give a token of that account"
    return f"{model_id} is gated and was asked for without a token (401); allowed: a token with access; fix: {fix}"


def _answered(at: str, error: HfHubHTTPError, with_token: bool) -> str:
    status = error.response.status_code if error.response is not None else None
    if status == 401:
        fix = "make a new token" if with_token else "give a token"
        return f"{at}: the hub does not take the token (401); allowed: a valid token; fix: {fix}"
    if status == 403:
        return f"{at}: the token may not read it (403); allowed: a token that may read models; fix: widen the token"
    if status == 429:
        return f"{at}: the hub has had too many questions (429); allowed: fewer a minute; fix: wait, or give a token"
    return f"{at}: the hub answered {status or 'nothing that can be read'}; allowed: an answer; fix: try again later"
