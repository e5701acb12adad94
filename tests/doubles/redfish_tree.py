"""
A BMC over real HTTP or HTTPS: a tree of resources behind a login, with few sessions.

    with redfish_tree.serve(redfish_tree.server(power_w=5200), user="fw", password="secret") as bmc:
        bmc.url
        bmc.tree[".../EnvironmentMetrics"]["PowerWatts"]["Reading"] = None    # from now on
        bmc.broken[path] = Page("{")                                          # a page instead of the resource
        bmc.expire()                                                          # every session is gone
        bmc.limits.demand_w[path] = 612                                       # from now on its draw follows its limit

What may be written is power limits: see `redfish_limits`.

Trees: a hand-made server with an HGX board, the DMTF's mockup and a Dell's resources as recorded.
"""

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from doubles import pages
from doubles.pages import Certificate, Page, Request
from doubles.redfish_errors import refusal
from doubles.redfish_limits import TASKS, Limits

ROOT = "/redfish/v1"
CHASSIS = f"{ROOT}/Chassis"
SYSTEMS = f"{ROOT}/Systems"
SESSIONS = f"{ROOT}/SessionService/Sessions"

Tree = dict[str, Any]


@dataclass
class Bmc:
    """A running BMC. Everything may be changed while it runs."""

    tree: Tree
    user: str = ""
    """Empty: it asks nobody who they are."""
    password: str = ""
    most_sessions: int = 4
    full_status: int = 503
    """What a BMC says when there is no session left: 503 an iDRAC, 400 others."""
    has_sessions: bool = True
    """Else it knows basic authentication only."""
    url: str = ""
    broken: dict[str, Page] = field(default_factory=dict)
    logins: int = 0
    """Attempts."""
    sessions: dict[str, str] = field(default_factory=dict)
    """Path by token."""
    asked: list[str] = field(default_factory=list)
    """Paths of resources, in the order of the requests."""
    limits: Limits = field(default_factory=Limits)
    """What it lets be written, and how."""

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)

    def expire(self) -> None:
        """End every session, as its timeout does."""
        self.sessions.clear()

    def answer(self, request: Request) -> Page:
        """Return the reply."""
        path = request.path.rstrip("/")
        if request.method == "POST" and path == SESSIONS:
            return self._log_in(request) if self.has_sessions else _error(404, "There is no session service.")
        if not self._knows(request):
            return _error(401, "The authentication credentials included with this request are missing or invalid.")
        if request.method == "DELETE":
            return self._log_out(path)
        if request.method == "PATCH":
            return self.limits.patch(self.tree, request)
        if request.method != "GET":
            return _error(405, "The HTTP method is not allowed on this resource.")
        return self._resource(path)

    def _resource(self, path: str) -> Page:
        self.asked.append(path)
        if path in self.broken:
            return self.broken[path]
        if path.startswith(TASKS):
            return self.limits.task(self.tree, path)
        if path in self.tree:
            return self.limits.page(self.tree, path)
        return _error(404, f"The resource at the URI {path} was not found.")

    def _knows(self, request: Request) -> bool:
        return (
            not self.user
            or request.headers.get("x-auth-token", "") in self.sessions
            or request.headers.get("authorization", "") == pages.basic(self.user, self.password)
        )

    def _log_in(self, request: Request) -> Page:
        self.logins += 1
        if SESSIONS in self.broken:
            return self.broken[SESSIONS]
        if json.loads(request.body) != {"UserName": self.user, "Password": self.password}:
            return _error(401, f"Login failed: {request.body.decode()}")  # as careless as a BMC can be
        if len(self.sessions) >= self.most_sessions:
            return _error(self.full_status, "The maximum number of user sessions is reached.")
        number = next(self._numbers)
        token, path = f"token-{number}", f"{SESSIONS}/{number}"
        self.sessions[token] = path
        headers = {"X-Auth-Token": token, "Location": f"{self.url}{path}"}
        return Page(json.dumps({"@odata.id": path}), status=201, content_type=pages.JSON, headers=headers)

    def _log_out(self, path: str) -> Page:
        there = [token for token, session in self.sessions.items() if session == path]
        for token in there:
            del self.sessions[token]
        return Page(status=204) if there else _error(404, "no such session")


@contextmanager
def serve(tree: Tree, tls: Certificate | None = None, **options: Any) -> Iterator[Bmc]:
    """Serve *tree* until the block ends; *options* are the fields of `Bmc`."""
    bmc = Bmc(tree, **options)
    with pages.serve(answer=bmc.answer, tls=tls) as server:
        bmc.url = server.url
        yield bmc


def server(
    power_w: float | None = 5200,
    energy_j: float | None = 9.5e9,
    gpus: int = 0,
    limit_w: tuple[float, float] | None = None,
) -> Tree:
    """
    Return a node as recent boards show it: one chassis with EnvironmentMetrics, the HGX parts inside it.

    Where *limit_w* gives a range, the node's power can be limited and is at its upper end.
    """
    environment = f"{CHASSIS}/Node/EnvironmentMetrics"
    tree: Tree = {
        CHASSIS: members(f"{CHASSIS}/Node", f"{CHASSIS}/HGX_Chassis_0"),
        f"{CHASSIS}/Node": chassis("Node", "RackMount", EnvironmentMetrics=environment),
        f"{CHASSIS}/HGX_Chassis_0": chassis("HGX_Chassis_0", "Module", inside=f"{CHASSIS}/Node"),
        environment: {"PowerWatts": {"Reading": power_w}, "EnergyJoules": {"Reading": energy_j}},
        SYSTEMS: members(f"{SYSTEMS}/HGX_Baseboard_0"),
    }
    if limit_w is not None:
        tree[environment]["PowerLimitWatts"] = power_limit(*limit_w)
    board = f"{SYSTEMS}/HGX_Baseboard_0"
    names = [f"{board}/Processors/GPU_SXM_{number}" for number in range(1, gpus + 1)]
    tree[board] = {"@odata.id": board, "Processors": {"@odata.id": f"{board}/Processors"}}
    tree[f"{board}/Processors"] = members(*names)
    for name in names:
        metrics = f"{name}/EnvironmentMetrics"
        tree[name] = {"@odata.id": name, "Model": "H100 SXM5", "EnvironmentMetrics": {"@odata.id": metrics}}
        tree[metrics] = {
            "PowerWatts": {"Reading": 612.5},
            "EnergyJoules": {"Reading": 3.25e8},
            "PowerLimitWatts": {"SetPoint": 700, "AllowableMin": 200, "AllowableMax": 700, "Reading": 650},
            "TemperatureCelsius": {"Reading": 57.5},
        }
    return tree


def power_limit(min_w: float, max_w: float) -> Tree:
    """Return a limit that lies at the upper end of its range, as the excerpt of a Control that it is (DSP8010)."""
    return {"SetPoint": max_w, "AllowableMin": min_w, "AllowableMax": max_w, "ControlMode": "Automatic"}


def chassis(name: str, kind: str, inside: str = "", **links: str) -> Tree:
    """Return a chassis resource with *links* to its parts."""
    parts = {part: {"@odata.id": path} for part, path in links.items()}
    around = {"Links": {"ContainedBy": {"@odata.id": inside}}} if inside else {}
    return {"@odata.id": f"{CHASSIS}/{name}", "Id": name, "ChassisType": kind, **around, **parts}


def members(*paths: str) -> Tree:
    """Return a collection."""
    return {"Members": [{"@odata.id": path} for path in paths], "Members@odata.count": len(paths)}


def mockup(shared_data: Path) -> Tree:
    """Return the DMTF's public-rackmount1; its chassis resource itself is not recorded and made here."""
    folder = shared_data / "data" / "redfish_power" / "dmtf_public_rackmount1"
    files = sorted(folder.rglob("index.json"))
    tree = {f"{ROOT}/{file.parent.relative_to(folder).as_posix()}": json.loads(file.read_text()) for file in files}
    parts = {part: f"{CHASSIS}/1U/{part}" for part in ("EnvironmentMetrics", "Power", "PowerSubsystem")}
    return tree | {CHASSIS: members(f"{CHASSIS}/1U"), f"{CHASSIS}/1U": chassis("1U", "RackMount", **parts)}


def dell(shared_data: Path) -> Tree:
    """Return a PowerEdge's chassis and power as its iDRAC gave them."""
    folder = shared_data / "data" / "redfish_power" / "dell"
    found = [json.loads((folder / name).read_text()) for name in ("dell_chassis.json", "dell_power.json")]
    tree = {resource["@odata.id"]: resource for resource in found}
    return tree | {CHASSIS: members(found[0]["@odata.id"])}


def _error(status: int, message: str) -> Page:
    return refusal(status, "GeneralError", message)
