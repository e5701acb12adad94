"""The rules as data: which there are, since when, by whose word, and what can be set."""

import re
from datetime import date, timedelta
from types import UnionType
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

from pipeline import plugins
from pipeline.cbl import methods
from pipeline.cbl.rule import (
    CONTRACT,
    AroundEvent,
    DayMatching,
    Level,
    Reference,
    Regression,
    Rule,
    contract_of,
    in_force,
    parameters_of,
)
from pipeline.errors import ConfigError, UnknownPluginError

METHODS = (
    "aemo-10-of-10",
    "caiso-10-in-10",
    "caiso-5-in-10",
    "caiso-weather-matching",
    "control-group",
    "ercot-middle-8-of-10",
    "ercot-nearest-k",
    "ercot-regression",
    "firm-service-level",
    "gb-bl01",
    "guaranteed-load-drop",
    "house-ml",
    "house-regression",
    "isone",
    "meter-before-after",
    "metering-generator-output",
    "miso-10-day",
    "nominated",
    "nyiso-average-day",
    "pjm-high-4-of-5",
    "pjm-match-day",
    "pjm-same-day-3-2",
)
OURS = ("house-ml", "house-regression")


def newest(name: str) -> Rule:
    return methods.load(name)[-1]


def matching(name: str) -> DayMatching:
    parameters = newest(name).parameters
    assert isinstance(parameters, DayMatching)
    return parameters


def test_every_method_that_users_were_promised_is_there_and_no_other() -> None:
    assert sorted(methods.names()) == sorted(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_named_as_its_file(name: str) -> None:
    module = plugins.load(methods.PACKAGE, name.replace("-", "_"))

    assert {rule.method for rule in module.RULES} == {name}
    assert module.__doc__


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_found_with_underscores_too(name: str) -> None:
    assert methods.load(name.replace("-", "_")) == methods.load(name)


def test_an_unknown_method_is_told_with_those_there_are() -> None:
    with pytest.raises(UnknownPluginError) as error:
        methods.load("caiso-10-of-10")

    assert str(error.value).startswith(
        "no 'caiso-10-of-10' in pipeline.cbl.methods; have aemo-10-of-10, caiso-10-in-10, "
    )
    assert error.value.exit_code == 2


@pytest.mark.parametrize("name", METHODS)
def test_a_rule_says_whose_it_is_where_it_was_read_and_what_was_not(name: str) -> None:
    for rule in methods.load(name):
        have = parameters_of(rule.parameters)
        assert rule.title
        assert len(rule.citation) > 60
        assert rule.verified or rule.unverified
        assert set(rule.unverified) <= set(have)
        assert len(set(rule.unverified)) == len(rule.unverified)
        assert (rule.venue is None) is (name in OURS)


def test_only_caisos_10_in_10_was_read_in_the_words_of_the_rule() -> None:
    assert [name for name in METHODS if newest(name).verified and name not in OURS] == ["caiso-10-in-10"]


@pytest.mark.parametrize("name", OURS)
def test_a_method_of_our_own_says_that_no_iso_settles_by_it(name: str) -> None:
    assert "no ISO's method" in newest(name).title
    assert "No ISO settles by it" in newest(name).citation


@pytest.mark.parametrize("name", METHODS)
def test_at_most_one_version_holds_on_a_day(name: str) -> None:
    rules = methods.load(name)
    edges = {edge for rule in rules for edge in (rule.valid_from, rule.valid_to) if edge} | {date(2026, 7, 23)}
    days = {edge + timedelta(days=step) for edge in edges for step in (-1, 0, 1)}

    assert all(sum(rule.holds_on(day) for rule in rules) <= 1 for day in days)
    assert in_force(rules, date(2026, 7, 23)) == rules[-1]
    assert len({rule.version for rule in rules}) == len(rules)


@pytest.mark.parametrize(
    ("day", "version"),
    [("2023-02-23", "1.0"), ("2024-09-30", "1.0"), ("2024-10-01", "2.0"), ("2024-11-06", "2.0"), ("2024-11-07", "3.0")],
)
def test_bl01_follows_the_version_of_its_document_that_was_in_effect(day: str, version: str) -> None:
    assert in_force(methods.load("gb-bl01"), date.fromisoformat(day)).version == version


def test_a_day_before_a_method_was_introduced_has_none() -> None:
    with pytest.raises(ConfigError, match="caiso-5-in-10 has no version for 2018-10-23; it begins on 2018-10-24"):
        in_force(methods.load("caiso-5-in-10"), date(2018, 10, 23))


def others(kind: object, value: object) -> tuple[str, ...]:
    """Return what a user may type for a parameter of *kind* that is *value* now; `none` of a choice is told below."""
    choices = get_args(kind)
    if get_origin(kind) is Literal:
        return tuple(str(choice) for choice in choices if choice != value)
    if isinstance(kind, UnionType):
        return others(choices[0], value)
    if kind is bool:
        return ("false" if value else "true",)
    if value == 0.1:
        return ("0.7",)
    return ("7" if value != 7 else "8",)


#: What has to move with a parameter that becomes 7 or 8, for the two of them to make sense.
BESIDE = {
    "adjust_to_hours": {"adjust_from_hours": "9"},
    "before_to_hours": {"before_from_hours": "9"},
    "after_from_hours": {"after_to_hours": "9"},
    "adjust_lowest": {"adjust_highest": "9"},
}


@pytest.mark.parametrize("name", METHODS)
def test_every_parameter_can_be_set_by_its_name_and_the_rule_then_says_it_is_not_the_rule(name: str) -> None:
    rule = newest(name)
    kinds = get_type_hints(type(rule.parameters))

    for parameter, value in parameters_of(rule.parameters).items():
        for typed in () if parameter in CONTRACT else others(kinds[parameter], value):
            changed = rule.with_parameters({**BESIDE.get(parameter, {}), parameter: typed})

            assert parameter in changed.changed
            assert not changed.is_the_rule
            assert str(parameters_of(changed.parameters)[parameter]).lower().removesuffix(".0") == typed
            assert rule.is_the_rule


@pytest.mark.parametrize("parameter", ["adjustment", "low_usage"])
def test_an_adjustment_or_a_test_of_usage_can_be_taken_out(parameter: str) -> None:
    assert newest("nyiso-average-day").with_parameters({parameter: "none"}).changed == (parameter,)


@pytest.mark.parametrize(
    ("method", "settings", "problem"),
    [
        ("caiso-10-in-10", {"look_back_days": "0"}, "look_back_days must be at least 1"),
        ("nyiso-average-day", {"skip_days": "60"}, "skip_days must be below look_back_days"),
        ("pjm-high-4-of-5", {"k": "0"}, "k must be at least 1"),
        ("caiso-10-in-10", {"adjust_from_hours": "1", "adjust_to_hours": "4"}, "adjust_from_hours must be above"),
        ("caiso-10-in-10", {"adjust_lowest": "1.5"}, "adjust_lowest must not be above adjust_highest"),
        ("pjm-high-4-of-5", {"low_usage_share": "nan"}, "low_usage_share must be a number"),
        ("meter-before-after", {"before_from_hours": "0"}, "before_from_hours must be above"),
        ("meter-before-after", {"before_from_hours": "-1"}, "before_from_hours must not be below 0"),
        ("isone", {"weight": "0"}, "weight must be above 0 and at most 1"),
        ("isone", {"weight": "1.5"}, "weight must be above 0 and at most 1"),
        ("house-regression", {"like_days": "0"}, "like_days must be at least 1"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(method: str, settings: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(problem)):
        newest(method).with_parameters(settings)


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("firm-service-level", {"level_kw": 30.0, "below_kw": 29.0, "firm_kw": 18.0, "loss_factor": 1.03}),
        ("guaranteed-load-drop", {"level_kw": 38.5, "below_kw": 30.0, "loss_factor": 1.0}),
        ("control-group", {"customers": 240}),
    ],
)
def test_a_figure_of_a_contract_is_no_change_of_the_rule(name: str, figures: dict[str, float]) -> None:
    rule = newest(name)
    signed = rule.with_parameters({figure: str(value) for figure, value in figures.items()})

    assert signed.is_the_rule
    assert contract_of(signed.parameters) == figures
    assert not set(figures) & set(rule.unverified), "nobody has to look them up in the rule"
    assert signed.with_parameters({"decimals": "1"}).changed == ("decimals",)


def test_a_rule_without_a_contract_has_none_of_its_figures() -> None:
    assert contract_of(newest("caiso-10-in-10").parameters) == {}


def test_a_parameter_set_to_what_it_is_leaves_the_rule_the_rule() -> None:
    same = newest("caiso-10-in-10").with_parameters({"look_back_days": "45", "adjust_highest": "1.2", "k": "none"})

    assert same.is_the_rule
    assert same == newest("caiso-10-in-10")


def test_what_was_changed_is_named_in_the_order_of_the_rule_and_kept_when_more_is_changed() -> None:
    once = newest("ercot-nearest-k").with_parameters({"other_k": "3", "k": "3"})
    twice = once.with_parameters({"minimum_days": "3"})

    assert once.changed == ("k", "other_k")
    assert twice.changed == ("k", "other_k", "minimum_days")


@pytest.mark.parametrize("name", METHODS)
def test_a_parameter_that_the_rule_has_not_is_refused_with_those_it_has(name: str) -> None:
    rule = newest(name)

    with pytest.raises(ConfigError) as error:
        rule.with_parameters({"lookback": "45"})

    assert str(error.value) == f"{name} has no parameter 'lookback'; it has {', '.join(parameters_of(rule.parameters))}"


@pytest.mark.parametrize(
    ("name", "parameter", "typed"),
    [
        ("caiso-10-in-10", "look_back_days", "many"),
        ("caiso-10-in-10", "look_back_days", "4.5"),
        ("caiso-10-in-10", "look_back_days", "none"),
        ("caiso-10-in-10", "adjustment", "ratios"),
        ("caiso-10-in-10", "adjust_highest", "20 %"),
        ("caiso-10-in-10", "fill_up", "perhaps"),
        ("pjm-same-day-3-2", "before_from_hours", ""),
        ("firm-service-level", "level_kw", "30 MW"),
        ("control-group", "source", "neighbours"),
        ("house-regression", "terms", "weather"),
        ("house-ml", "trees", "x"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_with_what_was_typed(name: str, parameter: str, typed: str) -> None:
    with pytest.raises(ConfigError) as error:
        newest(name).with_parameters({parameter: typed})

    assert f"{name}: --set {parameter}={typed}:" in str(error.value)


def test_caisos_10_in_10_holds_the_numbers_of_the_tariff() -> None:
    rule = matching("caiso-10-in-10")

    assert (rule.look_back_days, rule.days, rule.other_days) == (45, 10, 4)
    assert (rule.minimum_days, rule.minimum_other_days, rule.fill_up) == (5, 4, True)
    assert (rule.adjust_from_hours, rule.adjust_to_hours) == (4, 1)  # hours 14, 15, 16 before an event in 18 to 20
    assert (rule.adjust_lowest, rule.adjust_highest, rule.negative) == (0.8, 1.2, "zero")


def test_miso_differs_from_caisos_10_in_10_only_in_what_happens_when_days_are_short() -> None:
    caiso, miso = parameters_of(matching("caiso-10-in-10")), parameters_of(matching("miso-10-day"))

    assert {name for name in caiso if caiso[name] != miso[name]} == {"minimum_days", "fill_up"}


def test_pjm_drops_the_lowest_of_five_and_adds_without_limit() -> None:
    rule = matching("pjm-high-4-of-5")

    assert (rule.days, rule.k, rule.other_days, rule.other_k) == (5, 4, 3, 2)
    assert (rule.low_usage, rule.low_usage_share) == ("mean-of-pool", 0.25)
    assert (rule.adjustment, rule.adjust_from_hours, rule.adjust_to_hours) == ("additive", 4, 1)
    assert (rule.adjust_lowest, rule.adjust_highest) == (None, None)


def test_same_day_takes_hours_9_to_11_and_19_to_20_for_an_event_in_hours_13_to_17() -> None:
    rule = newest("pjm-same-day-3-2").parameters

    assert isinstance(rule, AroundEvent)
    assert (12 - rule.before_from_hours, 12 - rule.before_to_hours) == (8, 11)
    assert (17 + rule.after_from_hours, 17 + rule.after_to_hours) == (18, 20)


def test_nyiso_leaves_the_day_before_out_and_adjusts_by_hours_10_to_12_for_an_event_at_14() -> None:
    rule = matching("nyiso-average-day")

    assert (rule.skip_days, rule.days, rule.k, rule.seed_days) == (1, 10, 5, 30)
    assert (14 - rule.adjust_from_hours, 14 - rule.adjust_to_hours) == (10, 12)


def test_ercots_middle_8_of_10_drops_days_by_their_energy() -> None:
    rule = matching("ercot-middle-8-of-10")

    assert (rule.days, rule.keep, rule.rank_by, rule.adjustment) == (10, "middle", "day", "ratio")


def test_ercots_nearest_are_20_and_the_hours_compared_are_those_adjusted_by() -> None:
    rule = matching("ercot-nearest-k")

    assert (rule.keep, rule.k, rule.rank_by, rule.match) == ("nearest", 20, "shape", "before-event")
    assert (rule.adjustment, rule.adjust_from_hours, rule.adjust_to_hours) == ("ratio", 0, 0)


@pytest.mark.parametrize("name", [name for name in METHODS if isinstance(newest(name).parameters, DayMatching)])
def test_as_many_days_as_are_needed_fit_into_the_look_back(name: str) -> None:
    rule = matching(name)
    weeks = (rule.look_back_days - rule.skip_days) // 7
    like_days_a_week = {"business": (5, 2), "weekday-saturday-sunday": (5, 1), "all": (7, 7)}[rule.day_types]

    assert (rule.days or rule.minimum_days) <= weeks * like_days_a_week[0]
    assert (rule.other_days or rule.minimum_other_days) <= weeks * like_days_a_week[1]
    assert rule.minimum_days <= (rule.days or rule.minimum_days)
    assert (rule.k is not None) is (rule.keep in ("highest", "nearest"))


def test_figures_that_belong_to_a_customer_are_left_to_be_set() -> None:
    for name in ("firm-service-level", "guaranteed-load-drop"):
        level = newest(name).parameters
        assert isinstance(level, Level)
        assert (level.level_kw, level.firm_kw, level.below_kw) == (None, None, None)


def test_the_control_group_of_fewer_than_150_customers_carries_no_baseline() -> None:
    control = newest("control-group").parameters

    assert isinstance(control, Reference)
    assert (control.source, control.minimum_customers) == ("control", 150)


def test_the_house_regression_looks_at_no_weather() -> None:
    rule = newest("house-regression").parameters

    assert isinstance(rule, Regression)
    assert rule.terms == "level"
