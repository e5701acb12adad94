"""Kubernetes pods on this node's GPUs: a real gRPC server on a Unix socket, a real HTTPS server for the labels."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import grpc  # type: ignore[import-untyped]  # grpcio ships no types
import pytest
from doubles.commands import NOON
from doubles.kube_api import KubeApi
from doubles.kubelet import Kubelet, claimed, container, devices, gpu_pod, pod

from collectors import Place, SourceError
from collectors.claims import merged
from collectors.mappings import Claim, kubernetes
from collectors.mappings._kubelet import Pod
from collectors.mappings.kubernetes import Kubernetes, Settings, claim_of, device
from pipeline.errors import ConfigError
from pipeline.messages.telemetry import Tier, Workload
from pipeline.settings import load

# NVML counts in PCI order; on this host the driver numbered its device files the other way round.
SWAPPED = (Place(uuid="GPU-a", index=0, minor=1), Place(uuid="GPU-b", index=1, minor=0))
SPLIT = (Place(uuid="GPU-s", index=0, minor=0, mig=("MIG-1", "MIG-2")),)
REAL = "GPU-8d3fb1a0-1111-2222-3333-0123456789ab"


@pytest.fixture
def kubelet(tmp_path: Path) -> Iterator[Kubelet]:
    """Yield a kubelet without pods."""
    with Kubelet(tmp_path / "kubelet.sock").running() as running:
        yield running


@pytest.fixture
def api(tmp_path: Path) -> Iterator[KubeApi]:
    """Yield an API server without pods, whose token is in a file of ours."""
    (tmp_path / "token").write_text("the-token\n")
    (tmp_path / "token").chmod(0o600)
    with KubeApi(tmp_path).running() as running:
        yield running


def of(kubelet: Kubelet, api: KubeApi | None = None, timeout_s: float = 5.0) -> Kubernetes:
    """Return a mapping in which the namespace `batch` may wait and everybody else is interactive."""
    return kubernetes.connect(
        Settings(
            socket=str(kubelet.socket),
            timeout_s=timeout_s,
            namespaces={"batch": Tier.T3},
            default_tier=Tier.T1,
            api=api.url if api else "",
            token_file=str(api.folder / "token") if api else "",
            ca_file=str(api.ca_file) if api else "",
            node="n1",
        )
    )


def test_a_pod_claims_its_gpus_for_its_namespace(kubelet: Kubelet) -> None:
    kubelet.pods = [gpu_pod("batch", "train-0", "GPU-a", "GPU-b"), pod("batch", "web", container())]

    claims = of(kubelet).claims(NOON, SWAPPED)

    train = Claim(job="batch/train-0", tenant="batch", tier=Tier.T3)
    assert claims == {"GPU-a": train, "GPU-b": train}


def test_a_namespace_of_which_nothing_is_said_has_the_default_tier(kubelet: Kubelet) -> None:
    kubelet.pods = [gpu_pod("web", "chat", "GPU-a")]

    assert of(kubelet).claims(NOON, SWAPPED) == {"GPU-a": Claim(job="web/chat", tenant="web", tier=Tier.T1)}


def test_every_container_of_a_pod_counts(kubelet: Kubelet) -> None:
    kubelet.pods = [
        pod(
            "batch",
            "two",
            container(devices("nvidia.com/gpu", "GPU-a")),
            container(devices("cpu.example/x", "7"), devices("nvidia.com/gpu", "GPU-b")),
        )
    ]

    assert set(of(kubelet).claims(NOON, SWAPPED)) == {"GPU-a", "GPU-b"}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("GPU-a", ("GPU-a", None)),
        ("GPU-a::3", ("GPU-a", None)),
        ("MIG-1", ("MIG-1", None)),
        ("MIG-1::0", ("MIG-1", None)),
        ("MIG-GPU-a/7/0", ("MIG-GPU-a/7/0", None)),
        ("nvidia0", ("GPU-b", None)),
        ("nvidia1", ("GPU-a", None)),
        ("nvidia1/vgpu0", ("GPU-a", None)),
        ("nvidia1/gi7", ("GPU-a", 7)),
        ("nvidia1/gi7/vgpu2", ("GPU-a", 7)),
        ("nvidia2", None),
        ("nvidiactl", None),
        ("0000:c1:00.0", None),
        ("", None),
    ],
)
def test_device_ids_of_nvidias_and_gkes_plugins_name_a_gpu(name: str, told: tuple[str, int | None] | None) -> None:
    """GKE's are device files: nvidia0 is minor 0, which NVML has second on this host."""
    assert device(name, SWAPPED) == told


def test_a_gpu_of_another_maker_is_known_by_the_uuid_its_source_reports() -> None:
    places = (Place(uuid="e9ff74a1-0000-1000-8036-6ea8e9c7eaee", index=0),)

    assert device("e9ff74a1-0000-1000-8036-6ea8e9c7eaee", places) == ("e9ff74a1-0000-1000-8036-6ea8e9c7eaee", None)


@pytest.mark.parametrize(
    "resource", ["nvidia.com/gpu", "nvidia.com/gpu.shared", "nvidia.com/mig-1g.10gb", "amd.com/gpu"]
)
def test_gpus_are_known_by_the_beginning_of_their_resource(kubelet: Kubelet, resource: str) -> None:
    kubelet.pods = [gpu_pod("web", "chat", "GPU-a", resource=resource)]

    assert set(of(kubelet).claims(NOON, SWAPPED)) == {"GPU-a"}


def test_devices_that_are_no_gpus_are_passed_over_in_silence(kubelet: Kubelet) -> None:
    kubelet.pods = [gpu_pod("web", "chat", "mlx5_0", resource="rdma/hca")]
    mapping = of(kubelet)

    assert (mapping.claims(NOON, SWAPPED), mapping.troubles) == ({}, ())


def test_of_pods_that_share_a_gpu_in_time_the_most_protected_one_holds(kubelet: Kubelet) -> None:
    kubelet.pods = [gpu_pod("batch", "train", "GPU-a::0"), gpu_pod("web", "chat", "GPU-a::1")]

    assert of(kubelet).claims(NOON, SWAPPED) == {"GPU-a": Claim(job="web/chat", tenant="web", tier=Tier.T1)}


def test_of_pods_on_the_instances_of_a_mig_gpu_the_most_protected_one_holds(kubelet: Kubelet) -> None:
    kubelet.pods = [
        gpu_pod("batch", "train", "MIG-1", resource="nvidia.com/mig-3g.40gb"),
        gpu_pod("web", "chat", "MIG-2", resource="nvidia.com/mig-3g.40gb"),
    ]

    claims = merged([of(kubelet).claims(NOON, SPLIT)], SPLIT)

    assert claims == {"GPU-s": Claim(job="web/chat", tenant="web", tier=Tier.T1)}


def test_gkes_numbered_instances_are_folded_into_their_gpu(kubelet: Kubelet) -> None:
    kubelet.pods = [gpu_pod("batch", "train", "nvidia0/gi1"), gpu_pod("web", "chat", "nvidia0/gi2")]

    claims = merged([of(kubelet).claims(NOON, SPLIT)], SPLIT)

    assert claims == {"GPU-s": Claim(job="web/chat", tenant="web", tier=Tier.T1)}


def test_a_device_that_no_source_tells_of_is_named(kubelet: Kubelet) -> None:
    kubelet.pods = [gpu_pod("web", "chat", "0000:c1:00.0", resource="amd.com/gpu"), gpu_pod("web", "x", "GPU-a")]
    mapping = of(kubelet)

    assert set(mapping.claims(NOON, SWAPPED)) == {"GPU-a"}
    assert mapping.troubles == ("pod web/chat: which GPU 0000:c1:00.0 is, no source here knows",)


def test_a_claimed_device_whose_uuid_is_in_its_names_is_told(kubelet: Kubelet) -> None:
    kubelet.pods = [pod("batch", "dra", container(claimed("gpu.nvidia.com", "gpu-0", f"nvidia.com/gpu={REAL}")))]
    mapping = of(kubelet)

    assert mapping.claims(NOON, ()) == {REAL: Claim(job="batch/dra", tenant="batch", tier=Tier.T3)}
    assert mapping.troubles == ()


def test_a_claimed_device_that_only_resource_slices_tell_is_named(kubelet: Kubelet) -> None:
    """And its GPU stays T0, because nobody has claimed it. Other drivers' devices are no GPUs."""
    kubelet.pods = [
        pod(
            "batch",
            "dra",
            container(
                claimed("gpu.nvidia.com", "gpu-0", "k8s.gpu.nvidia.com/claim=5ec-gpu-0"),
                claimed("nic.example", "nic-0"),
            ),
        )
    ]
    mapping = of(kubelet)

    assert mapping.claims(NOON, SWAPPED) == {}
    (trouble,) = mapping.troubles
    assert trouble.startswith("pod batch/dra: which GPU gpu-0 of its resource claim is, only ResourceSlices tell")


def test_a_large_node_fits_one_answer(kubelet: Kubelet) -> None:
    """Five megabytes, more than grpcio takes unless told."""
    kubelet.pods = [gpu_pod("web", f"chat-{number}-{'x' * 240}", "GPU-a" + "0" * 4800) for number in range(1000)]

    (claim,) = of(kubelet).claims(NOON, ()).values()

    assert claim.tenant == "web"


def test_the_kubelet_is_asked_once_a_period_and_places_are_looked_up_anew(kubelet: Kubelet) -> None:
    """NVML may come after the kubelet: what was not known at first is told without asking again."""
    kubelet.pods = [gpu_pod("web", "chat", "nvidia0")]
    mapping = of(kubelet)

    told = [set(mapping.claims(NOON, ())), set(mapping.claims(NOON + timedelta(seconds=9), SWAPPED))]
    mapping.claims(NOON + timedelta(seconds=10), SWAPPED)

    assert told == [set(), {"GPU-b"}]
    assert kubelet.calls == 2


def test_a_failing_kubelet_is_asked_again_only_at_the_next_period(kubelet: Kubelet) -> None:
    kubelet.refusal = grpc.StatusCode.RESOURCE_EXHAUSTED
    mapping = of(kubelet)

    for second in (0, 1, 5, 9):
        with pytest.raises(SourceError, match="refused: RESOURCE_EXHAUSTED as the test wants it"):
            mapping.claims(NOON + timedelta(seconds=second), SWAPPED)
    kubelet.refusal = None
    mapping.claims(NOON + timedelta(seconds=10), SWAPPED)

    assert kubelet.calls == 2


def test_a_kubelet_too_old_for_v1_is_named(kubelet: Kubelet) -> None:
    kubelet.refusal = grpc.StatusCode.UNIMPLEMENTED

    with pytest.raises(SourceError, match=r"needs Kubernetes 1\.20"):
        of(kubelet).claims(NOON, ())


def test_a_kubelet_that_hangs_is_given_up(kubelet: Kubelet) -> None:
    kubelet.let_go = threading.Event()
    started = time.monotonic()

    with pytest.raises(SourceError, match=r"did not answer within 0\.2 s"):
        of(kubelet, timeout_s=0.2).claims(NOON, ())

    assert time.monotonic() - started < 10


def test_a_kubelet_that_is_not_here_is_an_error_that_says_what_to_look_at(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no kubelet at .*kubelet\.sock: does it run here, and is its .* mounted"):
        of(Kubelet(tmp_path / "kubelet.sock")).claims(NOON, ())


def test_a_kubelet_that_is_down_is_found_again_when_it_is_back(tmp_path: Path) -> None:
    """Its socket is left behind; the next question after its return is answered, without a pause for reconnecting."""
    double = Kubelet(tmp_path / "kubelet.sock", [gpu_pod("web", "chat", "GPU-a")])
    with double.running():
        mapping = of(double)
        mapping.claims(NOON, ())
    double.socket.unlink(missing_ok=True)
    with pytest.raises(SourceError, match="kubelet"):
        mapping.claims(NOON + timedelta(seconds=10), ())

    with double.running():
        assert set(mapping.claims(NOON + timedelta(seconds=20), ())) == {"GPU-a"}


UNPRIVILEGED = """
import os, sys
from collectors import SourceError
from collectors.mappings._kubelet import Kubelet
kubelet = Kubelet(sys.argv[1], 2)
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    kubelet.pods()
except SourceError as error:
    sys.stdout.write(str(error))
"""


def test_without_permission_the_error_says_what_to_do(tmp_path: Path) -> None:
    """Asked by a process of its own, which is not root: the folder is its owner's, as the kubelet's is root's."""
    folder = tmp_path / "pod-resources"
    folder.mkdir()
    with Kubelet(folder / "kubelet.sock").running() as double:
        folder.chmod(0o000)

        done = subprocess.run(
            [sys.executable, "-c", UNPRIVILEGED, str(double.socket)], capture_output=True, text=True, check=False
        )
        folder.chmod(0o700)

    assert done.stdout == (
        f"may not open {double.socket}, which is root's: run this collector as root or with CAP_DAC_OVERRIDE;"
        " in a pod, mount its folder and run as user 0"
    )


def test_without_its_libraries_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['grpc'] = None\n"
        "from collectors.mappings import kubernetes\n"
        "from pipeline.errors import ConfigError\n"
        "try: kubernetes.connect(kubernetes.Settings())\n"
        "except ConfigError as error: sys.stdout.write(str(error))\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stdout == "mapping kubernetes needs grpcio and protobuf: install firmwatt[kubernetes]"


CHAT = Pod("web", "chat")
SETTINGS = Settings(namespaces={"web": Tier.T2}, default_tier=Tier.T3)


def test_labels_say_tier_workload_model_and_job() -> None:
    labels = {
        "firmwatt.io/tier": "T1",
        "firmwatt.io/workload": "inference",
        "firmwatt.io/model": "llama-8b",
        "firmwatt.io/job": "chat-eu",
    }

    assert claim_of(CHAT, labels, SETTINGS) == (
        Claim(job="chat-eu", tenant="web", tier=Tier.T1, workload=Workload.INFERENCE, served_model="llama-8b"),
        "",
    )


def test_the_tier_is_the_labels_then_the_namespaces_then_the_default() -> None:
    tiers = [
        claim_of(CHAT, {"firmwatt.io/tier": "T0"}, SETTINGS),
        claim_of(CHAT, {}, SETTINGS),
        claim_of(Pod("else", "chat"), {}, SETTINGS),
    ]

    assert [claim.tier for claim, _ in tiers] == [Tier.T0, Tier.T2, Tier.T3]


def test_a_pod_whose_labels_should_be_known_and_are_not_is_t0() -> None:
    assert claim_of(CHAT, None, SETTINGS) == (Claim(job="web/chat", tenant="web"), "")


def test_a_tier_that_is_none_is_t0_and_said() -> None:
    claim, trouble = claim_of(CHAT, {"firmwatt.io/tier": "gold", "firmwatt.io/workload": "mining"}, SETTINGS)

    assert (claim.tier, claim.workload) == (Tier.T0, Workload.UNKNOWN)
    assert trouble == (
        "pod web/chat: firmwatt.io/tier=gold is none of T0, T1, T2, T3: it is T0;"
        " firmwatt.io/workload=mining is none of training, inference, idle, unknown"
    )


def test_labels_come_from_the_api_for_the_pods_of_this_node(kubelet: Kubelet, api: KubeApi) -> None:
    kubelet.pods = [gpu_pod("web", "chat", "GPU-a"), gpu_pod("batch", "train", "GPU-b")]
    api.pods = {("n1", "web", "chat"): {"firmwatt.io/tier": "T2"}, ("n1", "batch", "train"): {}}

    claims = of(kubelet, api).claims(NOON, SWAPPED)

    assert {uuid: claim.tier for uuid, claim in claims.items()} == {"GPU-a": Tier.T2, "GPU-b": Tier.T3}


def test_a_pod_that_the_api_does_not_list_is_t0_and_the_node_is_doubted(kubelet: Kubelet, api: KubeApi) -> None:
    kubelet.pods = [gpu_pod("batch", "train", "GPU-b")]
    api.pods = {("n2", "batch", "train"): {}}
    mapping = of(kubelet, api)

    assert mapping.claims(NOON, SWAPPED)["GPU-b"].tier is Tier.T0
    assert mapping.troubles == ("pod batch/train: the API tells no labels of it on node n1; until then it is T0",)


def test_while_the_api_is_away_labels_are_known_for_three_periods(kubelet: Kubelet, api: KubeApi) -> None:
    """Asked at noon, then every 10 s: what it said holds until 12:00:30, exclusively."""
    kubelet.pods = [gpu_pod("web", "chat", "GPU-a")]
    api.pods = {("n1", "web", "chat"): {"firmwatt.io/tier": "T2"}}
    mapping = of(kubelet, api)
    mapping.claims(NOON, SWAPPED)
    api.status = 503

    tiers = [mapping.claims(NOON + timedelta(seconds=s), SWAPPED)["GPU-a"].tier for s in (10, 29, 30)]

    assert tiers == [Tier.T2, Tier.T2, Tier.T0]
    assert f"{api.url}: status 503 for the pods of n1" in mapping.troubles


@pytest.mark.parametrize(
    ("status", "said"), [(401, "the token in .*token is not accepted"), (403, "ClusterRole with get and list on pods")]
)
def test_a_token_that_may_not_is_an_error_that_says_what_to_give_it(
    kubelet: Kubelet, api: KubeApi, status: int, said: str
) -> None:
    kubelet.pods = [gpu_pod("web", "chat", "GPU-a")]
    api.status = status
    mapping = of(kubelet, api)
    mapping.claims(NOON, SWAPPED)

    assert re.search(said, mapping.troubles[0])


def test_a_token_that_was_renewed_is_used_at_once(kubelet: Kubelet, api: KubeApi) -> None:
    """The kubelet renews a projected token every hour."""
    kubelet.pods = [gpu_pod("web", "chat", "GPU-a")]
    api.pods = {("n1", "web", "chat"): {"firmwatt.io/tier": "T2"}}
    mapping = of(kubelet, api)
    mapping.claims(NOON, SWAPPED)
    api.token = "another"
    (api.folder / "token").write_text("another\n")

    mapping.claims(NOON + timedelta(seconds=10), SWAPPED)

    assert mapping.troubles == ()
    assert api.calls == 2


def test_a_token_that_others_may_read_is_refused_and_never_sent_or_shown(kubelet: Kubelet, api: KubeApi) -> None:
    kubelet.pods = [gpu_pod("web", "chat", "GPU-a")]
    (api.folder / "token").chmod(0o644)
    mapping = of(kubelet, api)

    claims = mapping.claims(NOON, SWAPPED)

    assert claims["GPU-a"].tier is Tier.T0
    assert "mode 0644" in mapping.troubles[0]
    assert "the-token" not in " ".join(mapping.troubles)
    assert api.calls == 0


def test_a_server_that_the_ca_does_not_vouch_for_gets_no_token(kubelet: Kubelet, api: KubeApi, tmp_path: Path) -> None:
    kubelet.pods = [gpu_pod("web", "chat", "GPU-a")]
    (tmp_path / "other").mkdir()
    with KubeApi(tmp_path / "other").running() as other:
        api.url = other.url
        mapping = of(kubelet, api)
        mapping.claims(NOON, SWAPPED)

    assert "self-signed certificate" in mapping.troubles[0]
    assert other.calls == 0


def test_an_api_that_answers_something_else_is_an_error(kubelet: Kubelet, api: KubeApi) -> None:
    kubelet.pods = [gpu_pod("web", "chat", "GPU-a")]
    api.body = b"<html>"
    mapping = of(kubelet, api)
    mapping.claims(NOON, SWAPPED)

    assert "answered no list of pods" in mapping.troubles[0]


def test_a_node_without_gpu_pods_does_not_ask_the_api(kubelet: Kubelet, api: KubeApi) -> None:
    of(kubelet, api).claims(NOON, SWAPPED)

    assert api.calls == 0


def test_an_api_elsewhere_without_encryption_is_refused() -> None:
    with pytest.raises(ConfigError, match="not https"):
        kubernetes.connect(Settings(api="http://10.0.0.1:8080"))
    assert kubernetes.connect(Settings(api="http://127.0.0.1:8001")).period_s == 10


def test_settings_are_read_from_their_tables(tmp_path: Path) -> None:
    path = tmp_path / "firmwatt.toml"
    path.write_text(
        '[mapping.kubernetes]\ndefault_tier = "T1"\nperiod_s = 15\n[mapping.kubernetes.namespaces]\nbatch = "T3"\n'
    )

    settings = load(path, "mapping.kubernetes", Settings)

    assert (settings.namespaces, settings.default_tier, settings.period_s) == ({"batch": Tier.T3}, Tier.T1, 15)
