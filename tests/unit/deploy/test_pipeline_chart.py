"""The workers' Helm chart as a cluster gets it: valid, no rights, settings that firmwatt takes, one archive for all."""

import json
import os
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from doubles.tools import run

from pipeline.pipeline_settings import Pipeline, Upkeep
from pipeline.settings import Kafka, Site, check_tables, load

CHART = Path(__file__).parents[3] / "deploy" / "helm" / "firmwatt-pipeline"
RULES = CHART.parents[1] / "alerts" / "firmwatt-pipeline.rules.yaml"
DASHBOARD = CHART.parents[1] / "dashboards" / "firmwatt-pipeline.json"
KUBERNETES = "1.34"
OPERATORS = ("ServiceMonitor", "PrometheusRule")
"""Of the Prometheus operator: Kubernetes itself has no schema for them."""

Document = dict[str, Any]

SCRAM: Document = {
    "kafka": {"security": "sasl_ssl", "username": "worker", "telemetry_partitions": 16},
    "kafkaSecrets": {"user": "worker", "ca": "firmwatt-cluster-ca-cert"},
}
MTLS: Document = {
    "kafka": {"security": "ssl"},
    "kafkaSecrets": {"user": "worker", "ca": "firmwatt-cluster-ca-cert"},
}
BUCKET: Document = {"archive": {"s3": {"url": "s3://archive/site-1", "secret": "bucket"}}, "replicas": 4}
WATCHED: Document = {
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True},
    "dashboard": {"enabled": True},
}
FULL: Document = {
    **SCRAM,
    **BUCKET,
    **WATCHED,
    "image": {"repository": "example/firmwatt", "digest": "sha256:" + "0" * 64},
    "imagePullSecrets": [{"name": "pull"}],
    "site": {"name": 'site "1"', "timezone": "America/Los_Angeles", "interval_s": 900},
    "settings": {
        "archive_telemetry": True,
        "publish_every_s": 30,
        "keep_days": {"telemetry.host.v1": 30, "site.capacity.v1": 400},
        "upkeep": {"merge_bytes": 64000000},
        "group": "firmwatt-2",
        "replication": 3,
        "session_timeout_s": 10,
        "standby_replicas": 1,
        "portfolio": "west",
        "sites": ["site-1", "site-2"],
        "telemetry_sites": ["site-2"],
        "intervals_s": [60, 300],
    },
    "spread": "hard",
    "nodeSelector": {"pool": "general"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "priorityClassName": "high",
    "serviceAccount": {"annotations": {"role": "archive"}},
    "networkPolicy": {
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
        "egress": [{"ports": [{"port": 9093, "protocol": "TCP"}]}],
    },
}
EVERY = {"as it comes": {}, "scram": SCRAM, "mtls": MTLS, "bucket": BUCKET, "watched": WATCHED, "everything": FULL}


def helm(folder: Path, values: Document) -> "subprocess.CompletedProcess[str]":
    """Render the chart as a cluster of the version above would get it."""
    chosen = folder / "chosen.yaml"
    chosen.write_text(json.dumps(values))
    return run("helm", "template", "fw", CHART, "--namespace", "power", "--kube-version", KUBERNETES, "-f", chosen)


def rendered(folder: Path, values: Document) -> list[Document]:
    """Return what the chart makes of *values*."""
    told = helm(folder, values)
    assert told.returncode == 0, told.stderr
    return [msgspec.yaml.decode(text) for text in told.stdout.split("\n---\n") if "\nkind: " in text]


def one(documents: list[Document], kind: str, name: str = "fw-pipeline") -> Document:
    """Return the object of *kind* with *name*."""
    (found,) = (each for each in documents if each["kind"] == kind and each["metadata"]["name"] == name)
    return found


def pod(documents: list[Document]) -> Document:
    """Return the workers' pods."""
    spec: Document = one(documents, "Deployment")["spec"]["template"]["spec"]
    return spec


def settings_file(documents: list[Document], folder: Path) -> Path:
    """Return the settings file that a worker finds."""
    path = folder / "firmwatt.toml"
    path.write_text(one(documents, "ConfigMap")["data"]["firmwatt.toml"])
    return path


# ---------------------------------------------------------------- valid


def test_helm_finds_nothing_wrong_with_the_chart() -> None:
    told = run("helm", "lint", "--strict", CHART, "--kube-version", KUBERNETES)

    assert told.returncode == 0, told.stdout


@pytest.mark.parametrize("values", EVERY.values(), ids=EVERY)
def test_every_object_is_what_kubernetes_knows(tmp_path: Path, values: Document) -> None:
    """Strictly: a field in the wrong place, which a cluster would drop without a word, is refused here."""
    files = []
    for number, document in enumerate(rendered(tmp_path, values)):
        if document["kind"] not in OPERATORS:
            files.append(tmp_path / f"{number}.json")
            files[-1].write_text(json.dumps(document))

    told = run("kubernetes-validate", "--strict", "-k", KUBERNETES, *files)

    assert told.returncode == 0, told.stdout + told.stderr
    assert (told.stdout + told.stderr).count(" passed ") == len(files) >= 5


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"settings": {"publish_every_ms": 1000}}, "'publish_every_ms' not allowed"),
        ({"settings": {"publish_every_s": "1s"}}, "got string, want number"),
        ({"settings": {"keep_days": {"site.capacity.v1": 0}}}, "minimum: got 0, want 1"),
        ({"settings": {"archive": "/elsewhere"}}, "'archive' not allowed"),
        ({"setings": {}}, "'setings' not allowed"),
        ({"kafka": {"password": "hunter2"}}, "'password' not allowed"),
        ({"kafka": {"bootstrap": "kafka"}}, "/kafka/bootstrap"),
        ({"kafka": {"security": "SASL_SSL"}}, "/kafka/security"),
        ({"archive": {"s3": {"url": "https://bucket"}}}, "/archive/s3/url"),
        ({"archive": {"volume": {"size": "200"}}}, "/archive/volume/size"),
        ({"spread": "nodes"}, "/spread"),
        ({"replicas": 9}, "9 workers for 8 telemetry partitions"),
        ({"archive": {"volume": {"accessModes": ["ReadWriteOnce"]}}}, "ReadWriteMany, or archive.s3.url"),
        ({"kafka": {"security": "sasl_ssl", "username": "worker"}}, "name the Secret"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(tmp_path: Path, values: Document, complaint: str) -> None:
    """Misspelt keys, other units, secrets in the open, and what one value makes of another."""
    told = helm(tmp_path, values)

    assert told.returncode != 0
    assert complaint in told.stderr


def test_every_value_is_described_and_has_a_default() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    defaults = msgspec.yaml.decode((CHART / "values.yaml").read_text(encoding="utf-8"))

    def undescribed(node: Document, way: str) -> list[str]:
        missing = [] if "description" in node or node.get("properties") else [way]
        for name, below in node.get("properties", {}).items():
            missing += undescribed(below, f"{way}/{name}")
        return missing

    without = [way for way in undescribed(schema, "") if not way.endswith(("labels", "podAnnotations", "podLabels"))]
    assert without == ["/imagePullSecrets"]
    assert set(defaults) == set(schema["properties"]) - {"global"}


def test_every_setting_is_a_value_or_the_charts_own() -> None:
    """A setting that firmwatt gains or loses is missed here."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))["properties"]

    values = schema["settings"]["properties"]
    assert set(values) == set(Pipeline.__struct_fields__) - {"archive", "desk", "data", "listen"}
    assert set(values["upkeep"]["properties"]) == set(Upkeep.__struct_fields__)
    files = {"password_file", "ca_file", "certificate_file", "key_file"}
    assert set(schema["kafka"]["properties"]) == set(Kafka.__struct_fields__) - files


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize("values", EVERY.values(), ids=EVERY)
def test_firmwatt_takes_the_settings(tmp_path: Path, values: Document) -> None:
    path = settings_file(rendered(tmp_path, values), tmp_path)

    check_tables(path)
    load(path, "kafka", Kafka)
    load(path, "site", Site)
    assert load(path, "pipeline", Pipeline).listen == "0.0.0.0:9477"


def test_values_arrive_as_they_were_written(tmp_path: Path) -> None:
    """Quotes stay quotes, whole numbers whole, tables within tables."""
    text = settings_file(rendered(tmp_path, FULL), tmp_path).read_text()

    written = tomllib.loads(text)
    assert written["site"]["name"] == 'site "1"'
    assert written["pipeline"]["keep_days"] == {"telemetry.host.v1": 30, "site.capacity.v1": 400}
    assert written["pipeline"]["upkeep"] == {"merge_bytes": 64000000}
    assert written["pipeline"]["archive"] == "s3://archive/site-1"
    assert written["kafka"]["telemetry_partitions"] == 16


@pytest.mark.parametrize(
    ("values", "files"),
    [
        (SCRAM, {"password_file": "user/password", "ca_file": "ca/ca.crt"}),
        (MTLS, {"certificate_file": "user/user.crt", "key_file": "user/user.key", "ca_file": "ca/ca.crt"}),
        ({}, {}),
    ],
    ids=["scram", "mtls", "plaintext"],
)
def test_kafkas_secrets_are_files_where_the_settings_say(
    tmp_path: Path, values: Document, files: dict[str, str]
) -> None:
    documents = rendered(tmp_path, values)

    kafka = tomllib.loads(settings_file(documents, tmp_path).read_text())["kafka"]
    assert {name: path for name, path in kafka.items() if name.endswith("_file")} == {
        name: f"/run/firmwatt/secrets/{path}" for name, path in files.items()
    }
    mounted = {each["mountPath"] for each in pod(documents)["initContainers"][0]["volumeMounts"]}
    assert mounted >= {f"/secrets/{path.partition('/')[0]}" for path in files.values()}


def test_secrets_become_files_that_only_the_worker_reads(tmp_path: Path) -> None:
    """The kubelet mounts a Secret as links to files that a group may read, which firmwatt refuses; it gets copies."""
    command = pod(rendered(tmp_path, SCRAM))["initContainers"][0]["command"]
    for folder in ("secrets/user/..data", "run/firmwatt/secrets"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "secrets/user/..data/password").write_text("hunter2\n")
    (tmp_path / "secrets/user/..data/password").chmod(0o440)
    (tmp_path / "secrets/user/password").symlink_to("..data/password")

    script = command[-1].replace(" /secrets/", f" {tmp_path}/secrets/").replace('"/run/', f'"{tmp_path}/run/')
    subprocess.run([*command[:-1], script], check=True, env={"PATH": os.environ["PATH"]})

    secret = tmp_path / "run/firmwatt/secrets/user/password"
    assert secret.read_text() == "hunter2\n"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


# ---------------------------------------------------------------- rights, places, life


@pytest.mark.parametrize("values", EVERY.values(), ids=EVERY)
def test_a_worker_has_no_rights(tmp_path: Path, values: Document) -> None:
    workers = pod(rendered(tmp_path, values))

    assert workers["automountServiceAccountToken"] is False
    assert not {"hostPID", "hostNetwork", "hostIPC"} & set(workers)
    user = workers["securityContext"]
    assert (user["runAsNonRoot"], user["runAsUser"], user["seccompProfile"]) == (
        True,
        10001,
        {"type": "RuntimeDefault"},
    )
    for container in workers["initContainers"] + workers["containers"]:
        given = container["securityContext"]
        assert (given["allowPrivilegeEscalation"], given["readOnlyRootFilesystem"]) == (False, True)
        assert given["capabilities"] == {"drop": ["ALL"]}
        assert "cpu" not in container["resources"]["limits"]
    assert not any("hostPath" in volume for volume in workers["volumes"])


def test_everything_the_worker_writes_is_on_a_volume(tmp_path: Path) -> None:
    """Its root file system is read-only."""
    for values in ({}, BUCKET):
        documents = rendered(tmp_path, values)
        own = tomllib.loads(settings_file(documents, tmp_path).read_text())["pipeline"]
        writable = [
            each["mountPath"] for each in pod(documents)["containers"][0]["volumeMounts"] if not each.get("readOnly")
        ]
        for path in (own["desk"], own["data"], *([] if values else [own["archive"]])):
            assert any(path.startswith(f"{folder}/") for folder in writable), path


def test_the_archive_is_one_claim_that_outlives_the_release_or_a_bucket(tmp_path: Path) -> None:
    documents = rendered(tmp_path, {})
    claim = one(documents, "PersistentVolumeClaim")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    volumes = {each["name"]: each for each in pod(documents)["volumes"]}
    assert volumes["archive"]["persistentVolumeClaim"]["claimName"] == "fw-pipeline"

    other = rendered(tmp_path, {"archive": {"volume": {"existingClaim": "mine"}}})
    assert "PersistentVolumeClaim" not in {each["kind"] for each in other}

    bucket = rendered(tmp_path, BUCKET)
    assert "PersistentVolumeClaim" not in {each["kind"] for each in bucket}
    assert pod(bucket)["containers"][0]["envFrom"] == [{"secretRef": {"name": "bucket"}}]


def test_a_single_worker_may_have_a_volume_of_its_own(tmp_path: Path) -> None:
    told = helm(tmp_path, {"replicas": 1, "archive": {"volume": {"accessModes": ["ReadWriteOnce"]}}})

    assert told.returncode == 0, told.stderr


@pytest.mark.parametrize(
    ("spread", "kind"),
    [
        ("hard", "requiredDuringSchedulingIgnoredDuringExecution"),
        ("soft", "preferredDuringSchedulingIgnoredDuringExecution"),
    ],
)
def test_workers_keep_away_from_each_other(tmp_path: Path, spread: str, kind: str) -> None:
    workers = pod(rendered(tmp_path, {"spread": spread}))

    (term,) = workers["affinity"]["podAntiAffinity"][kind]
    term = term.get("podAffinityTerm", term)
    assert term["topologyKey"] == "kubernetes.io/hostname"
    labels = one(rendered(tmp_path, {}), "Deployment")["spec"]["selector"]["matchLabels"]
    assert term["labelSelector"]["matchLabels"] == labels
    assert "affinity" not in pod(rendered(tmp_path, {"spread": "none"}))


def test_drains_and_updates_take_one_worker_at_a_time(tmp_path: Path) -> None:
    documents = rendered(tmp_path, {})

    deployment = one(documents, "Deployment")["spec"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    budget = one(documents, "PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == deployment["selector"]


def test_probes_ask_the_pages_that_the_settings_open(tmp_path: Path) -> None:
    documents = rendered(tmp_path, {"port": 9999})

    worker = pod(documents)["containers"][0]
    assert worker["ports"] == [{"name": "metrics", "containerPort": 9999, "protocol": "TCP"}]
    assert worker["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}
    assert worker["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}
    assert tomllib.loads(settings_file(documents, tmp_path).read_text())["pipeline"]["listen"] == "0.0.0.0:9999"


def test_nobody_reaches_a_worker_but_who_scrapes_it(tmp_path: Path) -> None:
    """One port is open, to all or to those that are named; nothing is said of where workers may go unless asked to."""
    documents = rendered(tmp_path, {})
    policy = one(documents, "NetworkPolicy")["spec"]

    assert policy["podSelector"] == one(documents, "Deployment")["spec"]["selector"]
    assert policy["policyTypes"] == ["Ingress"]
    assert policy["ingress"] == [{"ports": [{"port": "metrics", "protocol": "TCP"}]}]
    (port,) = pod(documents)["containers"][0]["ports"]
    assert port["name"] == "metrics"

    limited = one(rendered(tmp_path, FULL), "NetworkPolicy")["spec"]
    assert limited["policyTypes"] == ["Ingress", "Egress"]
    assert limited["ingress"][0]["from"] == FULL["networkPolicy"]["metricsFrom"]
    assert limited["egress"] == FULL["networkPolicy"]["egress"]
    off = rendered(tmp_path, {"networkPolicy": {"enabled": False}})
    assert "NetworkPolicy" not in {each["kind"] for each in off}


def test_new_settings_make_new_pods(tmp_path: Path) -> None:
    def stamp(values: Document) -> str:
        made = one(rendered(tmp_path, values), "Deployment")["spec"]["template"]["metadata"]["annotations"]
        return str(made["firmwatt.io/settings"])

    assert stamp({}) == stamp({})
    assert stamp({}) != stamp({"settings": {"group": "other"}})


# ---------------------------------------------------------------- watched


def test_the_prometheus_operator_gets_the_same_rules_and_finds_the_pages(tmp_path: Path) -> None:
    documents = rendered(tmp_path, WATCHED)

    assert one(documents, "PrometheusRule", "fw-pipeline-alerts")["spec"] == msgspec.yaml.decode(RULES.read_text())
    service, monitor = one(documents, "Service"), one(documents, "ServiceMonitor")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    assert service["spec"]["selector"] == one(documents, "Deployment")["spec"]["selector"]["matchLabels"]
    assert service["spec"]["ports"][0]["targetPort"] == "metrics"


def test_grafana_gets_the_same_dashboard(tmp_path: Path) -> None:
    kept = one(rendered(tmp_path, WATCHED), "ConfigMap", "fw-pipeline-dashboard")

    assert json.loads(kept["data"]["firmwatt-pipeline.json"]) == json.loads(DASHBOARD.read_text())
    assert kept["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_a_packaged_chart_carries_rules_and_dashboard(tmp_path: Path) -> None:
    """In the repository they are links to the one file there is."""
    told = run("helm", "package", CHART, "--destination", tmp_path)
    assert told.returncode == 0, told.stderr

    shutil.unpack_archive(next(tmp_path.glob("*.tgz")), tmp_path, filter="data")

    for file in (RULES, DASHBOARD):
        assert (tmp_path / "firmwatt-pipeline/files" / file.name).read_bytes() == file.read_bytes()
