"""The Helm chart as a cluster gets it: valid, no more rights than each process needs, settings that firmwatt takes."""

import json
import os
import shutil
import stat
import subprocess
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from doubles.tools import run

from collectors import plugged, settings
from pipeline import plugins
from pipeline.settings import Kafka, Site, check_tables, load

CHART = Path(__file__).parents[3] / "deploy" / "helm" / "firmwatt-host"
RULES = CHART.parents[1] / "alerts" / "firmwatt.rules.yaml"
KUBERNETES = "1.34"
MONITORING = ("PodMonitor", "PrometheusRule")
"""Of the Prometheus operator: Kubernetes itself has no schema for them."""

Document = dict[str, Any]

PDU: Document = {
    "meter": "rack-7",
    "host": "pdu-7",
    "model": "apc-rpdu2",
    "covers": "host",
    "outlets": [3, 7],
    "community_file": "/run/firmwatt/secrets/pdu/community",
}
ON: Document = {"actuator": {"enabled": True, "dryRun": False}}
PODS: Document = {"collector": {"settings": {"mappings": ["kubernetes", "static"]}}}
WATCHED: Document = {"podMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}
FULL: Document = {
    "image": {"repository": "example/firmwatt", "digest": "sha256:" + "0" * 64},
    "imagePullSecrets": [{"name": "pull"}],
    "kafka": {"bootstrap": "kafka-1:9092,kafka-2:9092"},
    "sources": {
        "redfish": {"url": "https://bmc-@NODE_NAME@.example", "user": 'o"hara & <sons>', "password_file": "/run/bmc"},
        "snmp": {"pdu": [PDU]},
    },
    "mappings": {"kubernetes": {"namespaces": {"batch": "T3", "team.a": "T2"}, "period_s": 30}},
    "levers": {"clocks": {"restore_mhz": 1980}},
    "engines": [{"kind": "vllm", "url": "http://@HOST_IP@:8000", "job": "chat"}],
    "claims": {"GPU-8d3fb1a0-0000-0000-0000-000000000000": {"job": "a", "tier": "T3"}},
    "collector": {
        "settings": {"sources": ["nvml", "redfish", "snmp"], "mappings": ["kubernetes", "static"], "spool_mb": 1000000},
        "secrets": ["bmc"],
        "tokens": {"path": "/var/run/tokens"},
        "migMonitor": True,
    },
    "actuator": {
        "enabled": True,
        "dryRun": False,
        "settings": {"levers": ["nvml", "clocks"], "mappings": ["kubernetes"], "release_s": 30.5, "release_stages": 3},
        "secrets": ["bmc", "kafka"],
    },
    "networkPolicy": {
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
        "egress": [{"ports": [{"port": 9092, "protocol": "TCP"}]}],
    },
    **WATCHED,
}
EVERY = {"as it comes": {}, "actuator": ON, "pods": PODS, "watched": WATCHED, "everything": FULL}


@dataclass(frozen=True)
class Rendered:
    """What the chart makes of some values."""

    documents: list[Document]

    def one(self, kind: str, part: str) -> Document:
        """Return the object of *kind* that is the collector's or the actuator's."""
        found = [each for each in self.documents if each["kind"] == kind and _part(each) == part]
        assert len(found) == 1
        return found[0]

    def pod(self, part: str) -> Document:
        """Return the pods of a process."""
        spec: Document = self.one("DaemonSet", part)["spec"]["template"]["spec"]
        return spec

    def container(self, part: str, name: str = "") -> Document:
        """Return a container of its pods, by default the process itself."""
        pod = self.pod(part)
        return next(each for each in pod["initContainers"] + pod["containers"] if each["name"] == (name or part))

    def kinds(self) -> set[tuple[str, str]]:
        """Return which objects there are."""
        return {(each["kind"], _part(each)) for each in self.documents}


def _part(document: Document) -> str:
    part: str = document["metadata"]["labels"]["app.kubernetes.io/component"]
    return part


def helm(folder: Path, values: Document) -> "subprocess.CompletedProcess[str]":
    """Render the chart as a cluster of the version above would get it."""
    chosen = folder / "chosen.yaml"
    chosen.write_text(json.dumps(values))
    return run("helm", "template", "fw", CHART, "--namespace", "power", "--kube-version", KUBERNETES, "-f", chosen)


def rendered(folder: Path, values: Document) -> Rendered:
    """Return what the chart makes of *values*."""
    told = helm(folder, values)
    assert told.returncode == 0, told.stderr
    texts = [text for text in told.stdout.split("\n---\n") if "\nkind: " in text]
    return Rendered([msgspec.yaml.decode(text, type=Document) for text in texts])


def settings_file(chart: Rendered, part: str, folder: Path) -> Path:
    """Return the settings file that a process on node-1 finds."""
    text = chart.one("ConfigMap", part)["data"]["firmwatt.toml"]
    path = folder / f"{part}.toml"
    path.write_text(text.replace("@NODE_NAME@", "node-1").replace("@HOST_IP@", "192.0.2.1"))
    return path


def capabilities(container: Document) -> tuple[list[str], list[str]]:
    """Return what a container drops and what it adds."""
    given = container["securityContext"]["capabilities"]
    return given["drop"], given.get("add", [])


# ---------------------------------------------------------------- valid


def test_helm_finds_nothing_wrong_with_the_chart() -> None:
    told = run("helm", "lint", "--strict", CHART, "--kube-version", KUBERNETES)

    assert told.returncode == 0, told.stdout


@pytest.mark.parametrize("values", EVERY.values(), ids=EVERY)
def test_every_object_is_what_kubernetes_knows(tmp_path: Path, values: Document) -> None:
    """Strictly: a field in the wrong place, which a cluster would drop without a word, is refused here."""
    files = []
    for number, document in enumerate(rendered(tmp_path, values).documents):
        if document["kind"] not in MONITORING:
            files.append(tmp_path / f"{number}.json")
            files[-1].write_text(json.dumps(document))

    told = run("kubernetes-validate", "--strict", "-k", KUBERNETES, *files)

    assert told.returncode == 0, told.stdout + told.stderr
    assert (told.stdout + told.stderr).count(" passed ") == len(files) >= 4


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"collector": {"settings": {"period_ms": 1000}}}, "'period_ms' not allowed"),
        ({"collector": {"settings": {"period_s": "1s"}}}, "got string, want number"),
        ({"collector": {"settings": {"period_s": 5}}}, "maximum: got 5, want 3"),
        ({"collector": {"setings": {}}}, "'setings' not allowed"),
        ({"actuator": {"settings": {"max_cap_kw": 1}}}, "'max_cap_kw' not allowed"),
        ({"actuator": {"settings": {"levers": ["nvmll"]}}}, "/actuator/settings/levers/0"),
        ({"actuator": {"settings": {"release_stages": 2.5}}}, "got number, want integer"),
        ({"sources": {"redfish": {"password": "hunter2"}}}, "invalid propertyName 'password'"),
        ({"sources": {"redfihs": {}}}, "'redfihs' not allowed"),
        ({"claims": {"0": {"tier": "T3"}}}, "invalid propertyName '0'"),
        ({"kafka": {"bootstrap": "kafka"}}, "/kafka/bootstrap"),
        ({"collector": {"state": {"path": "var/lib"}}}, "/collector/state/path"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(tmp_path: Path, values: Document, complaint: str) -> None:
    """Misspelt keys, other units, numbers that are none, and secrets in the open."""
    told = helm(tmp_path, values)

    assert told.returncode != 0
    assert complaint in told.stderr


def test_the_two_processes_are_two_principals(tmp_path: Path) -> None:
    """What is common is said once; a password in the open is no value at all."""
    secrets = "/run/firmwatt/secrets/kafka"
    values: Document = {
        "kafka": {"bootstrap": "kafka-1:9093", "security": "sasl_ssl", "ca_file": f"{secrets}/ca.pem"},
        "collector": {"kafka": {"username": "collector", "password_file": f"{secrets}/collector"}},
        "actuator": {"enabled": True, "kafka": {"username": "actuator", "password_file": f"{secrets}/actuator"}},
    }
    chart = rendered(tmp_path, values)

    found = {part: load(settings_file(chart, part, tmp_path), "kafka", Kafka) for part in ("collector", "actuator")}

    assert {part: (kafka.username, kafka.password_file) for part, kafka in found.items()} == {
        "collector": ("collector", f"{secrets}/collector"),
        "actuator": ("actuator", f"{secrets}/actuator"),
    }
    assert {(kafka.bootstrap, kafka.ca_file) for kafka in found.values()} == {("kafka-1:9093", f"{secrets}/ca.pem")}
    assert helm(tmp_path, {"collector": {"kafka": {"password": "hunter2"}}}).returncode != 0


def test_every_key_of_kafka_can_be_set(tmp_path: Path) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))

    assert set(schema["properties"]["kafka"]["properties"]) == set(Kafka.__struct_fields__)


def test_every_value_is_described() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))

    def undescribed(node: Document, way: str) -> list[str]:
        missing = [] if "description" in node or "$ref" in node or node.get("properties") else [way]
        for name, below in node.get("properties", {}).items():
            missing += undescribed(below, f"{way}/{name}")
        return missing

    without = [way for way in undescribed(schema, "") if not way.endswith(("labels", "podAnnotations", "podLabels"))]
    assert without == ["/imagePullSecrets"]


@pytest.mark.parametrize(
    ("part", "section", "ours"),
    [
        ("collector", settings.Collector, {"host", "spool", "listen", "socket", "tokens", "actuator_metrics"}),
        ("actuator", settings.Actuator, {"host", "keyring", "journal", "metrics"}),
    ],
)
def test_every_setting_is_a_value_or_the_charts_own(part: str, section: type[msgspec.Struct], ours: set[str]) -> None:
    """A setting that firmwatt gains or loses is missed here."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))

    values = set(schema["properties"][part]["properties"]["settings"]["properties"])

    assert values == set(section.__struct_fields__) - ours


@pytest.mark.parametrize("family", ["source", "mapping", "lever"])
def test_every_plug_in_has_its_table(family: str) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))

    assert sorted(schema["properties"][f"{family}s"]["properties"]) == plugins.available(f"collectors.{family}s")


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize("values", EVERY.values(), ids=EVERY)
def test_firmwatt_takes_the_settings(tmp_path: Path, values: Document) -> None:
    chart = rendered(tmp_path, values)
    sections: dict[str, type[msgspec.Struct]] = {"collector": settings.Collector, "actuator": settings.Actuator}

    for kind, part in sorted(chart.kinds()):
        if kind != "ConfigMap":
            continue
        path = settings_file(chart, part, tmp_path)
        check_tables(path)
        plugged.check(path)
        load(path, part, sections[part])
        load(path, "kafka", Kafka)
        load(path, "site", Site)
        for family in ("source", "mapping", "lever"):
            for name in tomllib.loads(path.read_text()).get(family, {}):
                load(path, f"{family}.{name}", plugins.load(f"collectors.{family}s", name).Settings)


def test_values_arrive_as_they_were_written(tmp_path: Path) -> None:
    """Quotes, ampersands and brackets; whole numbers stay whole; tables within lists; the node's own name."""
    chart = rendered(tmp_path, FULL)

    collector = tomllib.loads(settings_file(chart, "collector", tmp_path).read_text())
    actuator = tomllib.loads(settings_file(chart, "actuator", tmp_path).read_text())

    assert collector["source"]["redfish"]["user"] == 'o"hara & <sons>'
    assert collector["source"]["redfish"]["url"] == "https://bmc-node-1.example"
    assert collector["source"]["snmp"]["pdu"] == [PDU]
    assert collector["mapping"]["kubernetes"]["namespaces"] == {"batch": "T3", "team.a": "T2"}
    assert collector["mapping"]["kubernetes"]["node"] == "node-1"
    assert collector["engine"] == [{"kind": "vllm", "url": "http://192.0.2.1:8000", "job": "chat"}]
    assert collector["collector"]["spool_mb"] == 1_000_000
    assert isinstance(actuator["actuator"]["release_stages"], int)
    assert actuator["lever"] == {"clocks": {"restore_mhz": 1980}}
    assert "source" not in actuator


def test_claims_are_the_static_mappings_file(tmp_path: Path) -> None:
    chart = rendered(tmp_path, FULL)

    for part in ("collector", "actuator"):
        data = chart.one("ConfigMap", part)["data"]
        assert tomllib.loads(data["gpus.toml"]) == FULL["claims"]
        assert tomllib.loads(data["firmwatt.toml"])["mapping"]["static"]["file"] == "/etc/firmwatt/gpus.toml"


# ---------------------------------------------------------------- rights


def test_nothing_limits_power_unless_asked_to(tmp_path: Path) -> None:
    """As it comes there is no actuator at all; once there is one it is a dry run, without any capability."""
    assert {part for _, part in rendered(tmp_path, {}).kinds()} == {"collector"}

    trial = rendered(tmp_path, {"actuator": {"enabled": True}})

    assert "--dry-run" in trial.container("actuator")["args"]
    assert capabilities(trial.container("actuator")) == (["ALL"], [])


@pytest.mark.parametrize("values", [ON, FULL], ids=["actuator", "everything"])
def test_the_actuator_has_one_capability(tmp_path: Path, values: Document) -> None:
    chart = rendered(tmp_path, values)

    assert "--dry-run" not in chart.container("actuator")["args"]
    assert capabilities(chart.container("actuator")) == (["ALL"], ["SYS_ADMIN"])
    assert capabilities(chart.container("actuator", "prepare")) == (["ALL"], [])


@pytest.mark.parametrize("values", EVERY.values(), ids=EVERY)
def test_no_pod_is_privileged_or_looks_into_its_node(tmp_path: Path, values: Document) -> None:
    chart = rendered(tmp_path, values)

    for part in sorted({part for kind, part in chart.kinds() if kind == "DaemonSet"}):
        pod = chart.pod(part)
        assert not {"hostPID", "hostNetwork", "hostIPC", "shareProcessNamespace"} & set(pod)
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["initContainers"] + pod["containers"]:
            given = container["securityContext"]
            assert "privileged" not in given
            assert (given["allowPrivilegeEscalation"], given["readOnlyRootFilesystem"]) == (False, True)
            assert "limits" in container["resources"]
            assert not any("hostPort" in port for port in container.get("ports", []))


def test_the_collector_has_no_rights(tmp_path: Path) -> None:
    """An init container may give it its folder, and does nothing else."""
    chart = rendered(tmp_path, {})

    user = chart.pod("collector")["securityContext"]
    assert (user["runAsNonRoot"], user["runAsUser"]) == (True, 10001)
    assert capabilities(chart.container("collector")) == (["ALL"], [])
    assert capabilities(chart.container("collector", "state")) == (["ALL"], ["CHOWN"])
    assert chart.container("collector", "state")["command"] == ["chown", "10001:10001", "/var/lib/firmwatt"]


def test_a_folder_that_is_prepared_otherwise_needs_no_root_at_all(tmp_path: Path) -> None:
    chart = rendered(tmp_path, {"collector": {"state": {"prepare": False}}})

    assert [each["name"] for each in chart.pod("collector")["initContainers"]] == ["prepare"]


def test_whoever_asks_for_pods_may_list_them_and_nothing_else(tmp_path: Path) -> None:
    """
    The kubelet's socket is root's, so that the collector is user 0, still without any capability.

    Its token's file is of mode 0600 only if all containers are one user and no group is given.
    """
    chart = rendered(tmp_path, PODS)
    pod = chart.pod("collector")

    assert chart.one("ClusterRole", "collector")["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}
    ]
    bound = chart.one("ClusterRoleBinding", "collector")
    assert bound["subjects"][0]["name"] == pod["serviceAccountName"] == "fw-collector"
    assert bound["subjects"][0]["namespace"] == "power"
    assert pod["securityContext"] == {"runAsUser": 0, "runAsGroup": 0, "seccompProfile": {"type": "RuntimeDefault"}}
    assert not any("runAsUser" in each["securityContext"] for each in pod["initContainers"] + pod["containers"])
    assert capabilities(chart.container("collector")) == (["ALL"], [])
    mapping = tomllib.loads(settings_file(chart, "collector", tmp_path).read_text())["mapping"]["kubernetes"]
    folders = {mount["mountPath"] for mount in chart.container("collector")["volumeMounts"] if mount.get("readOnly")}
    assert {"/var/lib/kubelet/pod-resources", str(Path(mapping["token_file"]).parent)} <= folders


def test_who_does_not_ask_for_pods_sees_neither_token_nor_socket(tmp_path: Path) -> None:
    chart = rendered(tmp_path, ON)

    assert not {kind for kind, _ in chart.kinds() if kind.startswith("ClusterRole")}
    for part in ("collector", "actuator"):
        names = {volume["name"] for volume in chart.pod(part)["volumes"]}
        assert not names & {"kubelet", "kubernetes"}
        assert chart.one("ServiceAccount", part)["automountServiceAccountToken"] is False


def test_nobody_may_connect_to_the_actuator(tmp_path: Path) -> None:
    chart = rendered(tmp_path, ON)

    refused = chart.one("NetworkPolicy", "actuator")["spec"]
    assert (refused["policyTypes"], refused["ingress"]) == (["Ingress"], [])
    assert (
        refused["podSelector"]["matchLabels"] == chart.one("DaemonSet", "actuator")["spec"]["selector"]["matchLabels"]
    )
    assert "ports" not in chart.container("actuator")
    scraped = chart.one("NetworkPolicy", "collector")["spec"]["ingress"]
    assert scraped == [{"ports": [{"port": "metrics", "protocol": "TCP"}]}]


@pytest.mark.parametrize("part", ["collector", "actuator"])
def test_gpus_are_seen_and_not_allocated(tmp_path: Path, part: str) -> None:
    chart = rendered(tmp_path, ON)

    given = {each["name"]: each.get("value") for each in chart.container(part)["env"]}
    assert (given["NVIDIA_VISIBLE_DEVICES"], given["NVIDIA_DRIVER_CAPABILITIES"]) == ("all", "utility")
    assert chart.pod(part)["runtimeClassName"] == "nvidia"
    assert not [name for kind in chart.container(part)["resources"].values() for name in kind if "nvidia" in name]


# ---------------------------------------------------------------- a life


@pytest.mark.parametrize(("release_s", "grace_s"), [(20, 60), (30.5, 71), (120, 160)])
def test_a_pod_that_is_deleted_has_time_for_the_way_back(tmp_path: Path, release_s: float, grace_s: int) -> None:
    chart = rendered(tmp_path, {"actuator": {"enabled": True, "settings": {"release_s": release_s}}})

    assert chart.pod("actuator")["terminationGracePeriodSeconds"] == grace_s


def test_journal_and_spool_outlive_the_pod(tmp_path: Path) -> None:
    chart = rendered(tmp_path, ON)

    for part, path in (("collector", "/var/lib/firmwatt"), ("actuator", "/var/lib/firmwatt-actuate")):
        volume = next(each for each in chart.pod(part)["volumes"] if each["name"] == "state")
        assert volume["hostPath"]["path"] == path
        mounted = {mount["mountPath"] for mount in chart.container(part)["volumeMounts"] if mount["name"] == "state"}
        own = tomllib.loads(settings_file(chart, part, tmp_path).read_text())[part]
        assert mounted == {own["spool"] if part == "collector" else str(Path(own["journal"]).parent)}


def test_the_collectors_page_shows_the_actuator(tmp_path: Path) -> None:
    chart = rendered(tmp_path, ON)

    shown = tomllib.loads(settings_file(chart, "collector", tmp_path).read_text())["collector"]["actuator_metrics"]
    written = tomllib.loads(settings_file(chart, "actuator", tmp_path).read_text())["actuator"]["metrics"]

    assert shown == written
    folders = [
        next(volume["hostPath"]["path"] for volume in chart.pod(part)["volumes"] if volume["name"] == name)
        for part, name in (("collector", "actuator-metrics"), ("actuator", "metrics"))
    ]
    assert folders[0] == folders[1]


@pytest.mark.parametrize(("age_s", "is_alive"), [(1, True), (60, False), (None, False)])
def test_an_actuator_that_no_longer_writes_is_killed(tmp_path: Path, age_s: int | None, is_alive: bool) -> None:  # noqa: FBT001
    command = rendered(tmp_path, ON).container("actuator")["livenessProbe"]["exec"]["command"]
    if age_s is not None:
        (tmp_path / "actuate.prom").touch()
        os.utime(tmp_path / "actuate.prom", (time.time_ns() / 1e9 - age_s,) * 2)

    here = [word.replace("/run/firmwatt-actuate", str(tmp_path)) for word in command]
    told = subprocess.run(here, check=False, capture_output=True)

    assert (told.returncode == 0) is is_alive


def test_new_settings_make_new_pods(tmp_path: Path) -> None:
    def stamp(values: Document) -> str:
        said: str = rendered(tmp_path, values).one("DaemonSet", "collector")["spec"]["template"]["metadata"][
            "annotations"
        ]["firmwatt.io/settings"]
        return said

    assert stamp({}) == stamp({})
    assert stamp({}) != stamp({"kafka": {"bootstrap": "other:9092"}})


def test_secrets_and_settings_become_files_that_only_the_process_reads(tmp_path: Path) -> None:
    """The kubelet mounts a Secret as links to files that a group may read, which firmwatt refuses; it gets copies."""
    command = rendered(tmp_path, FULL).container("collector", "prepare")["command"]
    for folder in ("config", "secrets/bmc/..data", "etc/firmwatt", "run/firmwatt/secrets"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "config/firmwatt.toml").write_text('node = "@NODE_NAME@" # @HOST_IP@\n')
    (tmp_path / "secrets/bmc/..data/password").write_text("hunter2\n")
    (tmp_path / "secrets/bmc/..data/password").chmod(0o440)
    (tmp_path / "secrets/bmc/password").symlink_to("..data/password")

    script = command[-1]
    for folder in ("/config", "/secrets", "/etc/firmwatt", "/run/firmwatt"):
        script = script.replace(f" {folder}/", f" {tmp_path}{folder}/").replace(f'"{folder}/', f'"{tmp_path}{folder}/')
    environment = {"NODE_NAME": "node-1", "HOST_IP": "192.0.2.1", "PATH": os.environ["PATH"]}
    subprocess.run([*command[:-1], script], check=True, env=environment)

    secret = tmp_path / "run/firmwatt/secrets/bmc/password"
    assert secret.read_text() == "hunter2\n"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert (tmp_path / "etc/firmwatt/firmwatt.toml").read_text() == 'node = "node-1" # 192.0.2.1\n'


# ---------------------------------------------------------------- watched


def test_the_prometheus_operator_gets_the_same_rules(tmp_path: Path) -> None:
    chart = rendered(tmp_path, WATCHED)

    assert chart.one("PrometheusRule", "alerts")["spec"] == msgspec.yaml.decode(RULES.read_text())
    endpoint = chart.one("PodMonitor", "collector")["spec"]["podMetricsEndpoints"][0]
    assert endpoint["port"] in {port["name"] for port in chart.container("collector")["ports"]}


def test_a_packaged_chart_carries_its_rules(tmp_path: Path) -> None:
    """In the repository they are a link to the one file there is."""
    told = run("helm", "package", CHART, "--destination", tmp_path)
    assert told.returncode == 0, told.stderr

    shutil.unpack_archive(next(tmp_path.glob("*.tgz")), tmp_path, filter="data")

    assert (tmp_path / "firmwatt-host/files/firmwatt.rules.yaml").read_bytes() == RULES.read_bytes()
