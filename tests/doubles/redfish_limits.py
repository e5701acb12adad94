"""
What a BMC lets be written: the set-point of a resource's power limit.

    PATCH .../EnvironmentMetrics  {"PowerLimitWatts": {"SetPoint": 400}}

    redfish_tree.serve(tree, limits=Limits(demands_etag=True, takes_gets=2))
    bmc.limits.patches                                # all of them, with what was said

DMTF DSP0266: a change may carry If-Match with the resource's ETag, 412 when that is stale, 428 where the service wants
one and gets none (AMI, Supermicro, Lenovo and Huawei do), 202 with a task monitor where it is done later. Resources
have the limit as the excerpt of a Control (DSP8010); with ControlMode "Disabled" it holds nothing back.
"""

import itertools
import json
import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from doubles import pages, redfish_errors
from doubles.pages import Page, Request

TASKS = "/redfish/v1/TaskService/TaskMonitors"
LIMIT = "PowerLimitWatts"
WRITABLE = frozenset({"SetPoint", "ControlMode"})
MODES = frozenset({"Automatic", "Manual", "Disabled", "Override"})

Tree = dict[str, Any]


class Patch(NamedTuple):
    """One PATCH, and what was said to it."""

    path: str
    body: bytes
    if_match: str
    status: int


@dataclass
class _Pending:
    """A change that a task is to make."""

    path: str
    change: dict[str, Any]
    gets: int
    """How many more looks, at the task or at the resource, before it is made."""


@dataclass
class Limits:
    """How power limits are written. Everything may be changed while the BMC runs."""

    is_writable: bool = True
    """Else PATCH is not allowed on anything."""
    read_only: bool = False
    """Whoever asks may only look: 403."""
    demands_etag: bool = False
    etag_in_body: bool = False
    """An ETag is told as @odata.etag only, not as a header."""
    replies: int = 200
    """To a change that is made: 200 with the resource, or 204."""
    takes_gets: int = 0
    """Not 0: a change is a task, made after so many GETs of the task or the resource."""
    task_fails: bool = False
    """A task ends with an error and changes nothing."""
    ignores: bool = False
    """It says yes and does nothing."""
    demand_w: dict[str, float] = field(default_factory=dict)
    """What each resource would draw if nothing limited it: its reading then follows, at the next GET."""
    patches: list[Patch] = field(default_factory=list)
    """In order, refused ones too."""

    def __post_init__(self) -> None:
        self._versions: dict[str, int] = {}
        self._tasks: dict[str, _Pending] = {}
        self._numbers = itertools.count(1)

    def set_points(self, path: str) -> list[float]:
        """Return the set-points that were taken for *path*, in order."""
        taken = [json.loads(made.body) for made in self.patches if made.path == path and made.status < 300]
        return [body[LIMIT]["SetPoint"] for body in taken if "SetPoint" in body[LIMIT]]

    def change(self, tree: Tree, path: str, **change: Any) -> None:
        """Change a limit from elsewhere, as another client of the BMC does: its ETag is another afterwards."""
        tree[path][LIMIT].update(change)
        self._versions[path] = self._versions.get(path, 1) + 1

    def page(self, tree: Tree, path: str) -> Page:
        """Return a resource as it is now."""
        for name, pending in list(self._tasks.items()):
            if pending.path == path:
                self._advance(tree, name)
        self._draw(tree, path)
        resource = tree[path]
        if self.etag_in_body:
            resource = {"@odata.etag": self._etag(path), **resource}
        headers = {} if self.etag_in_body else {"ETag": self._etag(path)}
        return Page(json.dumps(resource), content_type=pages.JSON, headers=headers)

    def patch(self, tree: Tree, request: Request) -> Page:
        """Return the reply to a PATCH, and make the change where there is none against it."""
        path = request.path.rstrip("/")
        page = self._patched(tree, path, request)
        if_match = request.headers.get("if-match", "")
        self.patches.append(Patch(path, request.body, if_match, page.status))
        return page

    def task(self, tree: Tree, name: str) -> Page:
        """Return what a task monitor says: 202 while it goes on, then what came of it."""
        pending = self._tasks.get(name)
        if pending is None:
            return _missing(name)
        if not self._advance(tree, name):
            return self._task_page(name)
        if self.task_fails:
            return redfish_errors.refusal(500, "OperationFailed", "An error occurred internal to the service.")
        return Page(status=204)

    def _patched(self, tree: Tree, path: str, request: Request) -> Page:
        if path not in tree:
            return _missing(path)
        against = self._unwelcome(tree[path], path, request.headers.get("if-match", ""))
        if against is not None:
            return against
        try:
            body = json.loads(request.body)
        except ValueError:
            return redfish_errors.malformed()
        return _refused(tree[path], body) or self._taken(tree, path, body[LIMIT])

    def _unwelcome(self, resource: Tree, path: str, if_match: str) -> Page | None:
        """Return what is to be said whatever the change, None where nothing is."""
        if not self.is_writable or LIMIT not in resource:
            return redfish_errors.not_allowed()
        if self.read_only:
            return redfish_errors.unprivileged()
        if self.demands_etag and not if_match:
            return redfish_errors.unconditional()
        if if_match and if_match not in {"*", self._etag(path)}:
            return redfish_errors.stale()
        return None

    def _taken(self, tree: Tree, path: str, change: dict[str, Any]) -> Page:
        if self.takes_gets:
            name = f"{TASKS}/{next(self._numbers)}"
            self._tasks[name] = _Pending(path, change, self.takes_gets)
            return self._task_page(name)
        self._make(tree, path, change)
        return Page(status=204) if self.replies == 204 else self.page(tree, path)

    def _make(self, tree: Tree, path: str, change: dict[str, Any]) -> None:
        if not self.ignores:
            self.change(tree, path, **change)

    def _advance(self, tree: Tree, name: str) -> bool:
        """Count a look at a task and tell whether it is over, in which case its change has been made."""
        pending = self._tasks[name]
        pending.gets -= 1
        if pending.gets > 0:
            return False
        del self._tasks[name]
        if not self.task_fails:
            self._make(tree, pending.path, pending.change)
        return True

    def _draw(self, tree: Tree, path: str) -> None:
        """Bring the readings of a resource to what it draws under its limit."""
        if path not in self.demand_w:
            return
        demand_w, limit = self.demand_w[path], tree[path].get(LIMIT, {})
        held = limit.get("ControlMode") != "Disabled" and limit.get("SetPoint") is not None
        draw_w = min(demand_w, limit["SetPoint"]) if held else demand_w
        tree[path].setdefault("PowerWatts", {})["Reading"] = draw_w
        if "Reading" in limit:
            limit["Reading"] = draw_w

    def _etag(self, path: str) -> str:
        """Return a resource's ETag: weak, as its readings change without it."""
        return f'W/"{self._versions.get(path, 1)}"'

    def _task_page(self, name: str) -> Page:
        task = {"@odata.type": "#Task.v1_4_3.Task", "Id": name.rpartition("/")[2], "TaskState": "Running"}
        headers = {"Location": name, "Retry-After": "1"}
        return Page(json.dumps(task), status=202, content_type=pages.JSON, headers=headers)


def _refused(resource: Tree, body: object) -> Page | None:
    """Return what is to be said against a change of *resource*, None where nothing is."""
    if not isinstance(body, dict):
        return redfish_errors.malformed()
    change = body.get(LIMIT)
    wrong = _not_to_write(body, frozenset({LIMIT}), resource)
    if wrong is not None:
        return wrong
    if not isinstance(change, dict) or not change:
        return redfish_errors.of_wrong_type(LIMIT, change)
    limit = resource[LIMIT]
    return _not_to_write(change, WRITABLE, limit) or _wrong_values(change, limit)


def _not_to_write(change: Tree, writable: frozenset[str], there: Tree) -> Page | None:
    """Refuse a property that is not *there*, or not writable."""
    for name in change:
        if name not in there:
            return redfish_errors.unknown(name)
        if name not in writable:
            return redfish_errors.unwritable(name)
    return None


def _wrong_values(change: Tree, limit: Tree) -> Page | None:
    if change.get("ControlMode", "Automatic") not in MODES:
        return redfish_errors.of_wrong_type("ControlMode", change["ControlMode"])
    if "SetPoint" not in change:
        return None
    set_point = change["SetPoint"]
    if not isinstance(set_point, (int, float)) or isinstance(set_point, bool):
        return redfish_errors.of_wrong_type("SetPoint", set_point)
    if not limit.get("AllowableMin", 0) <= set_point <= limit.get("AllowableMax", math.inf):
        return redfish_errors.out_of_range("SetPoint", set_point)
    return None


def _missing(path: str) -> Page:
    return redfish_errors.refusal(404, "ResourceMissingAtURI", f"The resource at the URI {path} was not found.")
