"""What is recorded of a chart, and what is said of values that it does not take."""

from __future__ import annotations

import datetime
import io
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from infra.workspace import PROJECT
from scripts.chart_values import ChartRecord, Kind, record_file, records, used_paths, wrong_values
from scripts.charts_page import charts_page
from scripts.record_chart_values import chart_texts, file_text, kinds

VALUES = """
replicas: 1
name:
resources: {requests: {cpu: 1}}
nodeSelector: {kubernetes.io/os: linux}
podSecurityContext: {fsGroup: 1000}
annotations: {}
flags: {verbose: 4}
ports:
  web: {port: 80, expose: {default: true}}
  secure: {port: 443, asDefault: true, expose: {inner: true}}
metrics: {enabled: false, labels: []}
"""
TEMPLATE = """
{{- /* .Values.onlyInAComment */ -}}
{{ .Values.replicas }} {{ .Values.onlyInATemplate }} {{ .Values.deep.only.here }} {{ .Values.annotations.one }}
{{ toYaml .Values.podSecurityContext.operator }}
{{- range $flag, $value := .Values.flags }}{{ $flag }}{{ end }}
{{- range $name, $port := $.Values.ports }}{{ $port.asDefault }}{{ end }}
"""
INNER = "worker: {tolerations: []}\n"
CHART = {
    "values.yaml": VALUES,
    "templates/deployment.yaml": TEMPLATE,
    "charts/inner-one/values.yaml": INNER,
    "charts/inner-one/templates/_names.tpl": "{{ .Values.nameOverride }}",
}
FOUND = kinds({PurePosixPath(path): text for path, text in CHART.items()})


def record(values: dict[str, Kind] | None = None) -> ChartRecord:
    day = datetime.date(2026, 11, 30)
    return ChartRecord(chart="try", version="1.0", date=day, source="tag 1.0", values=values or FOUND)


def wrong(**values: Any) -> list[str]:
    return wrong_values(record(), values)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("replicas", "number"),
        ("name", "null"),
        ("resources", "open"),
        ("nodeSelector", "open"),
        ("annotations", "open"),
        ("flags", "open"),
        ("metrics", "map"),
        ("metrics.enabled", "bool"),
        ("metrics.labels", "list"),
        ("onlyInATemplate", "any"),
        ("deep", "map"),
        ("deep.only.here", "any"),
        ("ports.web.asDefault", "bool"),
        ("ports.web.expose.inner", "bool"),
        ("ports.secure.expose.default", "bool"),
        ("podSecurityContext", "map"),
        ("podSecurityContext.fsGroup", "number"),
        ("podSecurityContext.operator", "any"),
        ("inner-one.worker.tolerations", "list"),
        ("inner-one.nameOverride", "any"),
        ("onlyInAComment", None),
        ("resources.requests", None),
        ("annotations.one", None),
    ],
)
def test_every_value_of_a_chart_is_found_with_its_kind(path: str, kind: str | None) -> None:
    assert FOUND.get(path) == kind


def test_an_archive_is_read_as_its_folder_is(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "try-1.0.tgz", "w:gz") as archive:
        for path, text in {**CHART, "README.md": "of no use"}.items():
            entry = tarfile.TarInfo(f"try/{path}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
            (tmp_path / "try" / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "try" / path).write_text(text)
    assert kinds(chart_texts(tmp_path / "try-1.0.tgz")) == kinds(chart_texts(tmp_path / "try")) == FOUND


def test_what_a_chart_takes_is_not_wrong() -> None:
    late = "${urn:pulumi:s::p::aws:sqs/queue:Queue::q#name}"
    assert wrong(replicas=2, name=late, resources={"limits": {"memory": "1Gi"}}, annotations={"a.b/c": "d"}) == []
    assert wrong(flags={"new-one": True}, onlyInATemplate={"any": 1}, ports={"web": {"asDefault": True}}) == []


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"replica": 1}, "replica: try 1.0 takes no such value, perhaps replicas"),
        ({"metrics": {"enable": True}}, "metrics.enable: try 1.0 takes no such value, perhaps metrics.enabled"),
        ({"inner-one": {"workers": {}}}, "inner-one.workers: try 1.0 takes no such value, perhaps inner-one.worker"),
        ({"replicas": "1"}, "replicas: is string; try 1.0 takes number"),
        ({"metrics": {"enabled": "false"}}, "metrics.enabled: is string; try 1.0 takes bool"),
        ({"metrics": {"enabled": 0}}, "metrics.enabled: is number; try 1.0 takes bool"),
        ({"metrics": {"labels": {"a": "b"}}}, "metrics.labels: is map; try 1.0 takes list"),
        ({"metrics": False}, "metrics: is bool; try 1.0 takes map"),
        ({"replicas": {"min": 1}}, "replicas: is map; try 1.0 takes number"),
        ({"resources": ["cpu"]}, "resources: is list; try 1.0 takes map"),
    ],
)
def test_a_value_that_a_chart_does_not_take_is_named_with_what_it_takes(values: dict[str, Any], sentence: str) -> None:
    assert wrong(**values) == [sentence]


def test_paths_end_where_the_chart_takes_a_value_as_it_is() -> None:
    values = {"resources": {"limits": {"cpu": 1}}, "metrics": {"labels": [{"a": 1}], "enabled": True}, "flags": {}}
    assert used_paths(record(), values) == {"resources", "metrics.labels", "metrics.enabled", "flags"}


def test_a_record_has_values_and_their_source_or_the_reason_why_not() -> None:
    plain = {"chart": "try", "version": "1.0", "date": "2026-11-30"}
    not_recorded = ChartRecord.model_validate({**plain, "reason": "its registry asks for a licence"})
    assert wrong_values(not_recorded, {"anything": 1}) == []
    for more in ({}, {"values": FOUND}, {"values": FOUND, "source": "tag 1.0", "reason": "both"}, {"source": "x"}):
        with pytest.raises(ValidationError, match="source and values, or the reason"):
            ChartRecord.model_validate({**plain, **more})


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "try.yaml").write_text(file_text(record()))
    assert records(tmp_path) == {"try": record()}
    assert record_file("oci://registry.example.com/charts/try", tmp_path) == tmp_path / "try.yaml"


@pytest.mark.parametrize("name", records())
def test_a_record_has_no_more_of_a_chart_than_names_and_kinds(name: str) -> None:
    document = yaml.safe_load(record_file(name).read_text())
    assert set(document) <= set(ChartRecord.model_fields)
    assert set(document.get("values", {}).values()) <= set(Kind.__args__)  # type: ignore[attr-defined]


def test_the_page_is_what_the_records_say() -> None:
    assert (PROJECT / "docs/charts.md").read_text() == charts_page(), "run: make docs"
    assert "| `keda` | " in charts_page()
