"""What the mock does for each operation of the published document: offers, results, notifications, transactions."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from doubles.miso.gateway import Answer, Call, Gateway, Handler, Message, Refusal, Transaction
from doubles.miso.market import OFFER_TYPES, begin, curve_of, label, today

Unit = tuple[str, int]
"""A resource and an hour."""


def _get_schedule(gateway: Gateway, call: Call) -> Answer:
    return Answer(200, gateway.market.schedule(call.named["market"], call.day, _resources(gateway, call)))


def _resources(gateway: Gateway, call: Call) -> list[str]:
    """Return the resources that are asked for."""
    name = call.query.get("pnode")
    if name is not None and name not in gateway.market.resources:
        raise Refusal(404, ("NO_RESOURCE", f"there is no {name}", (name,)))
    return [name] if name is not None else sorted(gateway.market.resources)


def _post_schedule(gateway: Gateway, call: Call) -> Answer:
    """Apply the hours that are in order; refuse the document where none is."""
    day = _same_day(call)
    number, faults = call.request.number, gateway.faults
    units = sorted(set(_units(call.body)))
    wrong = [problem for unit in units for problem in _problems(gateway, call, unit)]
    if any(name == "MARKET_CLOSED" for name, _, _ in wrong):
        gateway.audit["after_gate"] += 1
    if faults.hits("reject", number, faults.reject_share):
        wrong = [("REFUSED", "refused as ordered", (resource, str(hour))) for resource, hour in units]
    elif faults.hits("partial", number, faults.partial_share):
        dropped = sorted(faults.chosen("drop", number, units))
        wrong += [("REFUSED", "refused as ordered", (resource, str(hour))) for resource, hour in dropped]
    bad = {(params[0], int(params[1])) for _, _, params in wrong}
    good = [unit for unit in units if unit not in bad]
    if wrong and not good:
        raise Refusal(400, *wrong)
    stale = [
        gateway.market.apply(
            entry["pnodeName"], offer, day, {hour for name, hour in good if name == entry["pnodeName"]}
        )
        for entry in call.body["resources"]
        for offer in entry["offers"]
    ]
    _count(gateway, call, stale=any(stale))
    if faults.hits("cancel", number, faults.cancel_share):
        _cancel(gateway, call, day, faults.chosen("cancelled", number, good))
    return Answer(200, gateway.response(call.request, call.now, "SUBMITTED", tuple(wrong)), changed=True)


def _units(body: Any) -> list[Unit]:
    return [
        (entry["pnodeName"], content["hour"])
        for entry in body["resources"]
        for offer in entry["offers"]
        for value in offer.values()
        if isinstance(value, list)
        for content in value
    ]


def _problems(gateway: Gateway, call: Call, unit: Unit) -> list[Message]:
    """Return what is wrong with one hour of one resource."""
    resource, hour = unit
    params = (resource, str(hour))
    if resource not in gateway.market.resources:
        return [("NO_RESOURCE", f"there is no {resource}", params)]
    found: list[Message] = []
    for entry in call.body["resources"]:
        for offer in entry["offers"] if entry["pnodeName"] == resource else ():
            if offer["offerType"] != OFFER_TYPES[gateway.market.resources[resource]]:
                found.append(("WRONG_TYPE", f"{resource} is no {offer['offerType']}", params))
            if call.named["market"] not in {offer["market"], "both"}:
                found.append(("WRONG_MARKET", f"{offer['market']} is not the path's market", params))
            if gateway.market.closed(offer["market"], call.day, hour, call.now):
                found.append(("MARKET_CLOSED", f"the gate of hour {hour} is closed", params))
            found += [("BAD_CURVE", text, params) for text in _curve_problems(offer, hour)]
    return found


def _curve_problems(offer: dict[str, Any], hour: int) -> list[str]:
    found = []
    for name, value in offer.items():
        for content in value if isinstance(value, list) else ():
            curve = curve_of(content) if content["hour"] == hour else []
            mws, prices = [mw for mw, _ in curve], [price for _, price in curve]
            if any(mw <= 0 for mw in mws) or sorted(set(mws)) != mws:
                found.append(f"{name}: MW do not rise")
            if sorted(prices) != prices:
                found.append(f"{name}: prices fall")
    return found


def _same_day(call: Call) -> date:
    if call.body["day"] != call.named["day"]:
        raise Refusal(400, ("WRONG_DAY", "the day in the path is not the document's", ()))
    return call.day


def _count(gateway: Gateway, call: Call, *, stale: bool) -> None:
    key = (call.request.path, call.request.body)
    offers = any(
        curve_of(content)
        for entry in call.body["resources"]
        for offer in entry["offers"]
        for value in offer.values()
        if isinstance(value, list)
        for content in value
    )
    if not offers:
        gateway.audit["withdrawals_applied"] += 1
        return
    gateway.audit["submissions_applied"] += 1
    gateway.audit["duplicate_submissions"] += int(key in gateway.seen)
    gateway.audit["stale"] += int(stale)
    gateway.seen.add(key)


def _cancel(gateway: Gateway, call: Call, day: date, units: set[Unit]) -> None:
    markets = {(entry["pnodeName"], offer["market"]) for entry in call.body["resources"] for offer in entry["offers"]}
    for resource, hour in units:
        for name, market in markets:
            if name == resource:
                gateway.market.take_back(resource, market, day, hour)
    gateway.audit["cancelled"] += len(units)


def _post_overrides(gateway: Gateway, call: Call) -> Answer:
    day = _same_day(call)
    hour = next(hour for hour in range(24, 0, -1) if begin(today(call.now), hour) <= call.now)
    for entry in call.body["resources"]:
        resource = entry["pnodeName"]
        if resource not in gateway.market.resources or day != today(call.now):
            raise Refusal(400, ("NOT_NOW", "overrides are for today's resources", (resource,)))
        for offer in entry["offers"]:
            (said,) = offer["effectiveOfferOverrides"]
            if said.get("checkHour", hour) != hour:
                raise Refusal(400, ("CHECK_HOUR", f"the running hour is {hour}", (resource, str(hour))))
            target = said.get("drr1OfferOverrides", {}).get("targetDemandReductionMW")
            limit = said.get("unitLimitOverrides", {}).get("economicLimits", {}).get("maxMW")
            mw = target if target is not None else limit
            if mw is not None:
                gateway.market.overrides[resource, day, hour] = Decimal(mw)
    gateway.audit["overrides_applied"] += 1
    return Answer(200, gateway.response(call.request, call.now, "SUBMITTED", ()), changed=True)


def _get_qualification(gateway: Gateway, call: Call) -> Answer:
    return Answer(200, gateway.market.qualification(call.named["market"], call.day, _resources(gateway, call)))


def _get_results(gateway: Gateway, call: Call) -> Answer:
    if not gateway.market.closed("day-ahead", call.day, 1, call.now):
        raise Refusal(404, ("NOT_CLEARED", f"{call.day} is not cleared yet", (str(call.day),)))
    return Answer(200, gateway.market.results(call.day, _resources(gateway, call)))


def _get_dispatch(gateway: Gateway, call: Call) -> Answer:
    entries = [
        _notification(gateway, call, "Dispatch Instruction", at, {"dispatchInstructions": [said]})
        for resource in _resources(gateway, call)
        for at, said in gateway.market.instructions(resource, call.day, call.now)
    ]
    return Answer(200, _page(call, entries, "size"))


def _get_deployments(gateway: Gateway, call: Call) -> Answer:
    wanted = _resources(gateway, call)
    entries = [
        _notification(
            gateway,
            call,
            "Contingency Reserve",
            at,
            {"crDeployments": [{"pnodeName": resource, "timestamp": label(at), "mw": mw}]},
        )
        for resource, at, mw in gateway.market.deployments
        if resource in wanted and today(at) == call.day
    ]
    return Answer(200, _page(call, entries, "size"))


def _notification(gateway: Gateway, call: Call, kind: str, at: datetime, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "eventType": kind,
        "status": "SENT",
        "effectiveTime": label(at),
        "terminationTime": label(at + timedelta(minutes=5)),
        "version": "1.0.0",
        "participantName": gateway.participant,
        "created": label(at),
        "requestPayload": {"test": False, "notificationData": data},
        "responses": [{"responseCode": 200, "created": label(at), "retryCount": 0}],
    }


def _page(call: Call, entries: list[Any], size_name: str) -> list[Any]:
    """Return one page, the newest entry first."""
    size, page = int(call.query.get(size_name, "100")), int(call.query.get("page", "0"))
    newest = entries[::-1]
    return newest[page * size : (page + 1) * size]


def _get_transactions(gateway: Gateway, call: Call) -> Answer:
    since = call.query.get("startDateTime")
    start = datetime.fromisoformat(since) if since else None
    kind = call.query.get("operationTypes", "POST")
    entries = [
        _event(gateway, entry)
        for entry in gateway.log
        if entry.request.method == kind and (start is None or entry.at >= start)
    ]
    return Answer(200, _page(call, entries, "pagesize"))


def _event(gateway: Gateway, entry: Transaction) -> dict[str, Any]:
    return {
        "mrid": entry.mrid,
        "transactionId": gateway.transaction_id(entry.number),
        "eventTime": label(entry.at),
        "operationType": entry.request.method,
        "transactionState": "SUCCESS" if entry.answer.status == 200 else "FAILED",
        "processingTime": 0,
        "serviceName": "mps",
        "urlPath": entry.request.path,
        "participantName": gateway.participant,
        "submitterName": entry.request.sender or "",
        "httpResponseCode": str(entry.answer.status),
    }


def _get_payload(gateway: Gateway, call: Call) -> Answer:
    entry = next((one for one in gateway.log if one.mrid == call.named["mrid"]), None)
    if entry is None:
        raise Refusal(404, ("NO_TRANSACTION", f"there is no {call.named['mrid']}", (call.named["mrid"],)))
    kind = call.named["payloadType"]
    content = entry.request.body if kind == "INCOMING" else entry.replied
    return Answer(
        200,
        {
            "mrid": entry.mrid,
            "payloadType": kind,
            "payloadDocument": content.decode(errors="replace"),
            "transactionEvent": _event(gateway, entry),
        },
    )


HANDLERS: Mapping[str, Handler] = {
    "getScheduleOffer": _get_schedule,
    "postScheduleOffer": _post_schedule,
    "postRealTimeOfferOverrides": _post_overrides,
    "getQualificationStatus": _get_qualification,
    "getLocationalResult": _get_results,
    "getDispatchInstructionNotificationHistory": _get_dispatch,
    "getCRDeploymentNotificationHistory": _get_deployments,
    "getParticipantTransactionEvents": _get_transactions,
    "getTransactionEventPayload": _get_payload,
}
